"""Figures: heat maps over images, labelled sheets. Pillow images in, Pillow images out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw
from torch import Tensor

from .lettering import fit, lettered, width, wrap

_INK, _PAPER, _FAINT = (24, 26, 32), (255, 255, 255), (110, 114, 124)
_GAP = 8
_COLOURS = ((214, 39, 40), (31, 100, 200), (20, 140, 70), (150, 60, 190), (210, 110, 0), (0, 140, 150))

# Five stops of a perceptually uniform colour scale, from dark violet over red to pale yellow.
_SCALE = np.array([(12, 8, 38), (91, 16, 105), (187, 55, 84), (249, 142, 9), (252, 255, 164)], dtype=np.float32)


def heat(values: Tensor, peak: float | None = None) -> Image.Image:
    """Return a map (height, width) in false colour, pixel by pixel, from 0 to `peak` (default: its own maximum)."""
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


def outlines(image: Image.Image, masks: Sequence[Tensor], names: Sequence[str]) -> Image.Image:
    """Return the image with the outline and name of each mask, bool (height, width); a mask of all pixels has none.

    >>> import torch
    >>> left = torch.tensor([[True, False]])
    >>> outlines(Image.new("RGB", (64, 64)), [left], ["cat"]).getpixel((1, 40))
    (214, 39, 40)
    """
    outlined = image.convert("RGB")
    line, size = max(2, min(image.size) // 96), max(11, min(18, min(image.size) // 14))
    limited = [at for at, mask in enumerate(masks) if mask.any() and not mask.all()]
    areas = {at: _stretched(masks[at], image.size) for at in limited}
    for at in limited:
        for ink, thick in ((_PAPER, line + 1), (_COLOURS[at % len(_COLOURS)], line)):  # a thin light rim inside
            outlined.paste(ink, mask=Image.fromarray(_edge(areas[at], thick)))
    for at in limited:
        rows, columns = np.nonzero(areas[at])
        text, font = lettered(fit(names[at], size, image.width - 2 * line - 8), size)
        wide = font.getlength(text) + 8
        x = min(columns[rows == rows.min()].min() + line, image.width - wide - line)
        y = min(rows.min() + line, image.height - size - 6 - line)
        draw = ImageDraw.Draw(outlined)
        draw.rectangle((x, y, x + wide, y + size + 5), fill=_COLOURS[at % len(_COLOURS)])
        draw.text((x + 4, y + 2), text, _PAPER, font, anchor="la")
    return outlined


def _stretched(mask: Tensor, size: tuple[int, int]) -> np.ndarray:
    """Return a mask (height, width) stretched to the (width, height) of an image, bool."""
    return np.array(Image.fromarray(mask.cpu().numpy()).resize(size, Image.Resampling.NEAREST))


def _edge(inside: np.ndarray, thick: int) -> np.ndarray:
    """Return the pixels inside a bool array that are at most `thick` pixels from its outside or from the image's border."""
    deep = np.pad(inside, thick)
    for axis in (0, 1):
        deep = np.logical_and.reduce([np.roll(deep, shift, axis) for shift in range(-thick, thick + 1)])
    return inside & ~deep[thick:-thick, thick:-thick]


def enlarge(image: Image.Image, side: int) -> Image.Image:
    """Return the image with its longer side at least `side` pixels, enlarged by a whole factor to stay sharp."""
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
    """Return a labelled sheet of images of one size; None leaves a cell blank.

    `columns` are the headings, `labels` the names of the rows, `captions` the texts under the images. `title` is above the
    sheet, `note` below.
    """
    images = [image for row in rows for image in row if image is not None]
    wide, high = max(i.width for i in images), max(i.height for i in images)
    size = max(11, min(18, wide // 14))
    line = size + 6
    left = max((int(width(part, size)) + 2 * _GAP for text in labels for part in text.splitlines()), default=0)
    under = line if captions else 0
    count = max(len(row) for row in rows)
    inner = left + count * (wide + _GAP) + _GAP
    head = wrap(title, size + 3, inner - 2 * _GAP)
    foot = wrap(note, size - 1, inner - 2 * _GAP)
    top = _GAP + len(head) * (line + 3) + (line if columns else 0) + _GAP // 2
    sheet = Image.new("RGB", (inner, top + len(rows) * (high + under + _GAP) + len(foot) * line + _GAP), _PAPER)
    draw = ImageDraw.Draw(sheet)

    def write(at: tuple[float, float], text: str, ink: tuple[int, int, int], height: int, anchor: str = "la") -> None:
        text, font = lettered(text, height)
        draw.text(at, text, ink, font, anchor=anchor)

    for number, text in enumerate(head):
        write((_GAP, _GAP + number * (line + 3)), text, _INK, size + 3)
    for number, text in enumerate(columns):
        write((left + _GAP + number * (wide + _GAP) + wide / 2, top - 8), fit(text, size, wide), _INK, size, "ms")
    for r, row in enumerate(rows):
        y = top + r * (high + under + _GAP)
        if labels:
            for number, part in enumerate(labels[r].splitlines()):
                write((_GAP, y + high / 2 + number * line), part, _FAINT if number else _INK, size, "lm")
        for c, image in enumerate(row):
            x = left + _GAP + c * (wide + _GAP)
            if image is not None:
                sheet.paste(image, (x, y))
            if captions and c < len(captions[r]):
                write((x + wide / 2, y + high + 2), fit(captions[r][c], size, wide), _INK, size, "ma")
    for number, text in enumerate(foot):
        write((_GAP, sheet.height - _GAP - (len(foot) - number) * line), text, _FAINT, size - 1)
    return sheet
