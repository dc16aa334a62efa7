"""EBAMA against a slow transcription of its formulas."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Literal

import pytest
import torch
from torch import Tensor

from helpers.loss_cases import LENGTH, SHAPES, Shape, every_grid, every_shape, maps_of, tokens_of
from helpers.loss_properties import (
    Function,
    check_batch,
    check_descent,
    check_extremes,
    check_formula,
    check_half,
    check_nothing,
    check_order,
    slow_probability,
    value_and_gradient,
)
from unbleed.losses import TokenGroups
from unbleed.losses.groups import group_tokens
from unbleed.losses.objects import intensity, object_binding
from unbleed.prompt import PromptTokens

Distance = Literal["cosine", "kl"]

MODIFIED = [name for name, shape in SHAPES.items() if any(modifiers for _, modifiers in shape)]


def part(distance: Distance, index: int) -> Function:
    return lambda maps, groups: object_binding(maps, groups, distance=distance)[index]


def whole(maps: Tensor, groups: TokenGroups) -> Tensor:
    positive, negative = object_binding(maps, groups)
    return positive + negative + 0.5 * intensity(maps, groups)


LOSSES: dict[str, Function] = {
    "cosine-positive": part("cosine", 0),
    "cosine-negative": part("cosine", 1),
    "kl-positive": part("kl", 0),
    "kl-negative": part("kl", 1),
    "intensity": intensity,
    "whole": whole,
}
every_loss = pytest.mark.parametrize("name", LOSSES)
every_distance = pytest.mark.parametrize("distance", ["cosine", "kl"])


def slow_distance(a: Tensor, b: Tensor, distance: Distance) -> Tensor:
    if distance == "cosine":
        return 1 - (a * b).sum() / ((a * a).sum() * (b * b).sum()).sqrt()
    p, q = (a + 1e-8) / (a + 1e-8).sum(), (b + 1e-8) / (b + 1e-8).sum()
    return ((p * (p / q).log()).sum() + (q * (q / p).log()).sum()) / 2


def largest(values: list[Tensor]) -> Tensor:
    return max(values, key=lambda value: value.item())


def slow_parts(maps: Tensor, tokens: PromptTokens, distance: Distance) -> tuple[Tensor, Tensor]:
    positive = negative = torch.zeros((), dtype=torch.float64)
    for noun, modifiers in tokens.entities:
        own = {*noun, *(piece for pieces in modifiers for piece in pieces)}
        outside = [token for token in range(1, tokens.end) if token not in own]
        for pieces in modifiers:
            of_piece = [largest([slow_distance(maps[m], maps[n], distance) for n in noun]) for m in pieces]
            if distance == "kl":
                positive = positive + largest(of_piece)
            else:
                for value in of_piece:
                    positive = positive + value
        for _ in range(max(len(modifiers), 1)):
            for u in outside:
                furthest = largest([slow_distance(maps[n], maps[u], distance) for n in noun])
                negative = negative - furthest / len(outside)
    return positive, negative


def slow_intensity(maps: Tensor, tokens: PromptTokens) -> Tensor:
    total = torch.zeros((), dtype=torch.float64)
    for noun, _ in tokens.entities:
        total = total - slow_probability(maps, tokens, noun, smoothed=True).max()
    return total


@every_grid
@every_shape
@every_distance
def test_the_terms_are_their_formulas(shape: Shape, grid: tuple[int, int], distance: Distance) -> None:
    maps, tokens = maps_of(grid=grid), tokens_of(shape)
    for index in (0, 1):
        check_formula(part(distance, index), lambda m, t: slow_parts(m, t, distance)[index], maps, tokens)  # noqa: B023


@every_grid
@every_shape
@pytest.mark.parametrize("padded_with_end", [True, False], ids=["sd1", "sd2"])
def test_the_intensity_is_its_formula(shape: Shape, grid: tuple[int, int], padded_with_end: bool) -> None:
    check_formula(intensity, slow_intensity, maps_of(grid=grid), tokens_of(shape, padded_with_end=padded_with_end))


def test_known_cosines() -> None:
    tokens = tokens_of(((1, (2,)),))  # "a", two pieces of a modifier, the noun
    ((noun,), ((first, second),)) = tokens.entities[0]
    maps = torch.zeros(1, LENGTH, 2, 3, dtype=torch.float64)
    maps[0, [1, noun], 0, 0] = 0.2
    maps[0, first, 1, 2] = 0.4
    maps[0, second, 0, 0], maps[0, second, 1, 2] = 0.1, 0.1
    positive, negative = object_binding(maps, group_tokens([tokens]))
    assert positive.item() == pytest.approx(1 + 1 - math.sqrt(0.5), abs=1e-5)  # both pieces, 90 and 45 degrees away
    assert negative.item() == pytest.approx(0, abs=1e-5)  # the article is where the noun is
    maps[0, 1] = maps[0, first]
    assert object_binding(maps, group_tokens([tokens]))[1].item() == pytest.approx(-1, abs=1e-5)


def test_the_negative_term_stands_once_for_every_modifier() -> None:
    several, single = tokens_of(((1, (1, 1, 1)),)), tokens_of(((1, (3,)),))  # the same pieces outside
    maps = maps_of()
    for distance in ("cosine", "kl"):
        three = object_binding(maps, group_tokens([several]), distance=distance)[1]
        one = object_binding(maps, group_tokens([single]), distance=distance)[1]
        torch.testing.assert_close(three, 3 * one)


@every_distance
def test_an_entity_that_is_the_whole_prompt_has_no_negative_term(distance: Distance) -> None:
    tokens = replace(tokens_of(()), entities=(((2,), ((1,),)),), own=(1, 2), end=3)
    value, gradient = value_and_gradient(part(distance, 1), maps_of(), tokens)
    assert value.tolist() == [0]
    assert not gradient.any()
    assert part(distance, 0)(maps_of(), group_tokens([tokens])).item() > 0


def test_the_intensity_counts_every_entity() -> None:
    tokens = tokens_of(((1, ()), (1, ())))
    maps = torch.zeros(1, LENGTH, 6, 9, dtype=torch.float64)
    (first,), (second,) = (noun for noun, _ in tokens.entities)
    maps[0, first, :, :4] = 1
    groups = group_tokens([tokens])
    assert intensity(maps, groups).item() == pytest.approx(-1 - 1 / (LENGTH - 2), abs=1e-6)
    maps[0, second, :, 5:] = 1
    assert intensity(maps, groups).item() == pytest.approx(-2, abs=1e-6)


@every_loss
def test_images_stay_apart(name: str) -> None:
    check_batch(LOSSES[name])


@every_loss
def test_order_changes_nothing(name: str) -> None:
    check_order(LOSSES[name])


@every_loss
def test_prompts_without_its_words_have_no_loss(name: str) -> None:
    check_nothing(LOSSES[name], *(["noun"] if name.endswith("positive") else []))


@every_loss
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64], ids=["half", "single", "double"])
def test_extreme_maps_have_finite_gradients(name: str, dtype: torch.dtype) -> None:
    check_extremes(LOSSES[name], dtype, steep=name.startswith("kl"))


@every_loss
def test_half_precision_is_near(name: str) -> None:
    check_half(LOSSES[name])


@every_loss
def test_the_loss_falls_along_its_negative_gradient(name: str) -> None:
    check_descent(LOSSES[name], MODIFIED if name.endswith("positive") else list(SHAPES))
