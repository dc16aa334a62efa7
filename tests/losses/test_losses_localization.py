"""Entity localization and anchoring against a slow transcription, and the regions it finds."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from helpers.loss_cases import LENGTH, SHAPES, Shape, assert_same, every_grid, every_shape, maps_of, tokens_of
from helpers.slow_maps import peaked_maps, slow_ahead, slow_component, slow_peak, slow_smooth
from unbleed.losses.base import FunctionLoss
from unbleed.losses.components import component, side_by_side
from unbleed.losses.groups import group_tokens
from unbleed.losses.localization import anchoring, differentiate, regions
from unbleed.prompt import PromptTokens


def total(maps: Tensor, *tokens: PromptTokens, **settings) -> Tensor:
    return FunctionLoss(lambda m, g: sum(anchoring(m, g, **settings)))(maps, group_tokens(tokens))


def value_and_gradient(maps: Tensor, *tokens: PromptTokens, **settings) -> tuple[Tensor, Tensor]:
    maps = maps.clone().requires_grad_()
    value = total(maps, *tokens, **settings)
    (gradient,) = torch.autograd.grad(value.sum(), maps)
    return value.detach(), gradient


def slow_regions(entities: list[Tensor], tau: float) -> list[Tensor]:
    found = []
    for s in range(len(entities)):
        ahead = slow_ahead(entities, s)
        region = (ahead > tau * ahead.max()).tolist()
        found.append(torch.tensor(slow_component(region, slow_peak(ahead), diagonal=True), dtype=torch.float64))
    return found


def slow_anchoring(
    maps: Tensor, tokens: PromptTokens, *, tau: float, weight: float, found: list[Tensor] | None = None
) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Return the two parts and the regions of one image with maps (token, height, width)."""
    entities = []
    for noun, _ in tokens.entities:
        word = sum(maps[t] for t in noun)
        entities.append(slow_smooth((word - word.min()) / (word.max() - word.min() + 1e-8)))
    found = found or slow_regions(entities, tau)
    inside, outside = torch.zeros((), dtype=torch.float64), torch.zeros((), dtype=torch.float64)
    for x, mask in zip(entities, found, strict=True):
        inside = inside + (1 - (x * mask).sum() / x.sum()) ** 2
        outside = outside + weight * (x * (1 - mask)).mean()
    return inside, outside, found


@every_grid
@every_shape
@pytest.mark.parametrize("tau", [0.4, 0.1])
def test_anchoring_is_its_formula(shape: Shape, grid: tuple[int, int], tau: float) -> None:
    tokens = tokens_of(shape)
    maps = peaked_maps(tokens, grid=grid).requires_grad_()
    inside, outside, found = slow_anchoring(maps[0], tokens, tau=tau, weight=0.3)
    parts = anchoring(maps, group_tokens([tokens]), tau=tau, weight_outside=0.3)
    assert_same(parts.inside, inside[None])
    assert_same(parts.outside, outside[None])
    assert inside > 0
    assert outside > 0
    for own, slow in zip(parts, (inside, outside), strict=True):
        (gradient,) = torch.autograd.grad(own.sum(), maps, retain_graph=True)
        (expected,) = torch.autograd.grad(slow, maps, retain_graph=True)
        assert expected.any()
        assert_same(gradient, expected)
    assert torch.equal(regions(maps, group_tokens([tokens]), tau=tau), torch.stack(found) > 0)


@every_shape
def test_regions_do_not_overlap_and_hold_a_place(shape: Shape) -> None:
    tokens = tokens_of(shape)
    masks = regions(peaked_maps(tokens, grid=(12, 20)), group_tokens([tokens]), tau=0.05)
    assert masks.dtype == torch.bool
    assert masks.sum(dim=0).max() == 1
    assert masks.any(dim=-1).any(dim=-1).all()


def test_a_region_is_the_part_with_the_highest_place() -> None:
    tokens = tokens_of(SHAPES["noun"])
    (noun,) = tokens.entities[0][0]
    maps = torch.zeros(1, LENGTH, 8, 13, dtype=torch.float64)
    maps[0, noun, 1:4, 1:4] = 0.5
    maps[0, noun, 5:8, 7:12] = 0.6  # the higher one
    expected = torch.zeros(1, 8, 13, dtype=torch.bool)
    expected[0, 5:8, 7:12] = True
    assert torch.equal(regions(maps, group_tokens([tokens]), sigma=0), expected)


def test_known_values() -> None:
    tokens = tokens_of(SHAPES["two"])
    ((first,), _), ((second,), _) = tokens.entities
    maps = torch.zeros(1, LENGTH, 4, 8, dtype=torch.float64)
    maps[0, first, :, :2] = 0.2
    maps[0, second, :, 6:] = 0.3
    parts = anchoring(maps, group_tokens([tokens]), sigma=0)
    assert parts.inside.tolist() == pytest.approx([0], abs=1e-6)  # each entity has all of itself in its region
    assert parts.outside.tolist() == pytest.approx([0], abs=1e-6)
    maps[0, first, 0, 7] = 0.1  # half a cell, after eight, in the other's place
    parts = anchoring(maps, group_tokens([tokens]), sigma=0, weight_outside=2)
    assert parts.inside.tolist() == pytest.approx([(0.5 / 8.5) ** 2], abs=1e-6)
    assert parts.outside.tolist() == pytest.approx([2 * 0.5 / 32], abs=1e-6)


def test_identical_entities_have_no_region_and_the_worst_share() -> None:
    tokens = tokens_of(SHAPES["two"])
    ((first,), _), ((second,), _) = tokens.entities
    maps = peaked_maps(tokens, grid=(9, 14))
    maps[0, second] = maps[0, first]
    assert not regions(maps, group_tokens([tokens])).any()
    assert anchoring(maps, group_tokens([tokens])).inside.tolist() == [2]
    value, gradient = value_and_gradient(maps, tokens)
    assert value > 2
    assert gradient.isfinite().all()
    assert gradient.any()  # the part outside still sharpens both


def test_locked_masks_are_used_as_they_are() -> None:
    tokens = [tokens_of(SHAPES["two"]), tokens_of(SHAPES["three"])]
    groups = group_tokens(tokens)
    before, after = peaked_maps(*tokens, grid=(9, 14)), peaked_maps(*tokens, grid=(9, 14), seed=1)
    own = anchoring(after, groups, regions(after, groups))
    for part, again in zip(own, anchoring(after, groups), strict=True):
        assert torch.equal(part, again)
    masks = regions(before, groups)
    locked = anchoring(after, groups, masks)
    for image, one in enumerate(tokens):
        mine = masks[groups.entity_image == image].double()
        inside, outside, _ = slow_anchoring(after[image], one, tau=0.4, weight=1.0, found=list(mine))
        assert_same(locked.inside[image], inside)
        assert_same(locked.outside[image], outside)
    assert not torch.equal(locked.inside, own.inside)


def test_an_entity_ahead_is_ahead_of_the_best_other() -> None:
    groups = group_tokens([tokens_of(SHAPES["three"]), tokens_of(SHAPES["noun"]), tokens_of(()), tokens_of(SHAPES["four"])])
    entities = torch.rand(8, 5, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    ahead = differentiate(entities, groups)
    assert torch.equal(ahead[3], entities[3])  # alone in its image
    for members in ([0, 1, 2], [4, 5, 6, 7]):
        for s, entity in enumerate(members):
            assert_same(ahead[entity], slow_ahead([entities[m] for m in members], s))


def test_items_lie_side_by_side_in_any_order() -> None:
    values = torch.arange(1.0, 6.0)
    beside, slot = side_by_side(values, torch.tensor([2, 0, 2, 2, 0]), 4)
    assert beside.tolist() == [[2, 5, 0], [0, 0, 0], [1, 3, 4], [0, 0, 0]]
    assert slot.tolist() == [0, 0, 1, 2, 1]
    assert side_by_side(values[:0], torch.zeros(0, dtype=torch.long), 2)[0].shape == (2, 2)


@pytest.mark.parametrize("diagonal", [True, False])
def test_components_are_what_can_be_walked_to(diagonal: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    region = torch.rand(40, 11, 17, generator=generator) < torch.linspace(0.2, 0.8, 40)[:, None, None]
    seed = torch.randint(11 * 17, (40,), generator=generator)
    found = component(region, seed, diagonal=diagonal)
    for one, place, actual in zip(region.tolist(), seed.tolist(), found.tolist(), strict=True):
        assert actual == slow_component(one, divmod(place, 17), diagonal=diagonal)


def test_a_component_may_wind() -> None:
    comb = torch.zeros(1, 15, 15, dtype=torch.bool)
    comb[0, ::2] = True
    comb[0, 1::4, -1] = comb[0, 3::4, 0] = True
    for place in (0, 14, 224):
        assert torch.equal(component(comb, torch.tensor([place]), diagonal=False), comb)
    assert not component(comb, torch.tensor([15]), diagonal=True).any()  # beside the region


def test_a_batch_is_its_images_one_by_one() -> None:
    prompts = [tokens_of(SHAPES["four"]), tokens_of(()), tokens_of(SHAPES["noun"]), tokens_of(SHAPES["two-uneven"])]
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
    turned = replace(tokens, entities=(*tokens.entities[1:], tokens.entities[0]))
    again, slope = value_and_gradient(maps, turned)
    assert_same(again, value)
    assert_same(slope, gradient)


@every_shape
def test_the_loss_falls_along_its_negative_gradient(shape: Shape) -> None:
    tokens = tokens_of(shape)
    maps = peaked_maps(tokens, grid=(9, 14))
    value, gradient = value_and_gradient(maps, tokens)
    after = total(maps - 1e-5 * gradient / gradient.abs().max(), tokens)
    assert after < value


def single_hot(dtype: torch.dtype) -> Tensor:
    maps = torch.zeros(2, LENGTH, 16, 16, dtype=dtype)
    maps[:, :, 5, 7] = 1 / LENGTH
    return maps


EXTREMES = {
    "zero": lambda dtype: torch.zeros(2, LENGTH, 16, 16, dtype=dtype),
    "even": lambda dtype: torch.full((2, LENGTH, 16, 16), 1 / LENGTH, dtype=dtype),
    "identical": lambda dtype: maps_of(images=2)[:, :1].expand(-1, LENGTH, -1, -1).to(dtype),
    "single": single_hot,
    "random": lambda dtype: maps_of(images=2, dtype=dtype),
}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("make", EXTREMES.values(), ids=EXTREMES)
def test_extreme_maps_have_finite_values_and_gradients(make, dtype: torch.dtype) -> None:
    maps = make(dtype)
    value, gradient = value_and_gradient(maps, tokens_of(SHAPES["four"]), tokens_of(SHAPES["noun"]))
    assert value.dtype == gradient.dtype == dtype
    assert value.isfinite().all()
    assert gradient.isfinite().all()
    if not maps[0].any() or maps[0].amin() == maps[0].amax():
        assert value.tolist() == [4, 1]  # nothing is anywhere
        assert not gradient.any()
