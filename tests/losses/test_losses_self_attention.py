"""InitNO's and Self-Cross's terms on self-attention against slow transcriptions."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from helpers.loss_cases import LENGTH, SHAPES, Shape, assert_same, every_grid, every_shape, maps_of, tokens_of
from helpers.slow_maps import peaked_maps, self_attention, slow_component, slow_peak, slow_response_maps, slow_smooth
from unbleed.errors import CaptureError
from unbleed.losses import ConflictLoss, SelfCrossLoss, StrayLoss
from unbleed.losses.excite import excite
from unbleed.losses.groups import TokenGroups, group_tokens
from unbleed.losses.self_attention import conflict, otsu, self_cross, stray
from unbleed.prompt import PromptTokens

TOGETHER = {
    "conflict": conflict,
    "stray": lambda maps, self_maps, groups, **_: stray(maps, groups),
    "self-cross": self_cross,
}
every_loss = pytest.mark.parametrize("loss", TOGETHER.values(), ids=TOGETHER)


def called(loss, maps: Tensor, self_maps: Tensor, groups: TokenGroups, **settings) -> Tensor:
    """The loss called directly, as `Loss.__call__` does for maps of any precision."""
    kind: Any = {conflict: ConflictLoss, self_cross: SelfCrossLoss}.get(loss, StrayLoss)
    known = {field.name for field in fields(kind)}
    own = kind(**{name: value for name, value in settings.items() if name in known})
    return own(maps, groups, self_maps=self_maps)


def value_and_gradients(loss, maps: Tensor, self_maps: Tensor, groups: TokenGroups, **settings) -> tuple[Tensor, ...]:
    """Return the value and its gradients for maps and self-attention, zeros where there are none."""
    maps, self_maps = maps.clone().requires_grad_(), self_maps.clone().requires_grad_()
    value = called(loss, maps, self_maps, groups, **settings)
    gradients = [torch.zeros_like(maps), torch.zeros_like(self_maps)]
    if value.requires_grad:
        own = torch.autograd.grad(value.sum(), (maps, self_maps), allow_unused=True)
        gradients = [zero if g is None else g for g, zero in zip(own, gradients, strict=True)]
    return value.detach(), *gradients


def slow_otsu(values: list[float], bins: int = 256) -> float:
    low, high = min(values), max(values)
    if low == high:
        return low
    levels = [min(int((value - low) / (high - low) * bins), bins - 1) for value in values]
    best, threshold = -1.0, low
    for split in range(bins - 1):
        under = [level for level in levels if level <= split]
        over = [level for level in levels if level > split]
        if not over:
            continue
        apart = sum(under) / len(under) - sum(over) / len(over)
        between = len(under) / len(levels) * len(over) / len(levels) * apart**2
        if between > best * (1 + 1e-12):  # empty levels leave it as it is, but for rounding
            best = between
            threshold = max(value for value, level in zip(values, levels, strict=True) if level <= split)
    return threshold


def slow_upper_side(x: Tensor) -> Tensor:
    return x.detach() > slow_otsu(x.detach().flatten().tolist())


def slow_response(entities: list[Tensor], places: int = 1) -> float:
    highest = [sorted(x.detach().flatten().tolist(), reverse=True)[:places] for x in entities]
    return max((max(0.0, 1 - sum(values) / places) for values in highest), default=0.0)


def slow_conflict(maps: Tensor, self_maps: Tensor, tokens: PromptTokens, gate: float) -> Tensor:
    entities = slow_response_maps(maps, tokens)
    height, width = maps.shape[1:]
    rows = []
    for x in entities:
        y, column = slow_peak(x)
        rows.append(slow_smooth(self_maps[y * width + column].reshape(height, width)))
    pairs = []
    for s in range(len(rows)):
        for r in range(s):
            lower = torch.where(rows[s] < rows[r], rows[s], rows[r])
            pairs.append(lower.sum() / (rows[s].sum() + rows[r].sum()))
    if not pairs or slow_response(entities) > gate:
        return 0 * self_maps.sum() + bool(pairs)
    return sum(pairs) / len(pairs)


def slow_stray(maps: Tensor, tokens: PromptTokens) -> Tensor:
    value = 0 * maps.sum()
    for x in slow_response_maps(maps, tokens):
        own = torch.tensor(slow_component(slow_upper_side(x).tolist(), slow_peak(x), diagonal=False))
        if x[~own].max() > x[own].min():
            value = value + x[~own].max()
    return value


def slow_self_cross(maps: Tensor, self_maps: Tensor, tokens: PromptTokens, gate: float) -> Tensor:
    entities = slow_response_maps(maps, tokens)
    height, width = maps.shape[1:]
    reached = []
    for x in entities:
        places = slow_upper_side(x).flatten()
        spread = (x.flatten()[places][:, None] * self_maps[places]).sum(dim=0)
        spread = slow_smooth(spread.reshape(height, width))
        reached.append(spread / spread.sum())
    shared = []
    for s, x in enumerate(entities):
        there = x / x.sum() if height * width > 256 else x
        shared += [torch.where(r < there, r, there).sum() for other, r in enumerate(reached) if other != s]
    if not shared or slow_response(entities, 16) > gate:
        return 0 * self_maps.sum() + bool(shared)
    return sum(shared) / len(shared)


@every_grid
@every_shape
def test_the_losses_are_their_formulas(shape: Shape, grid: tuple[int, int]) -> None:
    tokens = tokens_of(shape)
    groups = group_tokens([tokens])
    maps = peaked_maps(tokens, grid=grid).requires_grad_()
    self_maps = self_attention(1, grid).requires_grad_()
    wide = slow_response(slow_response_maps(maps[0], tokens), 16)  # open and closed, at 16 places
    pairs = [
        (conflict(maps, self_maps, groups, gate=0.6), slow_conflict(maps[0], self_maps[0], tokens, 0.6)),
        *(
            (self_cross(maps, self_maps, groups, gate=gate), slow_self_cross(maps[0], self_maps[0], tokens, gate))
            for gate in (wide + 1e-6, wide - 1e-6)
        ),
        (stray(maps, groups), slow_stray(maps[0], tokens)),
    ]
    for name, (own, slow) in zip(("conflict", "self-cross", "closed", "stray"), pairs, strict=True):
        assert_same(own, slow[None])
        assert (slow > 0) == (name == "stray" or len(tokens.entities) > 1), name
        if slow == 0:
            continue
        gradients = torch.autograd.grad(own.sum(), (maps, self_maps), allow_unused=True)
        slopes = torch.autograd.grad(slow, (maps, self_maps), allow_unused=True)
        for leaf, gradient, slope in zip((maps, self_maps), gradients, slopes, strict=True):
            zero = torch.zeros_like(leaf)
            assert_same(zero if gradient is None else gradient, zero if slope is None else slope)
        of_maps, of_self_maps = name in ("self-cross", "stray"), name in ("conflict", "self-cross")
        assert [slope is not None and bool(slope.any()) for slope in slopes] == [of_maps, of_self_maps]


def test_otsu_is_the_best_split() -> None:
    maps = torch.rand(6, 7, 11, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    maps = maps ** torch.arange(1, 7)[:, None, None]
    assert otsu(maps).tolist() == [slow_otsu(one.flatten().tolist()) for one in maps]
    assert otsu(maps, bins=16).tolist() == [slow_otsu(one.flatten().tolist(), 16) for one in maps]
    assert otsu(maps[:0]).shape == (0,)


def test_otsu_splits_two_levels_and_nothing_else() -> None:
    maps = torch.full((4, 5, 6), 0.25)
    maps[1, 2, 3] = 0.75
    maps[2, :, :3] = 0
    maps[3, :4] = 1e-30
    upper = maps > otsu(maps)[:, None, None]
    assert not upper[0].any()
    assert torch.equal(upper[1], maps[1] > 0.5)
    assert torch.equal(upper[2], maps[2] > 0.1)
    assert torch.equal(upper[3], maps[3] > 0.1)
    small = maps * 1e-20
    assert torch.equal(small > otsu(small)[:, None, None], upper)  # at any scale


def nouns_at(*places: tuple[slice, slice], grid: tuple[int, int] = (4, 8)) -> tuple[Tensor, PromptTokens]:
    """Maps of as many nouns, each with all attention at its place; elsewhere the article has it."""
    tokens = tokens_of(((1, ()),) * len(places))
    maps = torch.zeros(1, LENGTH, *grid, dtype=torch.float64)
    maps[0, 1] = 0.5
    for ((piece,), _), (rows, columns) in zip(tokens.entities, places, strict=True):
        maps[0, piece, rows, columns] = 1
    return maps, tokens


LEFT, RIGHT = (slice(0, 4), slice(0, 2)), (slice(0, 4), slice(6, 8))


def test_known_values_of_the_conflict() -> None:
    maps, tokens = nouns_at(LEFT, RIGHT)
    groups = group_tokens([tokens])
    itself = torch.eye(32, dtype=torch.float64)[None]
    everywhere = torch.full((1, 32, 32), 1 / 32, dtype=torch.float64)
    assert conflict(maps, itself, groups).tolist() == [0]
    assert conflict(maps, everywhere, groups).tolist() == pytest.approx([0.5])
    half = itself.clone()
    half[0, 6, 6] = half[0, 6, 0] = 0.5  # the first place of the right entity looks at that of the left one
    assert conflict(maps, half, groups, sigma=0).tolist() == pytest.approx([0.25])


def test_known_values_of_self_cross() -> None:
    maps, tokens = nouns_at(LEFT, RIGHT)
    groups = group_tokens([tokens])
    itself = torch.eye(32, dtype=torch.float64)[None]
    assert self_cross(maps, itself, groups, sigma=0).tolist() == pytest.approx([0], abs=1e-9)
    across = itself.clone()  # the left entity looks at the right one, which looks at itself
    across[0, [0, 1, 8, 9, 16, 17, 24, 25]] = itself[0, [6, 7, 14, 15, 22, 23, 30, 31]]
    for normalise in ("always", "never"):
        assert self_cross(maps, across, groups, sigma=0, normalise=normalise).tolist() == pytest.approx([0.5])
    everywhere = torch.full((1, 32, 32), 1 / 32, dtype=torch.float64)
    assert self_cross(maps, everywhere, groups, sigma=0).tolist() == pytest.approx([8 / 32])


def test_rows_are_queries() -> None:
    maps, tokens = nouns_at(LEFT, RIGHT)
    groups = group_tokens([tokens])
    onto_one = torch.zeros(1, 32, 32, dtype=torch.float64)
    onto_one[:, :, 3] = 1  # all places look at a place of nobody, and by columns it would look at all
    assert conflict(maps, onto_one, groups, sigma=0).tolist() == [0.5]
    assert self_cross(maps, onto_one, groups, sigma=0).tolist() == pytest.approx([0], abs=1e-9)


def test_known_values_of_stray() -> None:
    maps, tokens = nouns_at(LEFT)
    groups = group_tokens([tokens])
    (piece,) = tokens.entities[0][0]
    maps[0, piece, 3, 1] = 0.505  # the least of its part: a softmax of e^50.5 against e^50
    assert stray(maps, groups, sigma=0).tolist() == [0]
    maps[0, piece, 2, 5] = 0.504  # apart, but below all of its part
    assert stray(maps, groups, sigma=0).tolist() == [0]
    maps[0, piece, 2, 5] = 0.51
    assert stray(maps, groups, sigma=0).tolist() == pytest.approx([0.7310586])
    maps[0, piece, 2, 2:5] = 1  # no longer apart
    assert stray(maps, groups, sigma=0).tolist() == [0]
    maps, _ = nouns_at((slice(0, 2), slice(0, 2)))
    maps[0, piece, 1, 0], maps[0, piece, 2, 2] = 0.505, 1  # touches at a corner only
    assert stray(maps, groups, sigma=0).tolist() == pytest.approx([1])


@every_shape
def test_the_response_can_be_the_mean_over_the_highest_places(shape: Shape) -> None:
    tokens = tokens_of(shape)
    maps = peaked_maps(tokens, grid=(9, 14)).requires_grad_()
    means = [x.flatten()[x.detach().flatten().argsort()[-16:]].sum() / 16 for x in slow_response_maps(maps[0], tokens)]
    expected = 1 - torch.stack(means).min()
    (slope,) = torch.autograd.grad(expected, maps)
    value = excite(maps, group_tokens([tokens]), places=16)
    assert_same(value, expected[None])
    assert_same(torch.autograd.grad(value.sum(), maps)[0], slope)
    assert excite(maps, group_tokens([tokens])) < value
    assert excite(maps, group_tokens([tokens]), places=9 * 14 + 1) == excite(maps, group_tokens([tokens]), places=9 * 14)


@pytest.mark.parametrize("loss", [conflict, self_cross], ids=["conflict", "self-cross"])
def test_neglect_closes_the_gate(loss) -> None:
    prompts = [tokens_of(SHAPES["two"]), tokens_of(SHAPES["two"])]
    maps, self_maps = peaked_maps(*prompts, grid=(9, 14)), self_attention(2, (9, 14))
    ((piece,), _) = prompts[1].entities[1]
    maps[1, piece] = 0
    groups = group_tokens(prompts)
    value, *gradients = value_and_gradients(loss, maps, self_maps, groups)
    assert value[0] > 0
    assert value[1] == 1  # the most that it can be, so that a closed gate does not look like success
    assert not any(gradient[1].any() for gradient in gradients)
    assert (loss(maps, self_maps, groups, gate=1.0) > 0).all()


def test_self_attention_must_be_on_the_same_grid() -> None:
    tokens = tokens_of(SHAPES["two"])
    maps, groups = peaked_maps(tokens, grid=(4, 6)), group_tokens([tokens])
    expected = (
        r"self-attention of shape \(1, 35, 35\) does not fit cross-attention of 1 images on a grid of 4x6: "
        r"expected \(1, 24, 24\); capture both at the same resolution"
    )
    for loss in (conflict, self_cross):
        with pytest.raises(CaptureError, match=expected):
            loss(maps, self_attention(1, (5, 7)), groups)


@every_loss
def test_a_batch_is_its_images_one_by_one(loss) -> None:
    prompts = [
        tokens_of(SHAPES["four"]),
        tokens_of((), padded_with_end=False),  # has no piece to renormalise over
        tokens_of(SHAPES["noun"], padded_with_end=False),
        tokens_of(SHAPES["two-uneven"], padded_with_end=False),
    ]
    maps, self_maps = peaked_maps(*prompts, grid=(9, 14)), self_attention(4, (9, 14))
    value, *gradients = value_and_gradients(loss, maps, self_maps, group_tokens(prompts), gate=0.6)
    for image, tokens in enumerate(prompts):
        one = slice(image, image + 1)
        alone, *slopes = value_and_gradients(loss, maps[one], self_maps[one], group_tokens([tokens]), gate=0.6)
        assert_same(value[one], alone)
        for gradient, slope in zip(gradients, slopes, strict=True):
            assert_same(gradient[one], slope)
    assert value[0] > 0
    assert value[1] == 0
    assert not any(gradient[1].any() for gradient in gradients)


@every_loss
def test_the_order_of_entities_changes_nothing(loss) -> None:
    tokens = tokens_of(SHAPES["four"])
    maps, self_maps = peaked_maps(tokens, grid=(9, 14)), self_attention(1, (9, 14))
    turned = replace(tokens, entities=(*tokens.entities[1:], tokens.entities[0]))
    before = value_and_gradients(loss, maps, self_maps, group_tokens([tokens]), gate=0.6)
    after = value_and_gradients(loss, maps, self_maps, group_tokens([turned]), gate=0.6)
    assert before[0] > 0
    for one, other in zip(before, after, strict=True):
        assert_same(one, other)


@every_loss
@pytest.mark.parametrize("name", ["two", "three", "four"])
def test_the_loss_falls_along_its_negative_gradient(loss, name: str) -> None:
    tokens = tokens_of(SHAPES[name])
    groups = group_tokens([tokens])
    maps, self_maps = peaked_maps(tokens, grid=(9, 14)), self_attention(1, (9, 14))
    value, *gradients = value_and_gradients(loss, maps, self_maps, groups, gate=0.6)
    step = 1e-6 / max(float(gradient.abs().max()) for gradient in gradients)
    after = loss(maps - step * gradients[0], self_maps - step * gradients[1], groups, gate=0.6)
    assert after < value


def single_hot() -> Tensor:
    maps = torch.zeros(2, LENGTH, 12, 16, dtype=torch.float64)
    maps[:, 1:, 5, 7] = 1 / LENGTH
    return maps


def buried() -> Tensor:
    """All attention on a token that is no entity: the softmax underflows in single precision."""
    maps = torch.zeros(2, LENGTH, 12, 16, dtype=torch.float64)
    maps[:, 1] = 2
    return maps


EXTREMES = {
    "zero": torch.zeros(2, LENGTH, 12, 16, dtype=torch.float64),
    "even": torch.full((2, LENGTH, 12, 16), 1 / LENGTH, dtype=torch.float64),
    "identical": maps_of(images=2, grid=(12, 16))[:, :1].expand(-1, LENGTH, -1, -1),
    "single": single_hot(),
    "buried": buried(),
    "random": maps_of(images=2, grid=(12, 16)),
}


@every_loss
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("maps", EXTREMES.values(), ids=EXTREMES)
def test_extreme_maps_have_finite_values_and_gradients(loss, maps: Tensor, dtype: torch.dtype) -> None:
    groups = group_tokens([tokens_of(SHAPES["four"]), tokens_of(SHAPES["two"])])
    some = self_attention(2, (12, 16))
    for self_maps in (some, torch.zeros_like(some), torch.eye(192).expand(2, -1, -1), torch.full_like(some, 1 / 192)):
        value, *gradients = value_and_gradients(loss, maps.to(dtype), self_maps.to(dtype), groups, gate=1.0)
        assert value.dtype == dtype
        assert value.isfinite().all()
        assert all(gradient.isfinite().all() for gradient in gradients)


@every_loss
def test_half_precision_is_computed_in_single(loss) -> None:
    prompts = [tokens_of(SHAPES["four"]), tokens_of(SHAPES["two"])]
    groups = group_tokens(prompts)
    maps, self_maps = peaked_maps(*prompts, grid=(9, 14)).half(), self_attention(2, (9, 14)).half()
    half = called(loss, maps, self_maps, groups, gate=0.6)
    single = called(loss, maps.float(), self_maps.float(), groups, gate=0.6)
    assert half.dtype == torch.float16
    assert (single > 0).all()
    assert torch.equal(half, single.half())
