"""FOCUS's loss against a slow transcription of its formula."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from helpers.loss_cases import SHAPES, Shape, every_grid, every_shape, maps_of, tokens_of
from helpers.loss_properties import check_batch, check_descent, check_formula, check_nothing, check_order
from unbleed.losses import TokenGroups
from unbleed.losses.focus import focus
from unbleed.losses.groups import group_tokens
from unbleed.prompt import PromptTokens


def loss(maps: Tensor, groups: TokenGroups) -> Tensor:
    return sum(focus(maps, groups))  # type: ignore[return-value]


def slow(maps: Tensor, tokens: PromptTokens) -> Tensor:
    """The formula for one image in float64, one pixel after another where it matters."""
    taps = torch.tensor([math.exp(-0.5), 1.0, math.exp(-0.5)], dtype=torch.float64)
    kernel = torch.outer(taps, taps) / taps.sum() ** 2

    def distribution(piece: int) -> Tensor:
        blurred = F.conv2d(F.pad(maps[piece][None, None], (1, 1, 1, 1), mode="reflect"), kernel[None, None])[0, 0].flatten()
        return blurred**3 / (blurred**3).sum()

    def divergence(rows: list[Tensor]) -> Tensor:
        mean = sum(rows, torch.zeros_like(rows[0])) / len(rows)
        each = [(row * ((row + 1e-10) / (mean + 1e-10)).log()).sum() for row in rows]
        return sum(each, torch.zeros_like(each[0])) / len(rows) / math.log(len(rows))

    pieces = [[*noun, *(p for word in modifiers for p in word)] for noun, modifiers in tokens.entities]
    if len(pieces) < 2:
        return torch.zeros((), dtype=torch.float64)
    own = [[distribution(p) for p in group] for group in pieces]
    within = [divergence(rows) for rows in own if len(rows) > 1]
    between = divergence([sum(rows, torch.zeros_like(rows[0])) / len(rows) for rows in own])
    positive = sum(within, torch.zeros((), dtype=torch.float64)) / max(len(within), 1)
    return (positive + 1 - between) / 2


@every_grid
@every_shape
def test_it_is_its_formula(shape: Shape, grid: tuple[int, int]) -> None:
    check_formula(loss, slow, maps_of(grid=grid), tokens_of(shape))


def test_images_do_not_touch_each_other_and_order_has_no_effect() -> None:
    check_batch(loss)
    check_order(loss)


def test_a_prompt_of_fewer_than_two_entities_is_left_alone() -> None:
    check_nothing(loss, "noun", "modified", "pieces")


def test_descent_lowers_it() -> None:
    check_descent(loss, [name for name, shape in SHAPES.items() if len(shape) > 1])


def test_it_is_least_where_entities_are_apart_and_most_where_they_coincide() -> None:
    groups = TokenGroups.from_positions([[(2, [1]), (4, [3])]], length=6)
    apart, same = torch.full((2, 1, 6, 8, 8), 1e-9).unbind()
    apart[:, 1:3, :3], apart[:, 3:5, 5:] = 0.2, 0.2
    same[:, 1:5, 2:6] = 0.2
    mixed = apart[:, [0, 1, 3, 2, 4, 5]]  # each noun with the other's modifier
    values = [float(loss(maps, groups)) for maps in (apart, same, mixed)]
    assert values[0] < 0.01
    assert values[1] == pytest.approx(0.5, abs=1e-3)
    assert values[2] > 0.9


def test_tiny_maps_lose_nothing() -> None:
    """Joint attention to one word may be 1e-12: its cube must not underflow in float32."""
    maps, tokens = maps_of(grid=(6, 9)), tokens_of(SHAPES["two"])
    value, slope = _value(maps.float() * 1e-12, tokens)
    expected, reference = _value(maps.float(), tokens)
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(slope * 1e-12, reference, rtol=1e-3, atol=1e-5)


def _value(maps: Tensor, tokens: PromptTokens) -> tuple[Tensor, Tensor]:
    leaf = maps.clone().requires_grad_()
    value = loss(leaf, group_tokens([tokens]))
    return value.detach(), torch.autograd.grad(value.sum(), leaf)[0]
