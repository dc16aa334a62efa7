"""Pictures of results: heat maps over images, labelled sheets. Pillow images in, Pillow images out."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

_INK, _PAPER, _FAINT = (24, 26, 32), (255, 255, 255), (110, 114, 124)
_GAP = 8

# Five stops of a perceptually even scale from dark violet over red to pale yellow.
_SCALE = np.array([(12, 8, 38), (91, 16, 105), (187, 55, 84), (249, 142, 9), (252, 255, 164)], dtype=np.float32)


@cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def heat(values: Tensor, peak: float | None = None) -> Image.Image:
    """Return a map (height, width) in false colour, one pixel a place, from 0 to `peak` (default: its own maximum)."""
    array = values.detach().float().cpu().numpy()
    top = float(array.max()) if peak is None else peak
    level = np.clip(array / top if top > 0 else array * 0, 0, 1) * (len(_SCALE) - 1)
    stops = np.arange(len(_SCALE))
    rgb = np.stack([np.interp(level, stops, _SCALE[:, channel]) for channel in range(3)], axis=-1)
    return Image.fromarray(rgb.round().astype(np.uint8))


def overlay(image: Image.Image, values: Tensor, peak: float | None = None, opacity: float = 0.72) -> Image.Image:
    """Return the image in grey under the heat of a map (height, width), stretched over it."""
    grey = image.convert("L").convert("RGB")
    return Image.blend(grey, heat(values, peak).resize(image.size, Image.Resampling.BICUBIC), opacity)


def enlarge(image: Image.Image, side: int) -> Image.Image:
    """Return the image with its longer side at least `side` pixels, enlarged by a whole factor so that it stays crisp."""
    factor = -(-side // max(image.size))
    return image if factor <= 1 else image.resize((image.width * factor, image.height * factor), Image.Resampling.LANCZOS)


def grid(
    rows: Sequence[Sequence[Image.Image | None]],
    *,
    columns: Sequence[str] = (),
    labels: Sequence[str] = (),
    captions: Sequence[Sequence[str]] = (),
    title: str = "",
    note: str = "",
) -> Image.Image:
    """Return a labelled sheet of images, all of one size, with blank places for None.

    `columns` stand above, `labels` to the left of each row, `captions` under each image; `note` ends the sheet.
    """
    images = [image for row in rows for image in row if image is not None]
    width, height = max(i.width for i in images), max(i.height for i in images)
    size = max(11, min(18, width // 14))
    font, line = _font(size), size + 6
    left = max((int(font.getlength(part)) + 2 * _GAP for text in labels for part in text.splitlines()), default=0)
    under = line if captions else 0
    count = max(len(row) for row in rows)
    inner = left + count * (width + _GAP) + _GAP
    head = _wrap(title, size + 3, inner - 2 * _GAP)
    foot = _wrap(note, size - 1, inner - 2 * _GAP)
    top = _GAP + len(head) * (line + 3) + (line if columns else 0) + _GAP // 2
    sheet = Image.new("RGB", (inner, top + len(rows) * (height + under + _GAP) + len(foot) * line + _GAP), _PAPER)
    draw = ImageDraw.Draw(sheet)
    for number, text in enumerate(head):
        draw.text((_GAP, _GAP + number * (line + 3)), text, _INK, _font(size + 3))
    for number, text in enumerate(columns):
        at = left + _GAP + number * (width + _GAP) + width / 2
        draw.text((at, top - 8), _fit(text, font, width), _INK, font, anchor="ms")
    for r, row in enumerate(rows):
        y = top + r * (height + under + _GAP)
        if labels:
            for number, part in enumerate(labels[r].splitlines()):
                draw.text((_GAP, y + height / 2 + number * line), part, _FAINT if number else _INK, font, anchor="lm")
        for c, image in enumerate(row):
            x = left + _GAP + c * (width + _GAP)
            if image is not None:
                sheet.paste(image, (x, y))
            if captions and c < len(captions[r]):
                draw.text((x + width / 2, y + height + 2), _fit(captions[r][c], font, width), _INK, font, anchor="mt")
    for number, text in enumerate(foot):
        draw.text((_GAP, sheet.height - _GAP - (len(foot) - number) * line), text, _FAINT, _font(size - 1))
    return sheet


def _fit(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: float) -> str:
    """Return the text, cut with an ellipsis where it is wider than `width`."""
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "…") > width:
        text = text[:-1]
    return text + "…"


def _wrap(text: str, size: int, width: float) -> list[str]:
    """Return the text in lines of at most `width` pixels."""
    lines: list[str] = []
    for word in text.split():
        if lines and _font(size).getlength(f"{lines[-1]} {word}") <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return [_fit(line, _font(size), width) for line in lines]
