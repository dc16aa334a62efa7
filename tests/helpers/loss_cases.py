"""The prompts and maps that losses are tested on."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from unbleed.prompt import PromptTokens

Shape = tuple[tuple[int, tuple[int, ...]], ...]  # per entity: how many pieces its noun has, and each of its modifiers


Maps = list[list[list[float]]]  # of one image: [token][row][column]


LENGTH = 32


SHAPES: dict[str, Shape] = {
    "noun": ((1, ()),),
    "modified": ((1, (1,)),),
    "pieces": ((3, (2,)),),
    "two": ((1, (1,)), (1, (1,))),
    "two-uneven": ((1, (2, 1)), (2, ())),
    "three": ((1, ()), (2, (1, 1, 1)), (1, (1,))),
    "four": ((2, (1, 2, 1)), (1, ()), (3, (2,)), (1, (1, 1))),
}


every_shape = pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)


# The small ones, one of them not square, are checked on every change.
every_grid = pytest.mark.parametrize(
    "grid",
    [(16, 16), (12, 17), pytest.param((24, 24), marks=pytest.mark.slow), pytest.param((32, 48), marks=pytest.mark.slow)],
    ids=["16x16", "12x17", "24x24", "32x48"],
)


def tokens_of(shape: Shape, *, padded_with_end: bool = True, length: int = LENGTH) -> PromptTokens:
    """A prompt "a <modifiers> <noun> and a <modifiers> <noun>", every word of as many pieces as `shape` says."""
    place = 1
    entities = []
    for noun, modifiers in shape:
        place += 1 if place == 1 else 2  # "a", or "and a"
        words = []
        for pieces in (*modifiers, noun):
            words.append(tuple(range(place, place + pieces)))
            place += pieces
        entities.append((words[-1], tuple(words[:-1])))
    return PromptTokens(
        pieces=("x",) * length,
        entities=tuple(entities),
        kept=[],
        dropped=[],
        words=(),
        own=tuple(range(1, place)),
        end=place,
        padded_with_end=padded_with_end,
    )


def maps_of(images: int = 1, grid: tuple[int, int] = (16, 16), seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    """Random maps that sum to 1 over the tokens, most of it on the start token, as in a real model."""
    logits = 0.5 * torch.randn(images, LENGTH, *grid, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    logits[:, 0] += 2
    return logits.softmax(dim=1).to(dtype)


def assert_same(actual: Tensor, expected: Tensor) -> None:
    """Check a value or gradient against that of a slow transcription, in double precision."""
    torch.testing.assert_close(actual, expected, atol=1e-9, rtol=1e-7)


# Extreme maps, of the shape of others: (image, token, height, width).


def zero(maps: Tensor) -> Tensor:
    return torch.zeros_like(maps)


def even(maps: Tensor) -> Tensor:
    return torch.full_like(maps, 1 / 32)


def identical(maps: Tensor) -> Tensor:
    return maps[:, :1].expand_as(maps).clone()


def one_hot_pixel(maps: Tensor) -> Tensor:
    hot = torch.zeros_like(maps)
    hot[:, :, 2, 5] = 1
    return hot
