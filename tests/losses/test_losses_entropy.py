"""The entropy terms against a slow transcription of their formula: loops over entities, words and pieces."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from helpers.loss_cases import SHAPES, Shape, even, every_grid, every_shape, identical, maps_of, one_hot_pixel, tokens_of, zero
from unbleed.losses.base import FunctionLoss
from unbleed.losses.entropy import entropy_terms
from unbleed.losses.groups import group_tokens
from unbleed.prompt import PromptTokens

TERMS = ["pair", "outside"]

every_sign = pytest.mark.parametrize("sign", ["intent", "formula"])
every_term = pytest.mark.parametrize("term", [0, 1], ids=TERMS)
bound_or_all = pytest.mark.parametrize("include_entities", [False, True], ids=["bound", "all"])


def value_and_gradient(term: int, maps: Tensor, *tokens: PromptTokens, **settings: Any) -> tuple[Tensor, Tensor]:
    maps = maps.clone().requires_grad_()
    value = FunctionLoss(lambda m, g: entropy_terms(m, g, **settings)[term])(maps, group_tokens(tokens))
    (gradient,) = torch.autograd.grad(value.sum(), maps)
    return value.detach(), gradient


def slow(
    term: int,
    maps: Tensor,
    tokens: PromptTokens,
    *,
    weight_pair: float = 0.05,
    weight_outside: float = 0.05,
    sign: str = "intent",
    include_entities: bool = False,
    normalised: bool = False,
    floor: float = 1e-8,
) -> Tensor:
    """One of the two terms of one image, for maps (token, height, width)."""

    def entropy(token: int) -> Tensor:
        p = (maps[token] + floor) / (maps[token] + floor).sum()
        return -(p * p.log()).sum() / (math.log(p.numel()) if normalised else 1)

    def of_word(pieces: tuple[int, ...]) -> Tensor:
        return sum((entropy(piece) for piece in pieces), torch.zeros((), dtype=torch.float64)) / len(pieces)

    pair, outside = 0 * maps.sum(), 0 * maps.sum()
    for noun, modifiers in tokens.entities:
        own = {*noun, *(piece for word in modifiers for piece in word)}
        others = [token for token in range(1, tokens.end) if token not in own]
        for word in modifiers:
            pair = pair + weight_pair * (of_word(word) + of_word(noun))
        for _ in modifiers or ([noun] if include_entities else []):
            for other in others:
                bracket = -weight_outside * entropy(other) if sign == "formula" else weight_outside * entropy(other)
                outside = outside - bracket / 2 / len(others)
    return (pair, outside)[term]


def assert_is_its_formula(term: int, maps: Tensor, tokens: PromptTokens, **settings: Any) -> None:
    source = maps.clone().requires_grad_()
    expected = slow(term, source[0], tokens, **settings)
    (slope,) = torch.autograd.grad(expected, source)
    value, gradient = value_and_gradient(term, maps, tokens, **settings)
    torch.testing.assert_close(value, expected.detach()[None], atol=1e-9, rtol=1e-9)
    torch.testing.assert_close(gradient, slope, atol=1e-9, rtol=1e-9)


@every_grid
@every_shape
@every_sign
@bound_or_all
@every_term
def test_the_terms_are_their_formula(term: int, shape: Shape, grid: tuple[int, int], sign: str, include_entities: bool) -> None:
    assert_is_its_formula(term, maps_of(grid=grid), tokens_of(shape), sign=sign, include_entities=include_entities)


@every_term
def test_the_settings_are_those_of_the_formula(term: int) -> None:
    settings = {"weight_pair": 0.3, "weight_outside": 0.7, "normalised": True, "floor": 1e-3}
    assert_is_its_formula(term, maps_of(grid=(6, 9)), tokens_of(SHAPES["four"]), **settings)


def test_an_entity_that_is_the_whole_prompt_has_no_outside_term() -> None:
    tokens = replace(tokens_of(()), entities=(((2,), ((1,),)),), own=(1, 2), end=3)
    value, gradient = value_and_gradient(1, maps_of(grid=(6, 9)), tokens)
    assert value.tolist() == [0]
    assert not gradient.any()
    assert_is_its_formula(0, maps_of(grid=(6, 9)), tokens)


def test_even_maps_have_the_logarithm_of_their_places() -> None:
    # two entities with one modifier each: two pairs of two words, and twice a half of the outside
    maps, groups = torch.full((1, 32, 6, 9), 1 / 32, dtype=torch.float64), group_tokens([tokens_of(SHAPES["two"])])
    pair, outside = entropy_terms(maps, groups, weight_pair=0.5, weight_outside=0.25)
    assert pair.item() == pytest.approx(0.5 * 4 * math.log(54))
    assert outside.item() == pytest.approx(-0.25 * math.log(54))
    pair, outside = entropy_terms(maps, groups, weight_pair=0.5, weight_outside=0.25, sign="formula", normalised=True)
    assert (pair.item(), outside.item()) == pytest.approx((2, 0.25))


def test_maps_of_a_single_place_have_no_entropy() -> None:
    maps = torch.zeros(1, 32, 6, 9, dtype=torch.float64)
    maps[:, :, 3, 7] = 0.5
    for value in entropy_terms(maps, group_tokens([tokens_of(SHAPES["four"])])):
        assert value.item() == pytest.approx(0, abs=1e-4)


def test_a_grid_of_one_place_can_be_normalised() -> None:
    maps = torch.full((1, 32, 1, 1), 1 / 32, dtype=torch.float64)
    pair, outside = entropy_terms(maps, group_tokens([tokens_of(SHAPES["two"])]), normalised=True)
    assert (pair.item(), outside.item()) == (0, 0)


@bound_or_all
@every_term
def test_a_batch_is_its_images_one_by_one(term: int, include_entities: bool) -> None:
    prompts = [tokens_of(SHAPES[name]) for name in ("four", "noun", "pieces", "two-uneven")]
    maps = maps_of(images=4, grid=(6, 9))
    value, gradient = value_and_gradient(term, maps, *prompts, include_entities=include_entities)
    for image, tokens in enumerate(prompts):
        alone, slope = value_and_gradient(term, maps[image : image + 1], tokens, include_entities=include_entities)
        torch.testing.assert_close(value[image], alone[0])
        torch.testing.assert_close(gradient[image], slope[0])
    groups = group_tokens(prompts).select([3, 0])
    chosen = entropy_terms(maps[[3, 0]], groups, include_entities=include_entities)[term]
    torch.testing.assert_close(chosen, value[[3, 0]])


@every_term
def test_the_order_of_entities_and_modifiers_changes_nothing(term: int) -> None:
    tokens, maps = tokens_of(SHAPES["four"]), maps_of(grid=(6, 9))
    value, gradient = value_and_gradient(term, maps, tokens)
    for shift in range(1, 4):
        turned = (*tokens.entities[shift:], *tokens.entities[:shift])
        turned = tuple((noun, modifiers[::-1]) for noun, modifiers in turned)
        again, slope = value_and_gradient(term, maps, replace(tokens, entities=turned))
        torch.testing.assert_close(again, value)
        torch.testing.assert_close(slope, gradient)


@every_shape
@every_sign
@every_term
def test_the_terms_fall_along_their_negative_gradient(term: int, sign: str, shape: Shape) -> None:
    tokens, maps = tokens_of(shape), maps_of(images=2, seed=2)
    value, gradient = value_and_gradient(term, maps, tokens, tokens, sign=sign)
    step = 1e-2 * maps.min() / gradient.abs().amax().clamp(min=1e-12)
    after = entropy_terms(maps - step * gradient, group_tokens([tokens, tokens]), sign=sign)[term]  # type: ignore[arg-type]
    if any(modifiers for _, modifiers in shape):
        assert (after < value).all()
    else:
        assert value.tolist() == [0, 0]
        assert not gradient.any()


def zero_beside_others(maps: Tensor) -> Tensor:
    mixed = maps.clone()
    mixed[:, ::2] = 0
    return mixed


def barely_anything(maps: Tensor) -> Tensor:
    little = torch.zeros_like(maps)
    little[:, :, 0, 0] = 6e-8  # the smallest number of float16
    return little


EXTREMES = [zero, even, identical, one_hot_pixel, zero_beside_others, barely_anything]


@every_term
@pytest.mark.parametrize("make", EXTREMES, ids=lambda make: make.__name__)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
def test_extreme_maps_have_finite_gradients(term: int, make: Callable[[Tensor], Tensor], dtype: torch.dtype) -> None:
    prompts = tokens_of(SHAPES["four"]), tokens_of(SHAPES["two"])
    value, gradient = value_and_gradient(term, make(maps_of(images=2)).to(dtype), *prompts, weight_pair=1, weight_outside=1)
    assert value.dtype == gradient.dtype == dtype
    assert value.isfinite().all()
    assert gradient.isfinite().all()


@every_term
def test_float16_maps_are_computed_in_single_precision(term: int) -> None:
    tokens, maps = tokens_of(SHAPES["four"]), maps_of().half()
    value, gradient = value_and_gradient(term, maps, tokens)
    expected, slope = value_and_gradient(term, maps.float(), tokens)
    assert torch.equal(value, expected.half())
    torch.testing.assert_close(gradient, slope.half(), atol=1e-6, rtol=1e-3)


@every_term
def test_an_image_without_pairs_has_no_loss_and_no_gradient(term: int) -> None:
    for nothing in (tokens_of(()), tokens_of(SHAPES["noun"])):
        value, gradient = value_and_gradient(term, maps_of(images=2), nothing, tokens_of(SHAPES["two"]))
        assert value[0] == 0
        assert value[1] != 0
        assert not gradient[0].any()
        assert gradient[1].any()


def test_an_entity_without_modifiers_has_the_outside_term_on_request() -> None:
    maps, groups = maps_of(), group_tokens([tokens_of(SHAPES["noun"])])
    pair, outside = entropy_terms(maps, groups, include_entities=True)
    assert pair.item() == 0
    assert outside.item() < 0
