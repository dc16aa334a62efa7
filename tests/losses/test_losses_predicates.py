"""Predicated Diffusion against a slow transcription of its formulas."""

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
    slow_word,
    value_and_gradient,
)
from unbleed.losses import TokenGroups
from unbleed.losses.groups import group_tokens
from unbleed.losses.predicates import correspondence, existence, leakage, possession
from unbleed.prompt import PromptTokens

MODIFIED = [name for name, shape in SHAPES.items() if any(modifiers for _, modifiers in shape)]
LEAKING = [name for name in MODIFIED if len(SHAPES[name]) > 1]
SEVERAL = [name for name, shape in SHAPES.items() if len(shape) > 1]


def paper_existence(maps: Tensor, groups: TokenGroups) -> Tensor:
    return existence(maps, groups, form="paper")


def each_owns_the_next(groups: TokenGroups) -> Tensor:
    """Pairs (owned, holder): of every image, each entity holds the one after it."""
    rows = range(1, len(groups.noun))
    pairs = [[row, row - 1] for row in rows if groups.entity_image[row] == groups.entity_image[row - 1]]
    return torch.tensor(pairs, dtype=torch.long).reshape(-1, 2)


def owning(maps: Tensor, groups: TokenGroups) -> Tensor:
    return possession(maps, groups, each_owns_the_next(groups))


LOSSES: dict[str, Function] = {
    "existence": existence,
    "existence-paper": paper_existence,
    "correspondence": correspondence,
    "leakage": leakage,
    "possession": owning,
}
CONCERNED = {
    "existence": list(SHAPES),
    "existence-paper": list(SHAPES),
    "correspondence": MODIFIED,
    "leakage": LEAKING,
    "possession": SEVERAL,
}
every_loss = pytest.mark.parametrize("name", LOSSES)


def lifted_log(truth: Tensor) -> Tensor:
    return (1e-4 + (1 - 1e-4) * truth).log()


def slow_stretched(maps: Tensor, pieces: tuple[int, ...]) -> Tensor:
    word = slow_word(maps, pieces)
    return (word - word.min()) / (word.max() - word.min() + 1e-8)


def slow_implication(a: Tensor, b: Tensor) -> Tensor:
    return -lifted_log(1 - a * (1 - b)).sum() / a.numel()


def mean(values: list[Tensor]) -> Tensor:
    return torch.stack(values).mean() if values else torch.zeros((), dtype=torch.float64)


def slow_existence(maps: Tensor, tokens: PromptTokens, form: Literal["code", "paper"] = "code") -> Tensor:
    values = []
    for noun, _ in tokens.entities:
        absent = lifted_log(1 - slow_probability(maps, tokens, noun, smoothed=False))
        nowhere = (absent.sum() / absent.numel()).exp() if form == "code" else (absent.sum()).exp()
        values.append(-lifted_log(1 - nowhere))
    return mean(values)


def slow_correspondence(maps: Tensor, tokens: PromptTokens) -> Tensor:
    values = []
    for noun, modifiers in tokens.entities:
        b = slow_stretched(maps, noun)
        for pieces in modifiers:
            a = slow_stretched(maps, pieces)
            values.append(slow_implication(a, b) + slow_implication(b, a))
    return mean(values)


def slow_leakage(maps: Tensor, tokens: PromptTokens) -> Tensor:
    values = []
    for s, (_, modifiers) in enumerate(tokens.entities):
        for pieces in modifiers:
            a = slow_stretched(maps, pieces)
            for r, (noun, _) in enumerate(tokens.entities):
                if r != s:
                    values.append(-lifted_log(1 - a * slow_stretched(maps, noun)).mean())
    return mean(values)


def slow_possession(maps: Tensor, tokens: PromptTokens) -> Tensor:
    nouns = [slow_stretched(maps, noun) for noun, _ in tokens.entities]
    return mean([slow_implication(nouns[s], nouns[s - 1]) for s in range(1, len(nouns))])


@every_grid
@every_shape
def test_the_losses_are_their_formulas(shape: Shape, grid: tuple[int, int]) -> None:
    maps, tokens = maps_of(grid=grid), tokens_of(shape)
    check_formula(existence, slow_existence, maps, tokens)
    check_formula(paper_existence, lambda m, t: slow_existence(m, t, "paper"), maps, tokens)
    check_formula(existence, slow_existence, maps, replace(tokens, padded_with_end=False))
    check_formula(correspondence, slow_correspondence, maps, tokens)
    check_formula(leakage, slow_leakage, maps, tokens)
    check_formula(owning, slow_possession, maps, tokens)


def filled(tokens: PromptTokens, words: list[tuple[tuple[int, ...], slice]]) -> Tensor:
    """Maps (1, token, 4, 8) at which these words have all attention in these columns."""
    maps = torch.zeros(1, LENGTH, 4, 8, dtype=torch.float64)
    for pieces, columns in words:
        maps[0, pieces[0], :, columns] = 1
    return maps


LEFT, RIGHT, ALL = slice(0, 4), slice(4, 8), slice(0, 8)
MOST = -math.log(1e-4)


def test_existence_is_the_share_of_the_map() -> None:
    tokens = tokens_of(SHAPES["noun"])
    noun, _ = tokens.entities[0]
    other = (noun[0] + 1,)
    groups = group_tokens([tokens])
    here = filled(tokens, [(noun, ALL)])
    assert existence(here, groups).item() == pytest.approx(0, abs=2e-4)
    half = filled(tokens, [(noun, LEFT), (other, RIGHT)])
    # half the places are sure, so the geometric mean of what is missing is sqrt(1e-4) = 0.01
    assert existence(half, groups).item() == pytest.approx(-math.log(0.99), abs=2e-4)
    assert paper_existence(half, groups).item() == pytest.approx(0, abs=2e-4)
    nowhere = filled(tokens, [(other, ALL)])
    assert existence(nowhere, groups).item() == pytest.approx(MOST, abs=1e-3)
    assert paper_existence(nowhere, groups).item() == pytest.approx(MOST, abs=1e-3)


def test_correspondence_and_leakage_of_equal_and_disjoint_maps() -> None:
    tokens = tokens_of(SHAPES["two"])
    (first, (red,)), (second, (blue,)) = tokens.entities
    groups = group_tokens([tokens])
    right = filled(tokens, [(first, LEFT), (red, LEFT), (second, RIGHT), (blue, RIGHT)])
    assert correspondence(right, groups).item() == pytest.approx(0, abs=1e-5)
    assert leakage(right, groups).item() == pytest.approx(0, abs=1e-5)
    swapped = filled(tokens, [(first, LEFT), (red, RIGHT), (second, RIGHT), (blue, LEFT)])
    # either implication fails on one half of the places
    assert correspondence(swapped, groups).item() == pytest.approx(MOST, rel=1e-3)
    assert leakage(swapped, groups).item() == pytest.approx(MOST / 2, rel=1e-3)


def test_possession_goes_one_way() -> None:
    tokens = tokens_of(((1, ()), (1, ())))
    (owned, _), (holder, _) = tokens.entities
    groups = group_tokens([tokens])
    maps = filled(tokens, [(owned, slice(0, 2)), (holder, LEFT)])
    assert possession(maps, groups, torch.tensor([[0, 1]])).item() == pytest.approx(0, abs=1e-5)
    assert possession(maps, groups, torch.tensor([[1, 0]])).item() == pytest.approx(MOST / 4, rel=1e-3)
    none = torch.zeros(0, 2, dtype=torch.long)
    assert possession(maps, groups, none).tolist() == [0]


def test_the_most_violated_place_has_a_gradient() -> None:
    tokens = tokens_of(SHAPES["modified"])
    noun, (modifier,) = tokens.entities[0]
    maps = filled(tokens, [(noun, LEFT), (modifier, RIGHT)])
    _, gradient = value_and_gradient(correspondence, maps, tokens)
    assert (gradient[0, noun[0], :, RIGHT] < 0).all()  # the noun is drawn to its modifier
    assert (gradient[0, modifier[0], :, LEFT] < 0).all()
    nowhere = torch.full((1, LENGTH, 4, 8), 0.01, dtype=torch.float64)
    nowhere[0, noun[0]] = 0
    nowhere[0, noun[0] + 1] = 0.12  # the noun has less than e of the probability everywhere
    _, gradient = value_and_gradient(existence, nowhere, tokens)
    assert (gradient[0, noun[0]] < 0).all()


def test_pairs_of_holders_may_come_in_any_order() -> None:
    maps, groups = maps_of(images=2), group_tokens([tokens_of(SHAPES["four"]), tokens_of(SHAPES["three"])])
    holders = torch.tensor([[1, 0], [3, 2], [2, 0], [6, 4]])
    torch.testing.assert_close(possession(maps, groups, holders), possession(maps, groups, holders[[3, 1, 0, 2]]))


@every_loss
def test_images_stay_apart(name: str) -> None:
    check_batch(LOSSES[name])


@pytest.mark.parametrize("name", [name for name in LOSSES if name != "possession"])
def test_order_changes_nothing(name: str) -> None:
    check_order(LOSSES[name])


@every_loss
def test_prompts_without_its_words_have_no_loss(name: str) -> None:
    check_nothing(LOSSES[name], *(shape for shape in SHAPES if shape not in CONCERNED[name]))


@every_loss
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64], ids=["half", "single", "double"])
def test_extreme_maps_have_finite_gradients(name: str, dtype: torch.dtype) -> None:
    check_extremes(LOSSES[name], dtype, steep=not name.startswith("existence"))


@every_loss
def test_half_precision_is_near(name: str) -> None:
    check_half(LOSSES[name])


@pytest.mark.parametrize("name", [name for name in LOSSES if name != "existence-paper"])  # it saturates
def test_the_loss_falls_along_its_negative_gradient(name: str) -> None:
    check_descent(LOSSES[name], CONCERNED[name])


def test_the_product_saturates_where_the_mean_does_not() -> None:
    _, of_mean = value_and_gradient(existence, maps_of(seed=2), tokens_of(SHAPES["pieces"]))
    _, of_product = value_and_gradient(paper_existence, maps_of(seed=2), tokens_of(SHAPES["pieces"]))
    assert of_mean.abs().max() > 1e-2
    assert of_product.abs().max() < 1e-12
