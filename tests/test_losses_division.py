"""Divide-and-Bind against a slow transcription of its formulas."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from loss_properties import (
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
from test_losses import LENGTH, SHAPES, Shape, maps_of, tokens_of
from unbleed.losses import TokenGroups
from unbleed.losses.division import attendance, attribute_binding, divide_and_bind
from unbleed.losses.groups import group_tokens
from unbleed.prompt import PromptTokens

GRIDS = [(16, 16), (24, 24), (32, 48)]
MODIFIED = [name for name, shape in SHAPES.items() if any(modifiers for _, modifiers in shape)]


def bound(maps: Tensor, groups: TokenGroups) -> Tensor:
    return divide_and_bind(maps, groups, coefficient=5)


LOSSES: list[Function] = [attendance, attribute_binding, bound]
every_loss = pytest.mark.parametrize("loss", LOSSES, ids=["attendance", "binding", "both"])
every_grid = pytest.mark.parametrize("grid", GRIDS, ids=["16x16", "24x24", "32x48"])
every_shape = pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)


def slow_variation(x: Tensor, paper: bool) -> Tensor:
    rows, columns = x.shape
    down = torch.zeros((), dtype=torch.float64)
    for row in range(1, rows):
        down = down + (x[row] - x[rows - 1 if paper else row - 1]).abs().sum() / ((rows - 1) * columns)
    across = torch.zeros((), dtype=torch.float64)
    for column in range(1, columns):
        across = across + (x[:, column] - x[:, column - 1]).abs().sum() / (rows * (columns - 1))
    return down + across


def slow_divergence(noun: Tensor, modifier: Tensor, variation: float, normalise: bool) -> Tensor:
    ordered = sorted(noun.detach().flatten().tolist())
    place = (0.3 if variation < 0.1 else 0.2) * (len(ordered) - 1)
    low, high = ordered[math.floor(place)], ordered[math.ceil(place)]
    quantile = low + (place - math.floor(place)) * (high - low)
    p = noun * (noun.detach() >= quantile) + 1e-5
    q = modifier + 1e-5
    if normalise:
        p, q = p / p.sum(), q / q.sum()
    m = (p + q) / 2
    total = ((p * (p / m).log()).sum() + (q * (q / m).log()).sum()) / 2
    return total if normalise else total / p.numel()


def slow(
    maps: Tensor,
    tokens: PromptTokens,
    *,
    attend: float,
    coefficient: float,
    paper: bool = False,
    normalise: bool = False,
) -> Tensor:
    worst = None
    for noun, modifiers in tokens.entities:
        x = slow_probability(maps, tokens, noun, smoothed=True)
        variation = slow_variation(x, paper)
        value = -attend * variation
        for pieces in modifiers:
            other = slow_probability(maps, tokens, pieces, smoothed=True)
            value = value + coefficient * slow_divergence(x, other, variation.item(), normalise) / len(modifiers)
        worst = value if worst is None or value > worst else worst
    return torch.zeros((), dtype=torch.float64) if worst is None else worst


@every_grid
@every_shape
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
        lambda m, g: attribute_binding(m, g, paper_variation=paper, normalise=paper),
        lambda m, t: slow(m, t, attend=0, coefficient=1, paper=paper, normalise=paper),
        maps,
        tokens,
    )
    for coefficient in (1.0, 10.0):
        check_formula(
            lambda m, g: divide_and_bind(m, g, coefficient=coefficient, paper_variation=paper, normalise=paper),  # noqa: B023
            lambda m, t: slow(m, t, attend=1, coefficient=coefficient, paper=paper, normalise=paper),  # noqa: B023
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


def test_the_divergence_of_equal_and_of_disjoint_maps_is_known() -> None:
    tokens = tokens_of(SHAPES["modified"])
    ((noun,), ((modifier,),)) = tokens.entities[0]
    left = (torch.arange(8) < 4).double().expand(4, 8)
    equal = torch.zeros(1, LENGTH, 4, 8, dtype=torch.float64)
    equal[0, [noun, modifier]] = left
    equal[0, noun + 1] = 1 - left
    disjoint = torch.zeros_like(equal)
    disjoint[0, noun], disjoint[0, modifier] = left, 1 - left
    groups = group_tokens([tokens])
    for normalise, most in ((True, math.log(2)), (False, math.log(2) / 2)):
        assert attribute_binding(equal, groups, sigma=0, normalise=normalise).item() == pytest.approx(0, abs=1e-9)
        value = attribute_binding(disjoint, groups, sigma=0, normalise=normalise).item()
        assert value == pytest.approx(most, rel=1e-3)


@pytest.mark.parametrize(("mixed", "taken"), [(False, 30), (True, 20)], ids=["flat", "varied"])
def test_places_under_the_quantile_do_not_count_for_the_noun(mixed: bool, taken: int) -> None:
    tokens = tokens_of(SHAPES["modified"])
    ((noun,), ((modifier,),)) = tokens.entities[0]
    levels = torch.linspace(0.3, 0.48, 100, dtype=torch.float64)
    order = torch.randperm(100, generator=torch.Generator().manual_seed(0)) if mixed else torch.arange(100)
    z = (levels[order] if mixed else levels).reshape(10, 10)
    if mixed:
        z = (z - 0.3) * 2 + 0.1
    maps = torch.full((1, LENGTH, 10, 10), 0.1, dtype=torch.float64)
    maps[0, [modifier, noun]] += (z / (1 - 2 * z)).log() / 100  # Z over "a", the modifier and the noun is then z
    value = attribute_binding(maps, group_tokens([tokens]), sigma=0, kept="words")
    # the modifier is an exact copy of the noun: both differ only where the noun was taken out
    q = z.flatten().sort().values[:taken] + 1e-5
    m = (q + 1e-5) / 2
    expected = (1e-5 * (1e-5 / m).log() + q * (q / m).log()).sum() / 2 / 100
    assert value.item() == pytest.approx(expected.item(), rel=1e-6)


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
