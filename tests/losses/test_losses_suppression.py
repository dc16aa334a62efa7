"""Suppress-to-Impress against a slow transcription, and the focus it finds."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from helpers.loss_cases import LENGTH, SHAPES, Shape, assert_same, every_grid, every_shape, maps_of, tokens_of
from helpers.slow_maps import peaked_maps, slow_ahead, slow_response_maps
from unbleed.losses.base import FunctionLoss
from unbleed.losses.groups import group_tokens
from unbleed.losses.suppression import focus, suppression
from unbleed.prompt import PromptTokens


def total(maps: Tensor, *tokens: PromptTokens, **settings) -> Tensor:
    return FunctionLoss(lambda m, g: sum(suppression(m, g, **settings)))(maps, group_tokens(tokens))


def value_and_gradient(maps: Tensor, *tokens: PromptTokens, **settings) -> tuple[Tensor, Tensor]:
    maps = maps.clone().requires_grad_()
    value = total(maps, *tokens, **settings)
    (gradient,) = torch.autograd.grad(value.sum(), maps)
    return value.detach(), gradient


def slow_suppression(maps: Tensor, tokens: PromptTokens, *, level: float, k: int, weights: tuple[float, float, float]):
    """Return the four parts of one image with maps (token, height, width)."""
    entities = slow_response_maps(maps, tokens)
    outside = evenness = exclusivity = intensity = torch.zeros((), dtype=torch.float64)
    for s, x in enumerate(entities):
        ahead = slow_ahead(entities, s)
        inside = (x.detach() > level * x.detach().max()) & (ahead > 0)
        beyond = x[~inside]
        if len(beyond):
            outside = outside + weights[0] * beyond.sum() / len(beyond)
        held = x[inside]
        if len(held):
            mean = held.sum() / len(held)
            evenness = evenness + weights[1] * ((held - mean) ** 2).sum() / len(held) / mean**2
        else:
            held = x.flatten()
        largest = held.sort(descending=True).values[:k]
        intensity = intensity + torch.relu(1 - largest.sum() / len(largest))
        for other in entities[:s]:
            lower = torch.where(other < x, other, x)
            exclusivity = exclusivity + weights[2] * lower.sum() / (x + other).sum()
    return outside, evenness, exclusivity, intensity


@every_grid
@every_shape
@pytest.mark.parametrize(("padded_with_end", "level", "k"), [(True, 0.5, 8), (False, 0.2, 30)], ids=["sd1", "sd2"])
def test_suppression_is_its_formula(shape: Shape, grid: tuple[int, int], padded_with_end: bool, level: float, k: int) -> None:
    tokens = tokens_of(shape, padded_with_end=padded_with_end)
    maps = peaked_maps(tokens, grid=grid).requires_grad_()
    expected = slow_suppression(maps[0], tokens, level=level, k=k, weights=(0.7, 1.3, 0.4))
    parts = suppression(
        maps, group_tokens([tokens]), level=level, k=k, weight_outside=0.7, weight_evenness=1.3, weight_exclusivity=0.4
    )
    for name, own, slow in zip(parts._fields, parts, expected, strict=True):
        assert_same(own, slow[None])
        if name == "exclusivity" and len(tokens.entities) < 2:
            assert slow == 0
            continue
        if not padded_with_end and len(tokens.entities) == 1 and slow == 0:
            continue  # few pieces are left to the softmax: the noun can have all places in focus
        assert slow > 0, name
        (gradient,) = torch.autograd.grad(own.sum(), maps, retain_graph=True)
        (slope,) = torch.autograd.grad(slow, maps, retain_graph=True)
        assert slope.any(), name
        assert_same(gradient, slope)


def test_an_entity_without_focus_is_raised_where_it_is_highest() -> None:
    tokens = tokens_of(SHAPES["two"])
    ((first,), _), ((second,), _) = tokens.entities
    maps = peaked_maps(tokens, grid=(9, 14))
    maps[0, first] = maps[0, second] - 0.01  # behind everywhere
    maps.requires_grad_()
    parts = suppression(maps, group_tokens([tokens]))
    expected = slow_suppression(maps[0], tokens, level=0.5, k=8, weights=(1, 1, 1))
    for own, slow in zip(parts, expected, strict=True):
        assert_same(own, slow[None])
    (gradient,) = torch.autograd.grad(parts.intensity.sum(), maps)
    assert (gradient[0, first] < 0).any()


@every_shape
def test_no_two_focuses_overlap(shape: Shape) -> None:
    tokens = tokens_of(shape)
    entities = torch.stack(slow_response_maps(peaked_maps(tokens, grid=(9, 14))[0], tokens))
    inside = focus(entities, group_tokens([tokens]), level=0.05)
    assert inside.dtype == torch.bool
    assert inside.sum(dim=0).max() == 1
    assert inside.any(dim=-1).any(dim=-1).all()


def of_two(one: Tensor, other: Tensor) -> tuple[Tensor, PromptTokens]:
    """Maps of two nouns, of which the softmax makes 1 where a map is 1, and 0 where it is 0, with the start token left."""
    tokens = tokens_of(((1, ()), (1, ())))
    ((first,), _), ((second,), _) = tokens.entities
    maps = torch.zeros(1, LENGTH, *one.shape, dtype=torch.float64)
    maps[0, first], maps[0, second] = one, other
    maps[0, 1] = 0.5  # takes the places that neither has
    return maps, tokens


def test_known_values() -> None:
    left, right = torch.zeros(4, 8, dtype=torch.float64), torch.zeros(4, 8, dtype=torch.float64)
    left[:, :3] = 1
    right[:, 5:] = 1
    maps, tokens = of_two(left, right)
    apart = suppression(maps, group_tokens([tokens]), sigma=0)
    for part in apart:
        assert part.tolist() == pytest.approx([0], abs=1e-9)
    maps, tokens = of_two(left, left)
    same = suppression(maps, group_tokens([tokens]), sigma=0)
    assert same.exclusivity.tolist() == pytest.approx([0.5])
    assert same.intensity.tolist() == pytest.approx([1])  # a half is left for each
    assert same.evenness.tolist() == [0]  # nobody has a focus
    assert same.outside.tolist() == pytest.approx([2 * 0.5 * 12 / 32])


def test_the_parts_add_up_to_their_weights() -> None:
    tokens = tokens_of(SHAPES["four"])
    maps, groups = peaked_maps(tokens, grid=(9, 14)), group_tokens([tokens])
    one = suppression(maps, groups)
    two = suppression(maps, groups, weight_outside=2, weight_evenness=3, weight_exclusivity=4)
    for part, again, weight in zip(one, two, (2, 3, 4, 1), strict=True):
        assert_same(again, weight * part)


def test_a_batch_is_its_images_one_by_one() -> None:
    prompts = [
        tokens_of(SHAPES["four"]),
        tokens_of((), padded_with_end=False),  # has no piece to renormalise over
        tokens_of(SHAPES["noun"], padded_with_end=False),
        tokens_of(SHAPES["two-uneven"]),
    ]
    maps = peaked_maps(*prompts, grid=(9, 14))
    value, gradient = value_and_gradient(maps, *prompts)
    for image, tokens in enumerate(prompts):
        alone, slope = value_and_gradient(maps[image : image + 1], tokens)
        assert_same(value[image], alone[0])
        assert_same(gradient[image], slope[0])
    assert value[1] == 0
    assert not gradient[1].any()


def test_the_order_of_entities_changes_nothing() -> None:
    tokens = tokens_of(SHAPES["four"])
    maps = peaked_maps(tokens, grid=(9, 14))
    value, gradient = value_and_gradient(maps, tokens)
    again, slope = value_and_gradient(maps, replace(tokens, entities=(*tokens.entities[1:], tokens.entities[0])))
    assert_same(again, value)
    assert_same(slope, gradient)


@every_shape
def test_the_loss_falls_along_its_negative_gradient(shape: Shape) -> None:
    tokens = tokens_of(shape)
    maps = peaked_maps(tokens, grid=(9, 14))
    value, gradient = value_and_gradient(maps, tokens)
    assert total(maps - 1e-6 * gradient / gradient.abs().max(), tokens) < value


def single_hot(dtype: torch.dtype) -> Tensor:
    maps = torch.zeros(2, LENGTH, 16, 16, dtype=dtype)
    maps[:, 1:, 5, 7] = 1 / LENGTH
    return maps


def buried(dtype: torch.dtype) -> Tensor:
    """All attention on a token that is no entity: the softmax underflows in single precision."""
    maps = torch.zeros(2, LENGTH, 16, 16, dtype=dtype)
    maps[:, 1] = 2
    return maps


EXTREMES = {
    "zero": lambda dtype: torch.zeros(2, LENGTH, 16, 16, dtype=dtype),
    "even": lambda dtype: torch.full((2, LENGTH, 16, 16), 1 / LENGTH, dtype=dtype),
    "identical": lambda dtype: maps_of(images=2)[:, :1].expand(-1, LENGTH, -1, -1).to(dtype),
    "single": single_hot,
    "buried": buried,
    "random": lambda dtype: maps_of(images=2, dtype=dtype),
}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("make", EXTREMES.values(), ids=EXTREMES)
def test_extreme_maps_have_finite_values_and_gradients(make, dtype: torch.dtype) -> None:
    value, gradient = value_and_gradient(make(dtype), tokens_of(SHAPES["four"]), tokens_of(SHAPES["noun"]))
    assert value.dtype == gradient.dtype == dtype
    assert value.isfinite().all()
    assert gradient.isfinite().all()
    assert (value > 0).all()  # intensity is wanting in all of them
