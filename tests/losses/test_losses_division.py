"""Divide-and-Bind against a slow transcription of its formulas."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from helpers.loss_cases import LENGTH, SHAPES, Shape, maps_of, tokens_of
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
)
from unbleed.losses import TokenGroups
from unbleed.losses.division import attendance, attribute_binding, divide_and_bind
from unbleed.losses.groups import group_tokens
from unbleed.prompt import PromptTokens

MODIFIED = [name for name, shape in SHAPES.items() if any(modifiers for _, modifiers in shape)]


def bound(maps: Tensor, groups: TokenGroups) -> Tensor:
    return divide_and_bind(maps, groups, coefficient=5)


LOSSES: list[Function] = [attendance, attribute_binding, bound]
every_loss = pytest.mark.parametrize("loss", LOSSES, ids=["attendance", "binding", "both"])


def slow_variation(x: Tensor, paper: bool) -> Tensor:
    rows, columns = x.shape
    down = torch.zeros((), dtype=torch.float64)
    for row in range(1, rows):
        down = down + (x[row] - x[rows - 1 if paper else row - 1]).abs().sum() / ((rows - 1) * columns)
    across = torch.zeros((), dtype=torch.float64)
    for column in range(1, columns):
        across = across + (x[:, column] - x[:, column - 1]).abs().sum() / (rows * (columns - 1))
    return down + across


def slow_divergence(noun: Tensor, modifier: Tensor, variation: float) -> Tensor:
    x, y = noun.flatten(), modifier.flatten()
    y = y * x.max() / y.max()
    of_noun, of_modifier = x.exp() / x.exp().sum(), y.exp() / y.exp().sum()
    threshold = (0.3 if variation < 0.1 else 0.2) * of_noun.max()
    total = torch.zeros((), dtype=torch.float64)
    for at_noun, at_modifier in zip(of_noun, of_modifier, strict=True):
        p, q = (at_noun - threshold).clamp(min=0) + 1e-5, (at_modifier - threshold).clamp(min=0) + 1e-5
        m = (p + q) / 2
        total = total + (p * (p / m).log() + q * (q / m).log()) / 2
    return total


def slow(
    maps: Tensor,
    tokens: PromptTokens,
    *,
    attend: float,
    coefficient: float,
    paper: bool = False,
) -> Tensor:
    worst = None
    for noun, modifiers in tokens.entities:
        x = slow_probability(maps, tokens, noun, smoothed=True)
        variation = slow_variation(x, paper)
        value = -attend * variation
        for pieces in modifiers:
            other = slow_probability(maps, tokens, pieces, smoothed=True)
            value = value + coefficient * slow_divergence(x, other, variation.item()) / len(modifiers)
        worst = value if worst is None or value > worst else worst
    return torch.zeros((), dtype=torch.float64) if worst is None else worst


def cases() -> Iterator[Any]:
    """Every shape on a small grid, one on that of Stable Diffusion 1, and on request all on larger ones: the loops are slow."""
    for name, shape in SHAPES.items():
        for height, width in ((6, 9), (16, 16), (24, 24), (32, 48)):
            quick = height == 6 or (height == 16 and name == "two-uneven")
            marks = () if quick else (pytest.mark.slow,)
            yield pytest.param(shape, (height, width), id=f"{name}-{height}x{width}", marks=marks)


@pytest.mark.parametrize(("shape", "grid"), list(cases()))
@pytest.mark.parametrize("paper", [False, True], ids=["fixed", "paper"])
def test_the_losses_are_their_formulas(shape: Shape, grid: tuple[int, int], paper: bool) -> None:
    maps, tokens = maps_of(grid=grid), tokens_of(shape, padded_with_end=not paper)
    check_formula(
        lambda m, g: attendance(m, g, paper_variation=paper),
        lambda m, t: slow(m, t, attend=1, coefficient=0, paper=paper),
        maps,
        tokens,
    )
    check_formula(
        lambda m, g: attribute_binding(m, g, paper_variation=paper),
        lambda m, t: slow(m, t, attend=0, coefficient=1, paper=paper),
        maps,
        tokens,
    )
    for coefficient in (1.0, 10.0):
        check_formula(
            lambda m, g: divide_and_bind(m, g, coefficient=coefficient, paper_variation=paper),  # noqa: B023
            lambda m, t: slow(m, t, attend=1, coefficient=coefficient, paper=paper),  # noqa: B023
            maps,
            tokens,
        )


def striped(values: Tensor) -> Tensor:
    """Maps (1, token, height, width) at which the only noun's Z is nearly `values`, of 0 and 1, without smoothing."""
    maps = torch.zeros(1, LENGTH, *values.shape, dtype=torch.float64)
    (noun,) = tokens_of(SHAPES["noun"]).entities[0][0]
    maps[0, noun] = values
    maps[0, noun + 1] = 1 - values
    return maps


def test_the_variation_of_stripes_is_known() -> None:
    groups = group_tokens([tokens_of(SHAPES["noun"])])
    columns = (torch.arange(8) % 2).double().expand(4, 8)  # every neighbour in a row differs, none in a column
    rows = (torch.arange(4) % 2).double()[:, None].expand(4, 8)
    step = (torch.arange(4) >= 2).double()[:, None].expand(4, 8)
    for values, fixed, paper in [(columns, -1, -1), (rows, -1, -1 / 3), (step, -1 / 3, -1 / 3), (1 - columns * 0, 0, 0)]:
        maps = striped(values)
        assert attendance(maps, groups, sigma=0).item() == pytest.approx(fixed, abs=1e-9)
        assert attendance(maps, groups, sigma=0, paper_variation=True).item() == pytest.approx(paper, abs=1e-9)


def test_a_map_of_one_row_or_column_varies_one_way_only() -> None:
    groups = group_tokens([tokens_of(SHAPES["noun"])])
    values = (torch.arange(8) % 2).double()
    for grid in (values[None], values[:, None]):
        assert attendance(striped(grid), groups).item() == pytest.approx(-1, abs=1e-9)


def z_maps(noun_z: Tensor, modifier_z: Tensor, tokens: PromptTokens) -> Tensor:
    """Maps (1, token, height, width) of which the softmax over the words "a", modifier and noun is as given."""
    ((noun,), ((modifier,),)) = tokens.entities[0]
    rest = 1 - noun_z - modifier_z
    maps = torch.full((1, LENGTH, *noun_z.shape), 0.1, dtype=torch.float64)
    maps[0, noun] += (noun_z / rest).log() / 100
    maps[0, modifier] += (modifier_z / rest).log() / 100
    return maps


def test_the_divergence_of_equal_and_of_disjoint_maps_is_known() -> None:
    tokens = tokens_of(SHAPES["modified"])
    groups = group_tokens([tokens])
    left = torch.where(torch.arange(8) < 4, 0.4, 0.1).double().expand(4, 8)

    def value(noun: Tensor, modifier: Tensor) -> float:
        return attribute_binding(z_maps(noun, modifier, tokens), groups, sigma=0, kept="words").item()

    assert value(left, left) == pytest.approx(0, abs=1e-12)
    assert value(left, left / 4) == pytest.approx(0, abs=1e-12)  # fainter, but of the same shape
    # 16 of 32 pixels have X = 0.4, the others 0.1; the modifier has them the other way round; TV is 0.3 / 7
    high, low = (math.exp(x) / (16 * math.exp(0.4) + 16 * math.exp(0.1)) for x in (0.4, 0.1))
    p, q = (0.7 * high + 1e-5, low - 0.3 * high + 1e-5)
    m = (p + q) / 2
    assert value(left, left.flip(1)) == pytest.approx(32 * (p * math.log(p / m) + q * math.log(q / m)) / 2, rel=1e-6)


def test_a_varied_map_loses_a_smaller_share_of_its_peak() -> None:
    tokens = tokens_of(SHAPES["modified"])
    stripes = torch.where(torch.arange(8) % 2 == 0, 0.4, 0.1).double().expand(4, 8)  # TV is 0.3
    value = attribute_binding(z_maps(stripes, stripes.flip(1), tokens), group_tokens([tokens]), sigma=0, kept="words")
    high, low = (math.exp(x) / (16 * math.exp(0.4) + 16 * math.exp(0.1)) for x in (0.4, 0.1))
    p, q = (0.8 * high + 1e-5, low - 0.2 * high + 1e-5)
    m = (p + q) / 2
    assert value.item() == pytest.approx(32 * (p * math.log(p / m) + q * math.log(q / m)) / 2, rel=1e-6)


def test_an_entity_without_modifiers_has_its_variation_alone() -> None:
    maps, groups = maps_of(), group_tokens([tokens_of(SHAPES["noun"])])
    assert torch.equal(divide_and_bind(maps, groups, coefficient=10), attendance(maps, groups))


@every_loss
def test_images_stay_apart(loss: Function) -> None:
    check_batch(loss)


@every_loss
def test_order_changes_nothing(loss: Function) -> None:
    check_order(loss)


@every_loss
def test_prompts_without_its_words_have_no_loss(loss: Function) -> None:
    check_nothing(loss, *(["noun"] if loss is attribute_binding else []))


@every_loss
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64], ids=["half", "single", "double"])
def test_extreme_maps_have_finite_gradients(loss: Function, dtype: torch.dtype) -> None:
    check_extremes(loss, dtype)


@every_loss
def test_half_precision_is_near(loss: Function) -> None:
    check_half(loss)


@every_loss
def test_the_loss_falls_along_its_negative_gradient(loss: Function) -> None:
    check_descent(loss, MODIFIED if loss is attribute_binding else list(SHAPES))
