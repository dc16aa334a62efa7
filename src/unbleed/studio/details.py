"""What the page shows beside a picture, as plain data: attention maps, regions, the loss."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from ..generation import GeneratedImage
from ..regions.masks import as_data

PREVIEW = 640  # pixels of the longer side
MOST_WORDS = 40  # whose maps are shown
_MOST_STEPS = 50


def preview(image: Image.Image) -> str:
    """Return an image as a data URL, small enough to travel with every answer."""
    small = image.convert("RGB")
    small.thumbnail((PREVIEW, PREVIEW), Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    small.save(stream, "WEBP", quality=90)
    return "data:image/webp;base64," + base64.b64encode(stream.getvalue()).decode()


def maps_of(picture: GeneratedImage) -> dict[str, Any] | None:
    """Return the attention of each word at each step as one grey picture: words from left to right, steps from top to bottom.

    A word's brightest pixel over all steps is 255; its value is in `peaks`. None if nothing was recorded.
    """
    if picture.attention is None:
        return None
    attention = picture.attention
    words = [(word, own) for word, own in picture.tokens.words if any(map(str.isalnum, word))][:MOST_WORDS]
    chosen = sorted({round(k * (len(attention.steps) - 1) / (_MOST_STEPS - 1)) for k in range(_MOST_STEPS)})
    columns, peaks = [], []
    for _, positions in words:
        over = attention.over_steps(positions)[chosen].float().cpu().numpy()  # (step, height, width)
        peak = float(over.max())
        peaks.append(round(peak, 4))
        columns.append(np.rint(255 * over / peak if peak > 0 else over * 0).astype(np.uint8))
    if not columns:
        return None
    sheet = np.concatenate([np.concatenate(list(column), axis=0) for column in columns], axis=1)
    stream = io.BytesIO()
    Image.fromarray(sheet).save(stream, "PNG")
    height, width = attention.maps[0].shape[-2:]
    return {
        "words": [word for word, _ in words],
        "entities": [_entity_of(picture, positions) for _, positions in words],
        "peaks": peaks,
        "steps": [attention.steps[at] for at in chosen],
        "grid": [int(height), int(width)],
        "layers": attention.source,
        "sheet": "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode(),
    }


def _entity_of(picture: GeneratedImage, positions: Sequence[int]) -> int:
    for number, (noun, modifiers) in enumerate(picture.tokens.entities):
        if any(set(positions) & set(own) for own in (noun, *modifiers)):
            return number
    return -1


def regions_of_run(picture: GeneratedImage) -> dict[str, str]:
    """Return the last regions as masks by entity; a region of all pixels is left out."""
    return {
        str(entity): as_data(mask.float()) for entity, mask in picture.region_masks.items() if mask.any() and not mask.all()
    }


def loss_curve(steps: Sequence[Mapping[str, Any]], total: int) -> str:
    """Return the losses of a run of `total` steps as SVG: a line through the last of each step, a dot for every evaluation."""
    points = [(s["step"], loss) for s in steps for loss in s["losses"] if math.isfinite(loss)]
    if not points:
        return '<p class="quiet">This run took no step along a gradient, so it has no loss.</p>'
    last = [(s["step"], s["losses"][-1]) for s in steps if s["losses"] and math.isfinite(s["losses"][-1])]
    low, high = min(loss for _, loss in points), max(loss for _, loss in points)
    pad = (high - low) * 0.08 or abs(high) * 0.1 or 1.0
    low, high = low - pad, high + pad
    end = max(total, *(step for step, _ in points))  # all steps, so that it shows where guidance ended
    left, top, wide, tall = 56, 14, 560, 200

    def at(step: float, loss: float) -> tuple[float, float]:
        return round(left + wide * step / end, 1), round(top + tall * (high - loss) / (high - low), 1)

    ticks = [low + (high - low) * k / 4 for k in range(5)]
    parts = [
        f'<svg class="curve" viewBox="0 0 {left + wide + 16} {top + tall + 42}" role="img" '
        'aria-label="loss of each guided step">'
    ]
    for tick in ticks:
        y = at(0, tick)[1]
        parts.append(f'<line class="rule" x1="{left}" x2="{left + wide}" y1="{y}" y2="{y}"/>')
        parts.append(f'<text x="{left - 8}" y="{y + 4}" text-anchor="end">{_tick(tick, (high - low) / 4)}</text>')
    for step in sorted({round(end * k / 5) for k in range(6)}):
        x = at(step, low)[0]
        parts.append(f'<text x="{x}" y="{top + tall + 18}" text-anchor="middle">{step}</text>')
    axis = f"loss by denoising step, of {total}"
    parts.append(f'<text x="{left + wide / 2}" y="{top + tall + 38}" text-anchor="middle">{axis}</text>')
    parts.append(f'<polyline points="{" ".join(f"{x},{y}" for x, y in (at(*p) for p in last))}"/>')
    parts += [
        f'<circle cx="{x}" cy="{y}" r="3.5"><title>step {step}: {loss:.4g}</title></circle>'
        for (step, loss), (x, y) in ((p, at(*p)) for p in points)
    ]
    return "".join([*parts, "</svg>"])


def _tick(value: float, gap: float) -> str:
    """Return the label of a tick, with as many decimals as its neighbours at this distance."""
    if not 1e-5 < gap < 1e5:
        return f"{value:.3g}".replace("-", "−")
    decimals = max(0, 1 - math.floor(math.log10(gap)))
    return f"{value:.{decimals}f}".replace("-", "−")
