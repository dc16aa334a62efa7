"""The losses against slow transcriptions of their formulas: plain floats, loops, gradients worked out by hand."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from helpers.loss_cases import LENGTH, SHAPES, Maps, Shape, every_grid, every_shape, maps_of, tokens_of
from unbleed.losses import AttentionMaps, BindingLoss, ExciteLoss, Loss, TokenGroups
from unbleed.losses.groups import group_tokens
from unbleed.losses.maps import smooth, smoothing_taps
from unbleed.prompt import PromptTokens

LOSSES: list[Loss] = [ExciteLoss(), BindingLoss(), BindingLoss(include_entities=True), ExciteLoss() + 0.5 * BindingLoss()]

every_loss = pytest.mark.parametrize("loss", LOSSES, ids=["excite", "binding", "binding-all", "sum"])


def value_and_gradient(loss: Loss, maps: Tensor, *tokens: PromptTokens) -> tuple[Tensor, Tensor]:
    maps = maps.clone().requires_grad_()
    value = loss(maps, group_tokens(tokens))
    (gradient,) = torch.autograd.grad(value.sum(), maps)
    return value.detach(), gradient


def zeros(maps: Maps) -> Maps:
    return [[[0.0] * len(row) for row in rows] for rows in maps]


def slow_excite(maps: Maps, tokens: PromptTokens, *, words_only: bool, last_piece: bool = False) -> tuple[float, Maps]:
    """Return the loss of Attend-and-Excite and its gradient."""
    height, width = len(maps[0]), len(maps[0][0])
    kept = range(1, tokens.end) if words_only else range(1, len(maps) - 1)
    z = zeros(maps)
    for y in range(height):
        for x in range(width):
            powers = {t: math.exp(100 * maps[t][y][x]) for t in kept}
            for t in kept:
                z[t][y][x] = powers[t] / sum(powers.values())

    taps = [math.exp(-((offset / (2 * 0.5)) ** 2)) for offset in (-1, 0, 1)]
    taps = [tap / sum(taps) for tap in taps]

    def around(y: int, x: int) -> list[tuple[float, int, int]]:
        """The weights and places of the kernel at (y, x); beyond an edge it reads what is as far inside."""
        seen = []
        for dy in (-1, 0, 1):
            for dx in (-1, 0, 1):
                row, column = abs(y + dy), abs(x + dx)
                row = 2 * (height - 1) - row if row >= height else row
                column = 2 * (width - 1) - column if column >= width else column
                seen.append((taps[dy + 1] * taps[dx + 1], row, column))
        return seen

    worst, where, whose = 0.0, (0, 0), ()
    for noun, _ in tokens.entities:
        pieces = noun[-1:] if last_piece else noun
        peak, place = -math.inf, (0, 0)
        for y in range(height):
            for x in range(width):
                smoothed = sum(w * z[t][row][column] for t in pieces for w, row, column in around(y, x))
                if smoothed > peak:
                    peak, place = smoothed, (y, x)
        if max(0.0, 1 - peak) > worst:
            worst, where, whose = max(0.0, 1 - peak), place, pieces

    gradient = zeros(maps)
    if whose:
        for w, row, column in around(*where):
            word = sum(z[t][row][column] for t in whose)
            for t in kept:
                gradient[t][row][column] -= w * 100 * z[t][row][column] * ((t in whose) - word)
    return worst, gradient


def slow_binding(
    maps: Maps, tokens: PromptTokens, *, include_entities: bool, floor: float = 1e-8
) -> tuple[float, float, list[list[float]]]:
    """Return SynGen's L_pos and L_neg, and the gradient of their sum, [token][place]."""
    flat = [[value + floor for row in rows for value in row] for rows in maps]
    total = [sum(values) for values in flat]
    p = [[value / total[t] for value in values] for t, values in enumerate(flat)]
    log_p = [[math.log(value) for value in values] for values in p]
    known: dict[tuple[int, int], float] = {}

    def dist(m: int, n: int) -> float:
        if (m, n) not in known:
            there = sum(a * (la - lb) for a, la, lb in zip(p[m], log_p[m], log_p[n], strict=True))
            back = sum(b * (lb - la) for b, la, lb in zip(p[n], log_p[m], log_p[n], strict=True))
            known[m, n] = known[n, m] = there / 2 + back / 2
        return known[m, n]

    # once it is known which pieces are the furthest ones, the loss is a weighted sum of distances
    positive: dict[tuple[int, int], float] = defaultdict(float)
    negative: dict[tuple[int, int], float] = defaultdict(float)
    for noun, modifiers in tokens.entities:
        own = {*noun, *(t for word in modifiers for t in word)}
        # nouns that share a modifier are not outside one another
        for other, its in tokens.entities:
            whole = {*other, *(t for word in its for t in word)}
            own |= whole if whole & {*noun, *(t for word in modifiers for t in word)} else set()
        outside = [t for t in range(1, tokens.end) if t not in own]
        for word in modifiers:
            positive[max(((m, n) for m in word for n in noun), key=lambda pair: dist(*pair))] += 1
        firsts = modifiers or ((noun,) if include_entities else ())
        for first in firsts:
            for u in outside:
                for word in (first, noun):
                    furthest = max(word, key=lambda t: dist(t, u))
                    negative[furthest, u] -= 1 / 2 / len(outside)

    gradient = [[0.0] * len(values) for values in p]
    for weights in (positive, negative):
        for (m, n), weight in weights.items():
            for a, b in ((m, n), (n, m)):
                slope = [
                    (la - lb + 1 - q / own) / 2 for own, q, la, lb in zip(p[a], p[b], log_p[a], log_p[b], strict=True)
                ]  # of dist with respect to p[a]
                mean = sum(s * own for s, own in zip(slope, p[a], strict=True))
                for place, s in enumerate(slope):
                    gradient[a][place] += weight * (s - mean) / total[a]
    return (
        sum(weight * dist(m, n) for (m, n), weight in positive.items()),
        sum(weight * dist(m, n) for (m, n), weight in negative.items()),
        gradient,
    )


def assert_same(actual: Tensor, expected: object) -> None:
    torch.testing.assert_close(actual, torch.as_tensor(expected, dtype=torch.float64), atol=1e-9, rtol=1e-9)


@every_grid
@every_shape
@pytest.mark.parametrize("padded_with_end", [True, False], ids=["sd1", "sd2"])
def test_excite_is_its_formula(shape: Shape, grid: tuple[int, int], padded_with_end: bool) -> None:
    maps, tokens = maps_of(grid=grid), tokens_of(shape, padded_with_end=padded_with_end)
    expected, slope = slow_excite(maps[0].tolist(), tokens, words_only=not padded_with_end)
    value, gradient = value_and_gradient(ExciteLoss(), maps, tokens)
    assert 0 < expected < 1
    assert_same(value, [expected])
    assert_same(gradient, [slope])


@pytest.mark.parametrize("padded_with_end", [True, False], ids=["sd1", "sd2"])
@pytest.mark.parametrize("kept", ["padding", "words"])
def test_kept_overrules_the_padding(kept: str, padded_with_end: bool) -> None:
    maps, tokens = maps_of(grid=(6, 9)), tokens_of(SHAPES["three"], padded_with_end=padded_with_end)
    expected, slope = slow_excite(maps[0].tolist(), tokens, words_only=kept == "words")
    value, gradient = value_and_gradient(ExciteLoss(kept=kept), maps, tokens)
    assert_same(value, [expected])
    assert_same(gradient, [slope])


@every_shape
def test_the_last_piece_can_count_alone(shape: Shape) -> None:
    maps, tokens = maps_of(grid=(6, 9), seed=1), tokens_of(shape)
    expected, slope = slow_excite(maps[0].tolist(), tokens, words_only=False, last_piece=True)
    value, gradient = value_and_gradient(ExciteLoss(pieces="last"), maps, tokens)
    assert_same(value, [expected])
    assert_same(gradient, [slope])


def test_a_peak_on_any_edge_is_smoothed_like_the_formula() -> None:
    tokens = tokens_of(SHAPES["modified"])
    (noun,) = tokens.entities[0][0]
    for y, x in [(0, 0), (0, 4), (0, 8), (3, 0), (3, 8), (5, 0), (5, 4), (5, 8), (1, 1), (4, 7)]:
        maps = maps_of(grid=(6, 9))
        maps[0, noun, y, x] += 0.05
        expected, slope = slow_excite(maps[0].tolist(), tokens, words_only=False)
        value, gradient = value_and_gradient(ExciteLoss(), maps, tokens)
        assert_same(value, [expected])
        assert_same(gradient, [slope])


def test_the_taps_are_those_of_the_authors() -> None:
    # a true deviation of 0.5 would give 0.1065, 0.7870, 0.1065
    assert smoothing_taps(0.5).tolist() == pytest.approx([0.2119, 0.5761, 0.2119], abs=5e-5)


def test_smoothing_keeps_flat_maps_and_can_be_off() -> None:
    flat = torch.full((2, 3, 6, 9), 0.3, dtype=torch.float64)
    torch.testing.assert_close(smooth(flat, 0.5), flat)
    maps = maps_of()
    assert smooth(maps, 0) is maps
    row = maps[:, :, :1]
    assert smooth(row, 0.5) is row


@every_grid
@every_shape
@pytest.mark.parametrize("include_entities", [False, True], ids=["bound", "all"])
def test_binding_is_its_formula(shape: Shape, grid: tuple[int, int], include_entities: bool) -> None:
    maps, tokens = maps_of(grid=grid), tokens_of(shape)
    positive, negative, slope = slow_binding(maps[0].tolist(), tokens, include_entities=include_entities)
    loss = BindingLoss(include_entities=include_entities)
    terms = loss.terms(AttentionMaps(maps), group_tokens([tokens]))
    assert_same(terms["positive"], [positive])
    assert_same(terms["negative"], [negative])
    value, gradient = value_and_gradient(loss, maps, tokens)
    assert_same(value, [positive + negative])
    assert_same(gradient.flatten(2), [slope])


@pytest.mark.parametrize("include_entities", [False, True])
def test_nouns_that_share_a_modifier_are_not_outside_one_another(include_entities: bool) -> None:
    own = tokens_of(SHAPES["three"])
    (first, _), (second, modifiers), third = own.entities
    tokens = replace(own, entities=((first, modifiers[:1]), (second, modifiers), third))
    maps = maps_of(grid=(6, 9))
    positive, negative, slope = slow_binding(maps[0].tolist(), tokens, include_entities=include_entities)
    apart = slow_binding(maps[0].tolist(), own, include_entities=include_entities)[1]
    assert negative != pytest.approx(apart)
    value, gradient = value_and_gradient(BindingLoss(include_entities=include_entities), maps, tokens)
    assert_same(value, [positive + negative])
    assert_same(gradient.flatten(2), [slope])


def test_binding_without_a_floor_is_the_authors() -> None:
    maps, tokens = maps_of(grid=(6, 9)), tokens_of(SHAPES["four"])
    positive, negative, slope = slow_binding(maps[0].tolist(), tokens, include_entities=False, floor=0)
    value, gradient = value_and_gradient(BindingLoss(floor=0), maps, tokens)
    assert_same(value, [positive + negative])
    assert_same(gradient.flatten(2), [slope])


def test_an_entity_that_is_the_whole_prompt_has_no_negative_term() -> None:
    tokens = replace(tokens_of(()), entities=(((2,), ((1,),)),), own=(1, 2), end=3)
    maps = maps_of(grid=(6, 9))
    positive, _, slope = slow_binding(maps[0].tolist(), tokens, include_entities=False)
    terms = BindingLoss().terms(AttentionMaps(maps), group_tokens([tokens]))
    assert_same(terms["positive"], [positive])
    assert_same(terms["negative"], [0.0])
    assert_same(value_and_gradient(BindingLoss(), maps, tokens)[1].flatten(2), [slope])


@every_loss
def test_a_batch_is_its_images_one_by_one(loss: Loss) -> None:
    prompts = [tokens_of(SHAPES["four"]), tokens_of(SHAPES["pieces"], padded_with_end=False), tokens_of(SHAPES["two-uneven"])]
    maps = maps_of(images=3)
    value, gradient = value_and_gradient(loss, maps, *prompts)
    for image, tokens in enumerate(prompts):
        alone, slope = value_and_gradient(loss, maps[image : image + 1], tokens)
        assert_same(value[image], alone[0])
        assert_same(gradient[image], slope[0])


def assert_equal_groups(actual: TokenGroups, expected: TokenGroups) -> None:
    assert actual.images == expected.images
    for name, tensor in vars(expected).items():
        if isinstance(tensor, Tensor):
            assert torch.equal(getattr(actual, name), tensor), name


@pytest.mark.parametrize("rows", [[0], [2], [0, 2], [1, 3], [0, 1, 2, 3], []])
def test_selected_groups_are_those_of_the_selected_prompts(rows: list[int]) -> None:
    prompts = [tokens_of(SHAPES[name], padded_with_end=name != "two") for name in ("four", "two", "noun", "three")]
    if rows:
        assert_equal_groups(group_tokens(prompts).select(rows), group_tokens([prompts[row] for row in rows]))
    else:
        chosen = group_tokens(prompts).select(rows)
        assert (chosen.images, len(chosen.noun), len(chosen.modifier), len(chosen.prompt)) == (0, 0, 0, 0)


@every_loss
def test_selected_groups_follow_the_order_asked_for(loss: Loss) -> None:
    prompts = [tokens_of(SHAPES[name]) for name in ("four", "two", "three")]
    maps = maps_of(images=3, grid=(6, 9))
    groups = group_tokens(prompts)
    assert_same(loss(maps[[2, 0]], groups.select([2, 0])), loss(maps, groups)[[2, 0]])


@every_loss
def test_the_order_of_entities_and_modifiers_changes_nothing(loss: Loss) -> None:
    tokens, maps = tokens_of(SHAPES["four"]), maps_of(grid=(6, 9))
    value, gradient = value_and_gradient(loss, maps, tokens)
    for shift in range(1, 4):
        turned = (*tokens.entities[shift:], *tokens.entities[:shift])
        turned = tuple((noun, modifiers[::-1]) for noun, modifiers in turned)
        again, slope = value_and_gradient(loss, maps, replace(tokens, entities=turned))
        assert_same(again, value)
        assert_same(slope, gradient)


@every_loss
@every_shape
def test_the_loss_falls_along_its_negative_gradient(loss: Loss, shape: Shape) -> None:
    tokens = tokens_of(shape)
    maps = maps_of(images=2, seed=2)
    value, gradient = value_and_gradient(loss, maps, tokens, tokens)
    groups = group_tokens([tokens, tokens])
    size = gradient.flatten(1).norm(dim=1)
    # a step that is small against the smallest value of the maps keeps them positive
    step = 1e-2 * maps.min() / gradient.abs().amax().clamp(min=1e-12)
    after = loss(maps - step * gradient, groups)
    assert torch.equal(size > 0, loss.applies_to(groups))
    assert (after[size > 0] < value[size > 0]).all()


EXTREMES = {"zero": torch.zeros, "equal": lambda *shape: torch.full(shape, 1 / LENGTH)}


@every_loss
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("make", EXTREMES.values(), ids=EXTREMES)
def test_extreme_maps_have_finite_gradients(loss: Loss, dtype: torch.dtype, make) -> None:
    maps = make(2, LENGTH, 16, 16).to(dtype)
    value, gradient = value_and_gradient(loss, maps, tokens_of(SHAPES["four"]), tokens_of(SHAPES["two"], padded_with_end=False))
    assert value.isfinite().all()
    assert gradient.isfinite().all()


@every_loss
def test_a_place_that_underflowed_has_a_finite_gradient(loss: Loss) -> None:
    tokens, maps = tokens_of(SHAPES["two"]), maps_of(dtype=torch.float32)
    maps[:, 2:6, :8] = 0
    value, gradient = value_and_gradient(loss, maps, tokens)
    assert value.isfinite().all()
    assert gradient.isfinite().all()


@every_loss
def test_float16_maps_have_finite_gradients(loss: Loss) -> None:
    tokens, maps = tokens_of(SHAPES["four"]), maps_of()
    value, gradient = value_and_gradient(loss, maps.half(), tokens)
    assert value.dtype == gradient.dtype == torch.float16
    assert gradient.isfinite().all()
    torch.testing.assert_close(value.double(), value_and_gradient(loss, maps, tokens)[0], atol=0.05, rtol=0.05)


@every_loss
def test_an_image_without_entities_has_no_loss_and_no_gradient(loss: Loss) -> None:
    for nothing in (tokens_of(()), tokens_of((), padded_with_end=False)):  # the latter has no piece to renormalise over
        value, gradient = value_and_gradient(loss, maps_of(), nothing)
        assert value.tolist() == [0]
        assert not gradient.any()
        value, gradient = value_and_gradient(loss, maps_of(images=2), nothing, tokens_of(SHAPES["two"]))
        assert value[0] == 0
        assert value[1] != 0
        assert not gradient[0].any()
        assert gradient[1].any()


def test_losses_add_up() -> None:
    tokens = [tokens_of(SHAPES["two"]), tokens_of(SHAPES["four"])]
    maps, groups = maps_of(images=2, grid=(6, 9)), group_tokens(tokens)
    loss = ExciteLoss() + 0.5 * BindingLoss()
    parts = loss.terms(AttentionMaps(maps), groups)
    own = BindingLoss().terms(AttentionMaps(maps), groups)
    assert list(parts) == ["excite", "positive", "negative"]
    assert_same(parts["excite"], ExciteLoss()(maps, groups))
    assert_same(parts["positive"], 0.5 * own["positive"])
    assert_same(parts["negative"], 0.5 * own["negative"])
    assert_same(loss(maps, groups), ExciteLoss()(maps, groups) + 0.5 * BindingLoss()(maps, groups))
    assert_same((2 * loss)(maps, groups), 2 * loss(maps, groups))
    assert_same((loss * 2)(maps, groups), 2 * loss(maps, groups))


def test_terms_of_one_name_stay_apart() -> None:
    maps, groups = maps_of(grid=(6, 9)), group_tokens([tokens_of(SHAPES["four"])])
    loss = ExciteLoss() + 3 * ExciteLoss(pieces="last") + ExciteLoss()
    assert list(loss.terms(AttentionMaps(maps), groups)) == ["excite", "excite'", "excite''"]
    assert_same(loss(maps, groups), 2 * ExciteLoss()(maps, groups) + 3 * ExciteLoss(pieces="last")(maps, groups))


def test_a_loss_adds_to_losses_only() -> None:
    with pytest.raises(TypeError):
        ExciteLoss() + 1  # type: ignore[operator]


def test_equal_losses_are_equal() -> None:
    assert ExciteLoss() + 0.5 * BindingLoss() == ExciteLoss() + 0.5 * BindingLoss()
    assert ExciteLoss() + 0.5 * BindingLoss() != ExciteLoss() + BindingLoss()


def test_concerns_names_the_images_with_something_to_do() -> None:
    groups = group_tokens([tokens_of(()), tokens_of(SHAPES["noun"]), tokens_of(SHAPES["modified"])])
    assert ExciteLoss().applies_to(groups).tolist() == [False, True, True]
    assert BindingLoss().applies_to(groups).tolist() == [False, False, True]
    assert BindingLoss(include_entities=True).applies_to(groups).tolist() == [False, True, True]
    assert (BindingLoss() + ExciteLoss()).applies_to(groups).tolist() == [False, True, True]
