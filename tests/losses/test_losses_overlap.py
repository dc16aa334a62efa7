"""The overlap losses against slow transcriptions of their formulas: loops over images, entities, pairs and pieces."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations, permutations

import pytest
import torch
from torch import Tensor

from helpers.loss_cases import SHAPES, Shape, even, every_grid, every_shape, identical, maps_of, one_hot_pixel, tokens_of, zero
from unbleed.losses.base import FunctionLoss
from unbleed.losses.groups import group_tokens
from unbleed.losses.overlap import centre_distance, compactness, divergence, intensity, iou, overlap_of, spread
from unbleed.prompt import PromptTokens

Function = Callable[..., Tensor]

LOSSES: list[Function] = [iou, centre_distance, divergence, compactness]
MEASURES: list[Function] = [intensity, spread, overlap_of]

every_loss = pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.__name__)
every_function = pytest.mark.parametrize("loss", [*LOSSES, *MEASURES], ids=lambda loss: loss.__name__)


def value_and_gradient(loss: Function, maps: Tensor, *tokens: PromptTokens, **settings: float) -> tuple[Tensor, Tensor]:
    maps = maps.clone().requires_grad_()
    value = FunctionLoss(lambda m, g: loss(m, g, **settings))(maps, group_tokens(tokens))
    (gradient,) = torch.autograd.grad(value.sum(), maps)
    return value.detach(), gradient


def bare(entities: int) -> PromptTokens:
    return tokens_of(((1, ()),) * entities)


def drawn(*weights: dict[tuple[int, int], float], grid: tuple[int, int] = (6, 9)) -> tuple[Tensor, PromptTokens]:
    """Maps where the noun of each entity has these weights at these places and nothing elsewhere."""
    tokens, maps = bare(len(weights)), torch.zeros(1, 32, *grid, dtype=torch.float64)
    for ((piece,), _), places in zip(tokens.entities, weights, strict=True):
        for (y, x), weight in places.items():
            maps[0, piece, y, x] = weight
    return maps, tokens


def slow_raw(maps: Tensor, tokens: PromptTokens) -> list[Tensor]:
    nouns = []
    for pieces, _ in tokens.entities:
        noun = torch.zeros(maps.shape[1:], dtype=torch.float64)
        for piece in pieces:
            noun = noun + maps[piece]
        nouns.append(noun)
    return nouns


def slow_centre(p: Tensor) -> tuple[Tensor, Tensor]:
    """The mean row and column of a distribution."""
    y = sum((p[row].sum() * row for row in range(p.shape[0])), torch.zeros((), dtype=torch.float64))
    x = sum((p[:, column].sum() * column for column in range(p.shape[1])), torch.zeros((), dtype=torch.float64))
    return y, x


def slow_distance(a: tuple[Tensor, Tensor], b: tuple[Tensor, Tensor]) -> Tensor:
    return torch.sqrt((a[0] - b[0]) ** 2 + (a[1] - b[1]) ** 2)


def mean(values: list[Tensor]) -> Tensor:
    return sum(values[1:], values[0]) / len(values)


def slow(name: str, maps: Tensor, tokens: PromptTokens, floor: float = 1e-8) -> Tensor:
    """One image's value of the formula that `name` says, for maps (token, height, width)."""
    raw = slow_raw(maps, tokens)
    p = [(noun + floor) / (noun + floor).sum() for noun in raw]
    nothing = 0 * maps.sum()
    if name == "intensity":
        smallest = min(range(len(raw)), key=lambda s: raw[s].mean().item())
        return raw[smallest].mean()
    if name == "spread":
        spreads = []
        for noun in p:
            y, x = slow_centre(noun)
            total = nothing
            for row in range(noun.shape[0]):
                columns = torch.arange(noun.shape[1], dtype=torch.float64)
                total = total + (noun[row] * ((row - y) ** 2 + (columns - x) ** 2)).sum()
            spreads.append(total)
        return mean(spreads)
    if len(p) < 2:
        return nothing
    pairs = list(combinations(range(len(p)), 2))
    if name in ("iou", "overlap_of"):
        return mean([(p[a] * p[b] / (p[a] + p[b])).sum() for a, b in pairs])
    if name == "divergence":
        return -mean([(p[a] * (p[a] / p[b]).log()).sum() for a, b in permutations(range(len(p)), 2)])
    if name == "compactness":
        if len(p) == 3:
            return -torch.maximum(torch.maximum(p[0], p[1]), p[2]).mean()
        return -mean([torch.maximum(p[a], p[b]).mean() for a, b in pairs])
    assert name == "centre_distance"
    centres = [slow_centre(noun) for noun in p]
    sides = [slow_distance(centres[a], centres[b]) for a, b in pairs]
    if len(p) == 3:
        half = (sides[0] + sides[1] + sides[2]) / 2
        area = torch.sqrt(half * (half - sides[0]) * (half - sides[1]) * (half - sides[2]))
        return -area / 12.5
    return -mean(sides) / 10


@every_grid
@every_shape
@every_function
def test_the_function_is_its_formula(loss: Function, shape: Shape, grid: tuple[int, int]) -> None:
    maps, tokens = maps_of(grid=grid), tokens_of(shape)
    source = maps.clone().requires_grad_()
    expected = slow(loss.__name__, source[0], tokens)
    (slope,) = torch.autograd.grad(expected, source)
    value, gradient = value_and_gradient(loss, maps, tokens)
    torch.testing.assert_close(value, expected.detach()[None], atol=1e-9, rtol=1e-7)
    # random centres of three can be nearly in line, where Heron's root loses digits
    torch.testing.assert_close(gradient, slope, atol=1e-8, rtol=1e-6)


def test_identical_maps_overlap_by_half_and_disjoint_ones_not() -> None:
    left, right = {(1, 2): 0.4, (1, 3): 0.4}, {(4, 2): 0.1, (4, 3): 0.1}
    middle = {(1, 3): 0.2, (4, 3): 0.2}
    for measure in (iou, overlap_of):
        for weights, expected in [((left, left), 0.5), ((left, right), 0.0), ((left, middle), 0.25)]:
            maps, tokens = drawn(*weights)
            assert measure(maps, group_tokens([tokens])).item() == pytest.approx(expected, abs=1e-5)
        maps, tokens = drawn(left, left, right)
        assert measure(maps, group_tokens([tokens])).item() == pytest.approx(0.5 / 3, abs=1e-5)


@pytest.mark.parametrize(
    ("places", "expected"),
    [
        ([(2, 3)], 0.0),
        ([(2, 3), (5, 7)], -5 / 10),
        ([(0, 0), (0, 8)], -8 / 10),
        ([(0, 0), (5, 0)], -5 / 10),
        ([(0, 0), (0, 8), (5, 0)], -20 / 12.5),
        ([(0, 0), (2, 4), (4, 8)], 0.0),
        ([(0, 0), (0, 4), (3, 0), (3, 4)], -4 / 10),
    ],
)
def test_centres_of_single_places_are_those_places(places: list[tuple[int, int]], expected: float) -> None:
    maps, tokens = drawn(*({place: 0.3} for place in places))
    assert centre_distance(maps, group_tokens([tokens])).item() == pytest.approx(expected, abs=1e-5)


def test_the_scales_of_distance_and_area_divide() -> None:
    for places, expected in [([(2, 3), (5, 7)], -5 / 2), ([(0, 0), (0, 8), (5, 0)], -20 / 4)]:
        maps, tokens = drawn(*({place: 0.3} for place in places))
        value = centre_distance(maps, group_tokens([tokens]), distance_scale=2, area_scale=4)
        assert value.item() == pytest.approx(expected, abs=1e-4)


def test_divergence_of_two_places_is_known() -> None:
    first, second = {(0, 0): 0.3, (0, 1): 0.1}, {(0, 0): 0.1, (0, 1): 0.3}
    for weights, expected in [((first, second), -math.log(3) / 2), ((first, first), 0.0)]:
        maps, tokens = drawn(*weights, grid=(1, 2))
        assert divergence(maps, group_tokens([tokens])).item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("columns", "expected"), [([0, 0], 1), ([0, 1], 2), ([0, 0, 0], 1), ([0, 0, 1], 2), ([0, 1, 2], 3), ([0, 1, 2, 3], 2)]
)
def test_compactness_counts_the_maps_that_are_apart(columns: list[int], expected: int) -> None:
    maps, tokens = drawn(*({(0, column): 0.5} for column in columns))
    assert compactness(maps, group_tokens([tokens])).item() == pytest.approx(-expected / 54, abs=1e-6)


def test_intensity_is_that_of_the_weakest() -> None:
    maps, tokens = drawn({(0, 0): 0.9}, {(1, 1): 0.2, (3, 2): 0.07}, {(2, 2): 0.5})
    assert intensity(maps, group_tokens([tokens])).item() == pytest.approx(0.27 / 54)


def test_spread_is_the_variance_of_place() -> None:
    maps, tokens = drawn({(0, 0): 0.4, (0, 8): 0.4}, {(1, 3): 0.1, (5, 3): 0.1})
    assert spread(maps, group_tokens([tokens])).item() == pytest.approx((16 + 4) / 2, abs=1e-4)
    maps, tokens = drawn({(4, 7): 0.4})
    assert spread(maps, group_tokens([tokens])).item() == pytest.approx(0, abs=1e-4)


@every_function
def test_a_batch_is_its_images_one_by_one(loss: Function) -> None:
    prompts = [tokens_of(SHAPES[name]) for name in ("four", "noun", "three", "two-uneven", "three")]
    maps = maps_of(images=5, grid=(6, 9))
    value, gradient = value_and_gradient(loss, maps, *prompts)
    for image, tokens in enumerate(prompts):
        alone, slope = value_and_gradient(loss, maps[image : image + 1], tokens)
        torch.testing.assert_close(value[image], alone[0])
        torch.testing.assert_close(gradient[image], slope[0])
    order = [3, 2, 0]  # selected groups keep the rows' order, not the images'
    chosen = loss(maps[order], group_tokens(prompts).select(order))
    torch.testing.assert_close(chosen, value[order])


@every_function
@pytest.mark.parametrize("name", ["two", "three", "four"])
def test_the_order_of_entities_changes_nothing(loss: Function, name: str) -> None:
    tokens, maps = tokens_of(SHAPES[name]), maps_of(grid=(6, 9))
    value, gradient = value_and_gradient(loss, maps, tokens)
    for entities in permutations(tokens.entities):
        again, slope = value_and_gradient(loss, maps, replace(tokens, entities=entities))
        torch.testing.assert_close(again, value)
        torch.testing.assert_close(slope, gradient)


@every_loss
@every_shape
def test_the_loss_falls_along_its_negative_gradient(loss: Function, shape: Shape) -> None:
    tokens, maps = tokens_of(shape), maps_of(images=2, seed=2)
    value, gradient = value_and_gradient(loss, maps, tokens, tokens)
    step = 1e-2 * maps.min() / gradient.abs().amax().clamp(min=1e-12)
    after = loss(maps - step * gradient, group_tokens([tokens, tokens]))
    if len(shape) < 2:
        assert value.tolist() == [0, 0]
        assert not gradient.any()
    else:
        assert (after < value).all()


def hot_places_in_line(maps: Tensor) -> Tensor:
    hot = torch.zeros_like(maps)
    for token in range(hot.shape[1]):
        hot[:, token, 3, token % hot.shape[3]] = 1
    return hot


def zero_beside_others(maps: Tensor) -> Tensor:
    mixed = maps.clone()
    mixed[:, ::2] = 0
    return mixed


def barely_anything(maps: Tensor) -> Tensor:
    little = torch.zeros_like(maps)
    little[:, :, 0, 0] = 6e-8  # the smallest number of float16
    little[:, ::2, 0, 0] = 0
    return little


EXTREMES = [zero, even, identical, one_hot_pixel, hot_places_in_line, zero_beside_others, barely_anything]


@every_function
@pytest.mark.parametrize("make", EXTREMES, ids=lambda make: make.__name__)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
def test_extreme_maps_have_finite_gradients(loss: Function, make: Callable[[Tensor], Tensor], dtype: torch.dtype) -> None:
    names = ("noun", "two", "three", "four")
    value, gradient = value_and_gradient(loss, make(maps_of(images=4)).to(dtype), *(tokens_of(SHAPES[n]) for n in names))
    assert value.dtype == gradient.dtype == dtype
    assert value.isfinite().all()
    assert gradient.isfinite().all()


@every_function
def test_float16_maps_are_computed_in_single_precision(loss: Function) -> None:
    prompts = [tokens_of(SHAPES[name]) for name in ("two", "three", "four")]
    maps = maps_of(images=3).half()
    value, gradient = value_and_gradient(loss, maps, *prompts)
    expected, slope = value_and_gradient(loss, maps.float(), *prompts)
    assert torch.equal(value, expected.half())
    torch.testing.assert_close(gradient, slope.half(), atol=1e-6, rtol=1e-3)


@every_function
def test_an_image_without_entities_has_no_loss_and_no_gradient(loss: Function) -> None:
    value, gradient = value_and_gradient(loss, maps_of(), tokens_of(()))
    assert value.tolist() == [0]
    assert not gradient.any()
    value, gradient = value_and_gradient(loss, maps_of(images=2), tokens_of(()), tokens_of(SHAPES["two"]))
    assert value[0] == 0
    assert value[1] != 0
    assert not gradient[0].any()
    assert gradient[1].any()
