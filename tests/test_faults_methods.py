"""Faults of methods and losses, each named after its row."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from unbleed.losses import TokenGroups
from unbleed.losses.division import attribute_binding


def two_bumps(lower: float) -> Tensor:
    """Maps (1, 77, 16, 16) of noun 3 and modifier 2: the same bump, the modifier `lower` everywhere. Token 0 has the rest."""
    y, x = torch.meshgrid(torch.arange(16.0), torch.arange(16.0), indexing="ij")
    bump = 0.06 * torch.exp(-((y - 5) ** 2 + (x - 8) ** 2) / 8)
    maps = torch.full((1, 77, 16, 16), 1e-3)
    maps[0, 3], maps[0, 2] = bump, bump - lower
    maps[0, 0] = 1 - maps[0, 1:].sum(dim=0)
    return maps


def words(*positions: int) -> Tensor:
    row = torch.zeros(1, 77, dtype=torch.bool)
    row[0, list(positions)] = True
    return row


def one_entity() -> TokenGroups:
    first = torch.zeros(1, dtype=torch.long)
    return TokenGroups(1, words(3), first, words(2), first, words(1, 2, 3), torch.ones(1, dtype=torch.bool))


@pytest.mark.parametrize("lower", [0.0, 0.01])
def test_F1_equal_maps_of_divide_and_bind_have_no_divergence(lower: float) -> None:
    assert attribute_binding(two_bumps(lower), one_entity()).item() == pytest.approx(0, abs=1e-7)


def test_F1_a_narrower_modifier_has_a_divergence() -> None:
    maps = two_bumps(0.0)
    maps[0, 2] *= 0.5
    assert attribute_binding(maps, one_entity()).item() > 1e-4
