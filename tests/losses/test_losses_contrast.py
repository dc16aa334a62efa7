"""CONFORM against a slow transcription of its formula."""

from __future__ import annotations

import math

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
from helpers.slow_maps import slow_smooth
from unbleed.losses import TokenGroups
from unbleed.losses.contrast import contrast, directions
from unbleed.losses.groups import group_tokens
from unbleed.prompt import PromptTokens

SEVERAL = [name for name, shape in SHAPES.items() if len(shape) > 1]


def with_before(maps: Tensor, groups: TokenGroups) -> Tensor:
    before = maps_of(grid=(maps.shape[2], maps.shape[3]), seed=9, dtype=maps.dtype).expand_as(maps)
    return contrast(maps, groups, before)


def normalised(maps: Tensor, groups: TokenGroups) -> Tensor:
    return contrast(maps, groups, normalise=True)


LOSSES: list[Function] = [contrast, with_before, normalised]
every_loss = pytest.mark.parametrize("loss", LOSSES, ids=["plain", "before", "normalised"])


def slow(maps: Tensor, before: Tensor | None, tokens: PromptTokens, *, temperature: float, normalise: bool) -> Tensor:
    embeddings, labels = [], []
    for step in [maps] if before is None else [maps, before]:
        for label, (noun, modifiers) in enumerate(tokens.entities):
            for pieces in (noun, *modifiers):
                raw = slow_smooth(slow_word(step, pieces))
                probability = slow_probability(step, tokens, pieces, smoothed=True)
                embeddings.append((probability if normalise else raw).flatten())
                labels.append(label)

    def power(a: int, b: int) -> Tensor:
        u, v = embeddings[a], embeddings[b]
        return ((u * v).sum() / u.norm() / v.norm() / temperature).exp()

    values = []
    for a, own in enumerate(labels):
        negatives = [b for b, label in enumerate(labels) if label != own]
        for b, label in enumerate(labels):
            if b != a and label == own and negatives:
                against = sum((power(a, n) for n in negatives), torch.zeros((), dtype=torch.float64))
                values.append(-(power(a, b) / (power(a, b) + against)).log())
    return torch.stack(values).mean() if values else torch.zeros((), dtype=torch.float64)


def is_its_formula(maps: Tensor, tokens: PromptTokens, before: Tensor | None, temperature: float, normalise: bool) -> None:
    check_formula(
        lambda m, g: contrast(m, g, before, temperature=temperature, normalise=normalise),
        lambda m, t: slow(m, None if before is None else before[0], t, temperature=temperature, normalise=normalise),
        maps,
        tokens,
    )


@every_grid
@every_shape
def test_the_loss_is_its_formula(shape: Shape, grid: tuple[int, int]) -> None:
    maps = maps_of(grid=grid)
    is_its_formula(maps, tokens_of(shape), None, 0.5, False)
    is_its_formula(maps, tokens_of(shape), maps_of(grid=grid, seed=5), 0.5, False)


@every_shape
@pytest.mark.parametrize("padded_with_end", [True, False], ids=["sd1", "sd2"])
def test_the_normalised_loss_is_its_formula(shape: Shape, padded_with_end: bool) -> None:
    maps, tokens = maps_of(), tokens_of(shape, padded_with_end=padded_with_end)
    is_its_formula(maps, tokens, None, 0.07, True)
    is_its_formula(maps, tokens, maps_of(seed=5), 0.07, True)


def placed(tokens: PromptTokens, *places: int) -> Tensor:
    """Maps (1, token, 1, 9) at which the words of the entities, noun first, are each in one place."""
    maps = torch.zeros(1, LENGTH, 1, 9, dtype=torch.float64)
    words = [word for noun, modifiers in tokens.entities for word in (noun, *modifiers)]
    for (piece,), place in zip(words, places, strict=True):
        maps[0, piece, 0, place] = 0.3
    return maps


def test_known_values() -> None:
    tokens = tokens_of(SHAPES["two"])
    groups = group_tokens([tokens])
    apart = placed(tokens, 0, 0, 4, 4)
    assert contrast(apart, groups).item() == pytest.approx(math.log(1 + 2 * math.exp(-2)), abs=1e-6)
    assert contrast(apart, groups, temperature=1).item() == pytest.approx(math.log(1 + 2 * math.exp(-1)), abs=1e-6)
    same = placed(tokens, 3, 3, 3, 3)
    assert contrast(same, groups).item() == pytest.approx(math.log(3), abs=1e-6)
    swapped = placed(tokens, 0, 4, 0, 4)  # every word is with one of the other entity
    assert contrast(swapped, groups).item() == pytest.approx(math.log(1 + math.exp(2) + 1), abs=1e-6)


def test_a_single_word_is_attracted_by_the_step_before_only() -> None:
    tokens = tokens_of(((1, ()), (1, ())))
    groups = group_tokens([tokens])
    maps = placed(tokens, 0, 4)
    assert contrast(maps, groups).item() == 0
    stayed, swapped = contrast(maps, groups, maps), contrast(maps, groups, placed(tokens, 4, 0))
    assert stayed.item() == pytest.approx(math.log(1 + 2 * math.exp(-2)), abs=1e-6)
    assert swapped.item() == pytest.approx(math.log(1 + math.exp(2) + 1), abs=1e-6)


def test_a_single_word_stands_in_the_denominators() -> None:
    tokens = tokens_of(((1, (1,)), (1, ())))
    groups = group_tokens([tokens])
    apart, together = placed(tokens, 0, 0, 4), placed(tokens, 0, 0, 0)
    assert contrast(apart, groups).item() == pytest.approx(math.log(1 + math.exp(-2)), abs=1e-6)
    assert contrast(together, groups).item() == pytest.approx(math.log(2), abs=1e-6)


def test_the_step_before_gets_no_gradient_and_is_not_changed() -> None:
    before = maps_of(grid=(6, 9), seed=1).requires_grad_()
    maps = maps_of(grid=(6, 9)).requires_grad_()
    kept = before.detach().clone()
    groups = group_tokens([tokens_of(SHAPES["two"])])
    for _ in range(2):
        value = contrast(maps, groups, before, normalise=True)
        assert torch.autograd.grad(value.sum(), [maps, before], allow_unused=True)[1] is None
        assert torch.equal(before, kept)


def test_directions_have_length_one_and_nothing_has_none() -> None:
    maps = torch.stack([maps_of()[0, 3], torch.zeros(16, 16, dtype=torch.float64)])
    assert directions(maps).norm(dim=1).tolist() == pytest.approx([1, 0], abs=1e-6)


def test_one_entity_has_nothing_to_be_held_against() -> None:
    value, gradient = value_and_gradient(with_before, maps_of(), tokens_of(SHAPES["pieces"]))
    assert value.tolist() == [0]
    assert not gradient.any()


@every_loss
def test_images_stay_apart(loss: Function) -> None:
    check_batch(loss)


@every_loss
def test_order_changes_nothing(loss: Function) -> None:
    check_order(loss)


@every_loss
def test_prompts_without_its_words_have_no_loss(loss: Function) -> None:
    check_nothing(loss, "noun", "modified", "pieces")


@every_loss
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64], ids=["half", "single", "double"])
def test_extreme_maps_have_finite_gradients(loss: Function, dtype: torch.dtype) -> None:
    check_extremes(loss, dtype)


@every_loss
def test_half_precision_is_near(loss: Function) -> None:
    check_half(loss)


@every_loss
def test_the_loss_falls_along_its_negative_gradient(loss: Function) -> None:
    check_descent(loss, SEVERAL)
