"""A-STAR's losses against slow transcriptions of their formulas: loops over entities, pairs and pieces."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations

import pytest
import torch
from torch import Tensor

from helpers.loss_cases import SHAPES, Shape, even, every_grid, every_shape, identical, maps_of, one_hot_pixel, tokens_of, zero
from unbleed.losses import RetentionLoss, SegregationLoss
from unbleed.losses.groups import TokenGroups, group_tokens
from unbleed.losses.segregation import retention, segregation
from unbleed.prompt import PromptTokens

every_padding = pytest.mark.parametrize("padded_with_end", [True, False], ids=["sd1", "sd2"])
every_loss = pytest.mark.parametrize("name", ["segregation", "retention"])


def evaluate(name: str, maps: Tensor, groups: TokenGroups, before: Tensor, **settings: float) -> Tensor:
    loss = SegregationLoss(**settings) if name == "segregation" else RetentionLoss(**settings)
    return loss(maps, groups, previous_maps=before)


def value_and_gradient(
    name: str, maps: Tensor, before: Tensor, *tokens: PromptTokens, **settings: float
) -> tuple[Tensor, Tensor]:
    maps = maps.clone().requires_grad_()
    value = evaluate(name, maps, group_tokens(tokens), before, **settings)
    (gradient,) = torch.autograd.grad(value.sum(), maps)
    return value.detach(), gradient


def slow_concepts(maps: Tensor, tokens: PromptTokens, temperature: float = 100.0, sigma: float = 0.5) -> list[Tensor]:
    """The renormalised and smoothed map of each noun, for maps (token, height, width)."""
    _, height, width = maps.shape
    kept = range(1, len(maps) - 1) if tokens.padded_with_end else range(1, tokens.end)
    powers = {token: (temperature * maps[token]).exp() for token in kept}
    total = sum(powers.values(), torch.zeros(height, width, dtype=torch.float64))
    taps = [math.exp(-((offset / (2 * sigma)) ** 2)) for offset in (-1, 0, 1)]
    taps = [tap / sum(taps) for tap in taps]

    def mirrored(size: int, shift: int) -> list[int]:
        places = [abs(place + shift) for place in range(size)]
        return [2 * (size - 1) - place if place >= size else place for place in places]

    concepts = []
    for pieces, _ in tokens.entities:
        noun = torch.zeros(height, width, dtype=torch.float64)
        for piece in pieces:
            noun = noun + powers[piece] / total
        smoothed = torch.zeros(height, width, dtype=torch.float64)
        for dy in (-1, 0, 1):
            for dx in (-1, 0, 1):
                moved = noun[mirrored(height, dy)][:, mirrored(width, dx)]
                smoothed = smoothed + taps[dy + 1] * taps[dx + 1] * moved
        concepts.append(smoothed)
    return concepts


def slow(name: str, maps: Tensor, before: Tensor, tokens: PromptTokens, threshold: float = 0.5, **settings: float) -> Tensor:
    concepts = slow_concepts(maps, tokens, **settings)
    value = 0 * maps.sum()
    if name == "segregation":
        for a, b in combinations(concepts, 2):
            value = value + torch.minimum(a, b).sum() / (a + b).sum()
        return value
    for concept, then in zip(concepts, slow_concepts(before, tokens, **settings), strict=True):
        low, high = then.min(), then.max()
        region = ((then - low) / (high - low) >= threshold).double()
        value = value + 1 - torch.minimum(concept, region).sum() / (concept + region).sum()
    return value


def assert_is_its_formula(name: str, grid: tuple[int, int], tokens: PromptTokens, **settings: float) -> None:
    maps, before = maps_of(grid=grid), maps_of(grid=grid, seed=1)
    source = maps.clone().requires_grad_()
    expected = slow(name, source[0], before[0], tokens, **settings)
    (slope,) = torch.autograd.grad(expected, source)
    value, gradient = value_and_gradient(name, maps, before, tokens, **settings)
    torch.testing.assert_close(value, expected.detach()[None], atol=1e-9, rtol=1e-9)
    torch.testing.assert_close(gradient, slope, atol=1e-9, rtol=1e-9)


@every_grid
@every_shape
@every_padding
@every_loss
def test_the_loss_is_its_formula(name: str, shape: Shape, grid: tuple[int, int], padded_with_end: bool) -> None:
    assert_is_its_formula(name, grid, tokens_of(shape, padded_with_end=padded_with_end))


@every_loss
def test_the_settings_are_those_of_the_formula(name: str) -> None:
    assert_is_its_formula(name, (6, 9), tokens_of(SHAPES["four"]), temperature=30.0, sigma=1.0)


@pytest.mark.parametrize("threshold", [0.1, 0.8])
def test_the_threshold_is_a_share_of_the_stretched_map(threshold: float) -> None:
    assert_is_its_formula("retention", (6, 9), tokens_of(SHAPES["four"]), threshold=threshold)


@every_loss
@pytest.mark.parametrize("kept", ["padding", "words"])
def test_kept_overrules_the_padding(name: str, kept: str) -> None:
    maps, before = maps_of(grid=(6, 9)), maps_of(grid=(6, 9), seed=1)
    for padded_with_end in (True, False):
        tokens = tokens_of(SHAPES["three"], padded_with_end=padded_with_end)
        value, _ = value_and_gradient(name, maps, before, tokens, kept=kept)  # type: ignore[arg-type]
        expected = slow(name, maps[0], before[0], replace(tokens, padded_with_end=kept == "padding"))
        torch.testing.assert_close(value, expected[None])


def split(*halves: str) -> tuple[Tensor, PromptTokens]:
    """Maps where each noun has all the attention of one half of the picture, or of both; the word "a" has the rest."""
    tokens = tokens_of(((1, ()),) * len(halves))
    maps = torch.zeros(1, 32, 4, 6, dtype=torch.float64)
    columns = {"left": slice(0, 3), "right": slice(3, 6), "both": slice(0, 6)}
    for ((piece,), _), half in zip(tokens.entities, halves, strict=True):
        maps[0, piece, :, columns[half]] = 1
    maps[:, 1] = maps.sum(dim=1) == 0
    return maps, tokens


@pytest.mark.parametrize(
    ("halves", "expected"),
    [
        (("left",), 0.0),
        (("left", "right"), 0.0),
        (("both", "both"), 0.5),
        (("left", "left"), 0.5),
        # in the left half each has a half, in the right one the second has all: 6 / (12 / 2 + 12 / 2 + 12)
        (("left", "both"), 0.25),
        (("left", "left", "right"), 0.5),
        (("both", "both", "both"), 1.5),
    ],
)
def test_segregation_counts_what_pairs_share(halves: tuple[str, ...], expected: float) -> None:
    maps, tokens = split(*halves)
    assert segregation(maps, group_tokens([tokens]), sigma=0).item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("halves", "then", "expected"),
    [
        (("left",), ("left",), 0.5),
        (("left",), ("right",), 1.0),
        (("left", "right"), ("left", "right"), 1.0),
        (("left", "right"), ("right", "left"), 2.0),
        (("both",), ("left",), 2 / 3),
        (("both",), ("both",), 1.0),  # an even map of then has no region to keep
    ],
)
def test_retention_counts_what_stayed(halves: tuple[str, ...], then: tuple[str, ...], expected: float) -> None:
    maps, tokens = split(*halves)
    before, _ = split(*then)
    assert retention(maps, group_tokens([tokens]), before, sigma=0).item() == pytest.approx(expected, abs=1e-6)


def test_no_gradient_reaches_the_maps_of_before() -> None:
    groups = group_tokens([tokens_of(SHAPES["four"])])
    maps, before = maps_of(grid=(6, 9)).requires_grad_(), maps_of(grid=(6, 9), seed=1).requires_grad_()
    retention(maps, groups, before).sum().backward()
    assert maps.grad is not None
    assert maps.grad.any()
    assert before.grad is None


@every_loss
def test_a_batch_is_its_images_one_by_one(name: str) -> None:
    prompts = [tokens_of(SHAPES["four"]), tokens_of(SHAPES["pieces"], padded_with_end=False), tokens_of(SHAPES["two-uneven"])]
    maps, before = maps_of(images=3, grid=(6, 9)), maps_of(images=3, grid=(6, 9), seed=1)
    value, gradient = value_and_gradient(name, maps, before, *prompts)
    for image, tokens in enumerate(prompts):
        alone, slope = value_and_gradient(name, maps[image : image + 1], before[image : image + 1], tokens)
        torch.testing.assert_close(value[image], alone[0])
        torch.testing.assert_close(gradient[image], slope[0])
    chosen = evaluate(name, maps[[2, 0]], group_tokens(prompts).select([2, 0]), before[[2, 0]])
    torch.testing.assert_close(chosen, value[[2, 0]])


@every_loss
def test_the_order_of_entities_changes_nothing(name: str) -> None:
    tokens, maps, before = tokens_of(SHAPES["four"]), maps_of(grid=(6, 9)), maps_of(grid=(6, 9), seed=1)
    value, gradient = value_and_gradient(name, maps, before, tokens)
    for shift in range(1, 4):
        turned = replace(tokens, entities=(*tokens.entities[shift:], *tokens.entities[:shift]))
        again, slope = value_and_gradient(name, maps, before, turned)
        torch.testing.assert_close(again, value)
        torch.testing.assert_close(slope, gradient)


@every_loss
@every_shape
def test_the_loss_falls_along_its_negative_gradient(name: str, shape: Shape) -> None:
    tokens, maps, before = tokens_of(shape), maps_of(images=2, seed=2), maps_of(images=2, seed=3)
    value, gradient = value_and_gradient(name, maps, before, tokens, tokens)
    step = 1e-2 * maps.min() / gradient.abs().amax().clamp(min=1e-12)
    after = evaluate(name, maps - step * gradient, group_tokens([tokens, tokens]), before)
    if name == "segregation" and len(shape) < 2:
        assert value.tolist() == [0, 0]
        assert not gradient.any()
    else:
        assert (after < value).all()


def all_on_padding(maps: Tensor) -> Tensor:
    """In single precision the nouns' probability underflows to 0 everywhere."""
    padding = torch.zeros_like(maps)
    padding[:, -2] = 2
    return padding


@every_loss
@pytest.mark.parametrize("make", [zero, even, identical, one_hot_pixel, all_on_padding], ids=lambda make: make.__name__)
@pytest.mark.parametrize("made", ["now", "before", "both"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
def test_extreme_maps_have_finite_gradients(name: str, make: Callable[[Tensor], Tensor], made: str, dtype: torch.dtype) -> None:
    maps, before = maps_of(images=2), maps_of(images=2, seed=1)
    maps, before = maps if made == "before" else make(maps), before if made == "now" else make(before)
    prompts = tokens_of(SHAPES["four"]), tokens_of(SHAPES["two"], padded_with_end=False)
    value, gradient = value_and_gradient(name, maps.to(dtype), before.to(dtype), *prompts)
    assert value.dtype == gradient.dtype == dtype
    assert value.isfinite().all()
    assert gradient.isfinite().all()


@every_loss
def test_float16_maps_are_computed_in_single_precision(name: str) -> None:
    tokens, maps, before = tokens_of(SHAPES["four"]), maps_of().half(), maps_of(seed=1).half()
    value, gradient = value_and_gradient(name, maps, before, tokens)
    expected, slope = value_and_gradient(name, maps.float(), before.float(), tokens)
    assert torch.equal(value, expected.half())
    torch.testing.assert_close(gradient, slope.half(), atol=1e-6, rtol=1e-3)


@every_loss
def test_an_image_without_entities_has_no_loss_and_no_gradient(name: str) -> None:
    maps, before = maps_of(images=2), maps_of(images=2, seed=1)
    for nothing in (tokens_of(()), tokens_of((), padded_with_end=False)):  # the latter has no piece to renormalise over
        value, gradient = value_and_gradient(name, maps, before, nothing, tokens_of(SHAPES["two"]))
        assert value[0] == 0
        assert value[1] != 0
        assert not gradient[0].any()
        assert gradient[1].any()
