"""Heat maps: how much each pixel of an image attends to a word, recorded at every step of a run."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from . import figures
from .errors import OutputError, PromptError
from .prompt import Entity, PromptTokens
from .prompt.words import split

Words = str | Entity | int | Sequence[int]
"""A word or phrase of the prompt, an entity, or positions in the text encoder's sequence."""


@dataclass(frozen=True, eq=False)
class HeatMap:
    """The attention of an image to some words. `numpy.asarray` converts it, and notebooks display it.

    >>> import torch
    >>> HeatMap("cat", torch.tensor([[0.0, 0.5]])).picture(side=4).size
    (4, 2)

    Args:
        label: The words.
        values: (height, width) on the grid of the layers: the fraction of each pixel's attention, from 0 to 1.
    """

    label: str
    values: Tensor = field(repr=False)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.values.numpy(), dtype=dtype)

    def picture(self, side: int = 256, *, peak: float | None = None) -> Image.Image:
        """Return the map in false colour.

        Args:
            side: The longer side has at least so many pixels.
            peak: The value of the brightest colour; by default the map's maximum.
        """
        coloured = figures.heat(self.values, peak)
        factor = -(-side // max(coloured.size))
        return coloured.resize((coloured.width * factor, coloured.height * factor), Image.Resampling.NEAREST)

    def overlay(self, image: Image.Image, *, peak: float | None = None, opacity: float = 0.72) -> Image.Image:
        """Return the image in grey under the map, at the size of the image.

        Args:
            image: A Pillow image.
            peak: As in `picture`.
            opacity: Of the map, from 0 to 1.

        Raises:
            OutputError: for anything but a Pillow image.
        """
        return figures.overlay(_pillow(image), self.values, peak, opacity)

    def _repr_png_(self) -> bytes:
        stream = io.BytesIO()
        self.picture().save(stream, "PNG")
        return stream.getvalue()


@dataclass(frozen=True, eq=False)
class ImageAttention:
    """The attention of one image to its prompt, step by step. `Run.attention` returns it.

    Args:
        tokens: The words of the prompt and their token positions.
        maps: (token, height, width) in float32, of every recorded step.
        steps: Indices of these denoising steps.
        layers: Names of the attention modules over whose heads the maps are averaged.
    """

    tokens: PromptTokens = field(repr=False)
    maps: tuple[Tensor, ...] = field(repr=False)
    steps: tuple[int, ...]
    layers: tuple[str, ...]

    @property
    def grid(self) -> str:
        """Height and width of the maps, as in "16x16"."""
        height, width = self.maps[0].shape[-2:]
        return f"{height}x{width}"

    @property
    def source(self) -> str:
        """A description of the layers for the note of a sheet."""
        return f"{len(self.layers)} text attention layer{'s' * (len(self.layers) != 1)} of {self.grid} pixels"

    def over_steps(self, words: Words) -> Tensor:
        """Return the maps of some words, (step, height, width), summed over their tokens."""
        positions = list(self.positions(words))
        return torch.stack([maps[positions].sum(dim=0) for maps in self.maps])

    def heat_map(self, words: Words, step: int | None = None) -> HeatMap:
        """Return the map of some words at a denoising step, or averaged over all recorded steps.

        Raises `PromptError` for words that the prompt does not have or has twice, `OutputError` for a step without maps.
        """
        if step is not None and step not in self.steps:
            raise OutputError(f"no attention was recorded at step {step}; recorded steps: {self.steps[0]} to {self.steps[-1]}")
        maps = self.over_steps(words)
        label = words if isinstance(words, str) else str(words) if isinstance(words, Entity) else f"token {words}"
        return HeatMap(label, maps.mean(dim=0) if step is None else maps[self.steps.index(step)])

    def positions(self, words: Words) -> tuple[int, ...]:
        """Return the token positions of a word, a phrase or an entity; positions are returned as they are."""
        if isinstance(words, Entity):
            for entity, (noun, modifiers) in zip(self.tokens.kept, self.tokens.entities, strict=True):
                if entity == words:
                    return tuple(sorted({p for part in (noun, *modifiers) for p in part}))
            raise PromptError(f'"{words}" is not an entity of this prompt; it has {_listed(map(str, self.tokens.kept))}')
        if isinstance(words, str):
            return self._find(words)
        positions = (words,) if isinstance(words, int) else tuple(words)
        count = len(self.maps[0])
        if not positions or not all(isinstance(p, int) and 0 <= p < count for p in positions):
            raise PromptError(f"token positions {list(positions)}; expected some from 0 to {count - 1}")
        return positions

    def _find(self, text: str) -> tuple[int, ...]:
        """Return the positions of adjacent words of the prompt, else of an entity with that name."""
        wanted = [span.text.lower() for span in split(text)]
        own = [word.lower() for word, _ in self.tokens.words]
        starts = [at for at in range(len(own) - len(wanted) + 1) if wanted and own[at : at + len(wanted)] == wanted]
        found = [tuple(sorted(p for _, own in self.tokens.words[s : s + len(wanted)] for p in own)) for s in starts]
        found = found or [self.positions(entity) for entity in self.tokens.kept if str(entity).lower() == " ".join(wanted)]
        if not found:
            known = _listed(word for word, _ in self.tokens.words)
            raise PromptError(f'"{text}" is not in the prompt; it has the words {known}')
        if len(found) > 1:
            at = " and ".join(str(list(one)) for one in found)
            raise PromptError(
                f'"{text}" is in the prompt {len(found)} times, at token positions {at}; give the positions or a longer phrase'
            )
        return found[0]

    def entity_words(self) -> list[tuple[str, tuple[int, ...]]]:
        """Return (label, positions) of the modifiers and nouns of all entities; of every word if there are no entities.

        The label of a word that several entities have names the noun too: "red (cat)".
        """
        found: dict[tuple[int, ...], tuple[str, str]] = {}  # words that entities share count once
        for entity, (noun, modifiers) in zip(self.tokens.kept, self.tokens.entities, strict=True):
            found[noun] = entity.noun, entity.noun
            for positions in modifiers:
                word = self._text(positions)
                found.setdefault(positions, (word, f"{word} ({entity.noun})"))
        short = [word for word, _ in found.values()]
        labelled = [(longer if short.count(word) > 1 else word, own) for own, (word, longer) in sorted(found.items())]
        return labelled or list(self.tokens.words)

    def _text(self, positions: tuple[int, ...]) -> str:
        """Return the word at these positions."""
        return " ".join(word for word, own in self.tokens.words if set(own) & set(positions))

    def show(
        self,
        picture: Image.Image | None = None,
        words: Sequence[Words] | None = None,
        *,
        per_step: int = 0,
        side: int = 192,
        title: str = "",
        note: str = "",
    ) -> Image.Image:
        """Return a sheet of maps: a column for each word, the average over the steps in the first row.

        Args:
            picture: The image to put under the maps.
            words: Words to show; by default every word of the prompt.
            per_step: Number of further rows, each of one step, spread over the run. A word has one scale in all of them, and
                another in the first row.
            side: The longer side of a map has at least so many pixels.
            title: Above the sheet.
            note: Below the sheet.

        Raises:
            PromptError: for words that the prompt does not have, or has twice.
            OutputError: if `picture` is not a Pillow image.
        """
        base = None if picture is None else figures.enlarge(_pillow(picture), side)
        chosen = list(self.tokens.words) if words is None else [(self.heat_map(one).label, one) for one in words]
        if not chosen:
            raise PromptError("no words to show; name some words of the prompt")
        over = [self.over_steps(one) for _, one in chosen]

        def row(maps: Sequence[Tensor], peaks: Sequence[float]) -> list[Image.Image | None]:
            cells = (HeatMap("", values).picture(side, peak=p) if base is None else figures.overlay(base, values, p)
                     for values, p in zip(maps, peaks, strict=True))  # fmt: skip
            return [*cells]

        means = [maps.mean(dim=0) for maps in over]
        first = [base] if base else []
        rows = [[*first, *row(means, [float(mean.max()) for mean in means])]]
        captions = [[*("" for _ in first), *(_peak(mean) for mean in means)]]
        labels = ["all steps"]
        count = len(self.maps)
        for at in sorted({round(k * (count - 1) / max(1, per_step - 1)) for k in range(per_step)}):
            rows.append([*(None for _ in first), *row([maps[at] for maps in over], [float(maps.max()) for maps in over])])
            captions.append([*("" for _ in first), *(_peak(maps[at]) for maps in over)])
            labels.append(f"step {self.steps[at]}")
        heading = [*("picture" for _ in first), *(label for label, _ in chosen)]
        below = f"{note} Maps: {self.source}. max: the word's largest share of a pixel's attention.".strip()
        return figures.grid(rows, columns=heading, labels=labels, captions=captions, title=title, note=below)


def draw_regions(picture: Image.Image, masks: Mapping[Any, Tensor], *, side: int = 384) -> Image.Image:
    """Return an image with the outline and the name of each mask.

    >>> import torch
    >>> left = torch.zeros(8, 8, dtype=torch.bool)
    >>> left[:, :4] = True
    >>> draw_regions(Image.new("RGB", (128, 128)), {"red cat": left}).size
    (384, 384)

    Args:
        picture: A Pillow image.
        masks: By name, each bool (height, width) on a grid of its own, which is stretched over the image. A mask of all pixels
            has no outline.
        side: The longer side of the result has at least so many pixels.

    Raises:
        OutputError: if the picture is not a Pillow image or a mask does not have two dimensions.
    """
    large = figures.enlarge(_pillow(picture), side)
    for name, mask in masks.items():
        if mask.ndim != 2:
            raise OutputError(f'the mask of "{name}" has the shape {tuple(mask.shape)}; expected (height, width)')
    return figures.outlines(large, list(masks.values()), [str(name) for name in masks])


def compare(
    rows: Sequence[tuple[str, Image.Image, ImageAttention]],
    *,
    regions: Sequence[Mapping[Any, Tensor]] = (),
    side: int = 192,
    title: str = "",
    note: str = "",
) -> Image.Image:
    """Return a sheet of images of one prompt, one per row, with the maps of the entities' words.

    Args:
        rows: (label, image, attention) of each row. The maps of a word have one scale in all rows.
        regions: The masks of each row by name, drawn over its image in a column of their own.
        side: The longer side of an image has at least so many pixels.
        title: Above the sheet.
        note: Below the sheet.

    Raises:
        OutputError: if the maps of the rows are of different layers, which cannot be compared.
    """
    sources = list(dict.fromkeys((attention.layers, attention.grid) for _, _, attention in rows))
    if len(sources) > 1:
        found = " and ".join(dict.fromkeys(attention.source for _, _, attention in rows))
        raise OutputError(
            f"maps of different layers cannot be compared ({found}); record both with the same resolution and layers"
        )
    words = rows[0][2].entity_words()
    means = [[attention.over_steps(positions).mean(dim=0) for _, positions in words] for _, _, attention in rows]
    peaks = [max(float(maps[k].max()) for maps in means) for k in range(len(words))]
    pictures = [figures.enlarge(_pillow(picture), side) for _, picture, _ in rows]
    outlined = (
        [[draw_regions(p, own, side=side) if own else None] for p, own in zip(pictures, regions, strict=True)]
        if any(regions)
        else [[] for _ in rows]
    )
    return figures.grid(
        [
            [picture, *first, *(figures.overlay(picture, values, peak) for values, peak in zip(maps, peaks, strict=True))]
            for picture, first, maps in zip(pictures, outlined, means, strict=True)
        ],
        columns=["picture", *("regions" for _ in outlined[0]), *(label for label, _ in words)],
        labels=[label for label, _, _ in rows],
        captions=[["", *("" for _ in outlined[0]), *map(_peak, maps)] for maps in means],
        title=title,
        note=f"{note} Maps: {rows[0][2].source}, averaged over the steps, each word on one scale. "
        "max: the word's largest share of a pixel's attention.".strip(),
    )


def _peak(values: Tensor) -> str:
    return f"max {float(values.max()):.2f}"


def _pillow(image: Any) -> Image.Image:
    if not isinstance(image, Image.Image):
        raise OutputError(f"the picture is a {type(image).__name__}; expected a Pillow image, as pipelines return by default")
    return image


def _listed(names: Any) -> str:
    return ", ".join(f'"{name}"' for name in dict.fromkeys(names)) or "none"
