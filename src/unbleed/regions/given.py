"""Regions that a user gives: a box, a word such as "left", a mask, or nothing at all."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from ..errors import PromptError
from ..prompt import Entity, Parsed, parse
from ..prompt.named import bare
from .masks import mask_file, mask_of

Box = tuple[float, float, float, float]

_HALVES = {"left": (0, 0, 0.5, 1), "right": (0.5, 0, 1, 1), "top": (0, 0, 1, 0.5), "bottom": (0, 0.5, 1, 1)}
WORDS: dict[str, Box] = {
    **_HALVES,
    "center": (0.25, 0.25, 0.75, 0.75),
    "top left": (0, 0, 0.5, 0.5),
    "top right": (0.5, 0, 1, 0.5),
    "bottom left": (0, 0.5, 0.5, 1),
    "bottom right": (0.5, 0.5, 1, 1),
}
"""Regions by name. "background" is what no other region of the picture covers."""
BACKGROUND, FOUND, EVERYWHERE = "background", "found", "everywhere"
_OTHER = (BACKGROUND, FOUND, EVERYWHERE)
_SQUEEZED = 1.15  # how far a mask's aspect ratio may be off: grids of pixels are rounded


@dataclass(frozen=True)
class Region:
    """A part of the picture for one entity, and a LoRA adapter that acts there alone.

    `where` is one of

    - a box (left, top, right, bottom) in fractions of the picture: `(0.0, 0.2, 0.5, 1.0)`
    - a word: left, right, top, bottom, center, "top left" and the other corners, background
    - a mask: an image, the path of one, or a two-dimensional array or tensor, above half of its maximum inside
    - "found": the model finds it, as for entities that no region is given for
    - None or "everywhere": nowhere in particular; the entity's words are seen everywhere

    `adapter` is the name of a LoRA adapter of the pipeline (`pipe.load_lora_weights(..., adapter_name="knight")`).

    >>> Region("left").mask((2, 4)).int().tolist()
    [[1, 1, 0, 0], [1, 1, 0, 0]]

    Raises `PromptError` for anything else, a box that is outside of the picture or empty, and an empty mask.
    """

    where: Any
    adapter: str | None = None

    def __post_init__(self) -> None:
        if self.adapter is not None and not (isinstance(self.adapter, str) and self.adapter):
            raise PromptError(f"the adapter of a region is {self.adapter!r}; expected the name of a LoRA adapter")
        if isinstance(self.where, str) and self.where.strip().lower() == EVERYWHERE:
            object.__setattr__(self, "where", None)
        if self.where is None or self.is_background or self.is_found:
            return
        object.__setattr__(self, "where", _checked(self.where))

    @property
    def is_background(self) -> bool:
        return isinstance(self.where, str) and self.where.strip().lower() == BACKGROUND

    @property
    def is_found(self) -> bool:
        return isinstance(self.where, str) and self.where.strip().lower() == FOUND

    def mask(self, grid: tuple[int, int]) -> Tensor:
        """Return bool (height, width): the pixels of the grid of which at least half is inside, and always at least one.

        None is everywhere. "background" depends on the other regions; it cannot be drawn alone. Raises `PromptError` for a
        mask of other proportions than the grid's.
        """
        if self.where is None:
            return torch.ones(grid, dtype=torch.bool)
        assert not self.is_background
        cover = _box_cover(self.where, grid) if isinstance(self.where, tuple) else _mask_cover(self.where, grid)
        inside = cover >= 0.5 - 1e-6
        return inside if inside.any() else cover == cover.max()


def region_of(given: Any) -> Region:
    """Return a region as it is, or a region of anything that `Region.where` takes."""
    return given if isinstance(given, Region) else Region(given)


def _checked(where: Any) -> Any:
    """Return a box as a tuple of numbers, a mask as a tensor (height, width) from 0 to 1."""
    if isinstance(where, str) and where.strip().lower() in WORDS:
        return WORDS[where.strip().lower()]
    if isinstance(where, Path) or (isinstance(where, str) and Path(where).suffix.lower() == ".png"):
        return mask_file(Path(where))
    if isinstance(where, str):
        near = difflib.get_close_matches(where.strip().lower(), [*WORDS, *_OTHER], n=1)
        hint = f'did you mean "{near[0]}"?' if near else f"known: {', '.join([*WORDS, *_OTHER])}, a box or a .png"
        raise PromptError(f'"{where}" is not a region; {hint}')
    if isinstance(where, np.ndarray | Tensor) and where.ndim == 1:
        return _box_of(where.tolist())
    if isinstance(where, Image.Image | np.ndarray | Tensor):
        return mask_of(where)
    if isinstance(where, Sequence):
        return _box_of(where)
    raise PromptError(f"{where!r} is not a region; expected a box (left, top, right, bottom), a word, a mask or None")


def _box_of(where: Sequence[Any]) -> Box:
    numbers = [x for x in where if isinstance(x, int | float) and not isinstance(x, bool) and math.isfinite(x)]
    if len(where) != 4 or len(numbers) != 4:
        raise PromptError(f"{where!r} is not a box; expected four numbers: left, top, right, bottom")
    left, top, right, bottom = map(float, where)
    if not (0 <= left <= 1 and 0 <= top <= 1 and 0 <= right <= 1 and 0 <= bottom <= 1):
        raise PromptError(f"the box {tuple(where)} is outside of the picture; its numbers are fractions of it, from 0 to 1")
    if left >= right or top >= bottom:
        raise PromptError(f"the box {tuple(where)} is empty; expected left < right and top < bottom")
    return left, top, right, bottom


def _box_cover(box: Box, grid: tuple[int, int]) -> Tensor:
    """Return how much of each pixel the box covers, (height, width)."""
    left, top, right, bottom = box
    rows = _overlap(top, bottom, grid[0])
    columns = _overlap(left, right, grid[1])
    return rows[:, None] * columns[None, :]


def _overlap(first: float, last: float, count: int) -> Tensor:
    edges = torch.arange(count + 1, dtype=torch.float64) / count
    return ((edges[1:].clamp(max=last) - edges[:-1].clamp(min=first)).clamp(min=0) * count).float()


def _mask_cover(mask: Tensor, grid: tuple[int, int]) -> Tensor:
    squeezed = mask.shape[0] * grid[1] / (mask.shape[1] * grid[0])
    if not 1 / _SQUEEZED < squeezed < _SQUEEZED:
        raise PromptError(
            f"a mask of {mask.shape[1]}x{mask.shape[0]} pixels has other proportions than the picture, which has "
            f"{grid[1]}:{grid[0]}; give a mask of the picture's size"
        )
    return F.adaptive_avg_pool2d((mask > 0.5).float()[None, None], grid)[0, 0]


def masks_of(regions: Sequence[Region | None], grid: tuple[int, int]) -> Tensor:
    """Return bool (region, height, width) of the regions of one picture; None is drawn as everywhere.

    "background" is what no other given region covers.

    Raises `PromptError` where nothing is left for the background.
    """
    regions = [None if r is not None and r.is_found else r for r in regions]
    drawn = [torch.ones(grid, dtype=torch.bool) if r is None or r.is_background else r.mask(grid) for r in regions]
    limited = [
        mask for mask, r in zip(drawn, regions, strict=True) if r is not None and r.where is not None and not r.is_background
    ]
    rest = ~torch.stack(limited).any(dim=0) if limited else torch.ones(grid, dtype=torch.bool)
    if not rest.any() and any(r is not None and r.is_background for r in regions):
        raise PromptError("nothing is left for the background: the other regions cover the whole picture")
    return torch.stack([rest if r is not None and r.is_background else mask for mask, r in zip(drawn, regions, strict=True)])


def assign(parsed: Parsed, regions: Mapping[Any, Any]) -> tuple[Parsed, dict[Entity, Region]]:
    """Return the prompt with an entity for each phrase that a region is given for, and the region of each of those.

    A phrase is an entity as it was read ("red cat", or its noun alone where that is clear), an `Entity`, or other words
    of the prompt, the noun last, which then become an entity.

    >>> from unbleed import parse
    >>> parsed, found = assign(parse("a red cat and a blue bench"), {"cat": "left"})
    >>> [(str(entity), region.where) for entity, region in found.items()]
    [('red cat', (0, 0, 0.5, 1))]

    Raises `PromptError` for words that are not in the prompt, and for two regions of one entity.
    """
    found: dict[Entity, Region] = {}
    for phrase, given in regions.items():
        parsed, entity = _entity_of(parsed, phrase)
        if entity in found:
            raise PromptError(f'"{entity}" is given two regions; give it one')
        found[entity] = region_of(given)
    return parsed, {entity: region for entity, region in found.items() if entity in parsed.entities}


def _entity_of(parsed: Parsed, phrase: Any) -> tuple[Parsed, Entity]:
    if isinstance(phrase, Entity) and phrase in parsed.entities:
        return parsed, phrase
    text = bare(" ".join(str(phrase).lower().split()))
    exact = [entity for entity in parsed.entities if str(entity).lower() == text]
    nouns = exact or [entity for entity in parsed.entities if entity.noun.lower() == text]
    if len(nouns) == 1:
        return parsed, nouns[0]
    if len(nouns) > 1:
        names = sorted({f'"{entity}"' for entity in nouns})
        if len(names) == 1:
            raise PromptError(
                f"the prompt has {len(nouns)} entities {names[0]}, which a phrase cannot tell apart; give an Entity of "
                "unbleed.parse(prompt), or word the prompt in another way"
            )
        raise PromptError(
            f'the region "{phrase}" fits several entities of the prompt: {", ".join(names)}; name one, or give an Entity'
        )
    try:
        entity = parse(parsed.prompt, text).entities[0]
    except PromptError as error:
        raise PromptError(f'a region is given for "{phrase}", but {error}') from None
    spans = {entity.noun_span, *entity.modifier_spans}
    others = [other for other in parsed.entities if other.noun_span not in spans]
    return Parsed(parsed.prompt, sorted([*others, entity], key=lambda e: e.noun_span)), entity


Given = Mapping[Any, Any] | Sequence[Mapping[Any, Any] | None] | None
"""What `guide(regions=...)` takes: phrases and their regions, for every prompt or one such table per prompt."""


def per_prompt(regions: Given, prompts: int) -> list[Mapping[Any, Any]]:
    """Return one table of regions per prompt; in a list, None is a prompt without given regions.

    Raises `PromptError` for anything but tables, and for another number of tables than one or that of the prompts.
    """
    if regions is None or isinstance(regions, Mapping):
        return [regions or {}] * prompts
    tables: list[Any] = list(regions) if isinstance(regions, Sequence) and not isinstance(regions, str) else [regions]
    if bad := [table for table in tables if not (table is None or isinstance(table, Mapping))]:
        raise PromptError(f'regions are {bad[0]!r}; expected a table, as in {{"red cat": "left"}}, or one per prompt')
    if len(tables) != prompts:
        raise PromptError(
            f"{len(tables)} tables of regions were given for {prompts} prompts; expected one table for all, or one per prompt"
        )
    return [table or {} for table in tables]


def assign_all(parsed: Sequence[Parsed], regions: Given) -> list[tuple[Parsed, dict[Entity, Region]]]:
    """Return what `assign` returns, for each prompt."""
    return [assign(one, own) for one, own in zip(parsed, per_prompt(regions, len(parsed)), strict=True)]
