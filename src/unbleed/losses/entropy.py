"""SynGen with entropy: a modifier and its noun attend to few places, the rest of the prompt to many.

Jiang, Li and Zi 2024, "Our Own Ideas" of a course project at UCLA (CS 163, team 49), which is not peer reviewed. With H the
entropy over places of a token's distribution p, dist the symmetric Kullback-Leibler divergence, and pairs (m, n) and
outside pieces U as in SynGen (`binding`),

    L_pos = sum over pairs of [dist(m, n) + lambda (H(m) + H(n))]
    L_neg = - sum over pairs of 1/|U| sum over u in U of (dist(m, u) + dist(u, n) - gamma H(u)) / 2

This file has the entropies alone, to be added to SynGen's terms:

    pair    = lambda sum over pairs of (H(m) + H(n))
    outside = + or - gamma / 2 sum over pairs of 1/|U| sum over u in U of H(u)

The formula contradicts its text. Written out it has +, and minimising it draws the outside pieces together; the text
wants them "more diffuse", which is -. `sign="formula"` is the first, `sign="intent"`, the default, the second.

Open in the text, and ours: lambda and gamma, which it does not tell (entropies go up to ln of the number of places, 5.5 for
16x16, many times the distances, so 0.05); the entropy is over places, as in dist; a noun counts once for each of its
modifiers, as the formula is written; a word of several pieces has their mean entropy; a pair term of large weight wants maps
of a single place. In the terms of an entity without modifiers, which `binding` has on request, there is no pair to focus,
but the outside of the noun counts once.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Literal

import torch
from torch import Tensor

from ..settings import NotNegative
from .base import AttentionMaps, Loss, has_entities, has_modifiers, sum_per_image
from .binding import _pairs
from .groups import TokenGroups
from .maps import distributions, in_single


def entropy_terms(
    maps: Tensor,
    groups: TokenGroups,
    *,
    weight_pair: float = 0.05,
    weight_outside: float = 0.05,
    sign: Literal["intent", "formula"] = "intent",
    include_entities: bool = False,
    normalised: bool = False,
    floor: float = 1e-8,
) -> tuple[Tensor, Tensor]:
    """Return (pair, outside), each (batch,), for raw maps (batch, token, height, width).

    Entropies are in nats, from 0 for a single place to the logarithm of the number of places for an even map; `normalised`
    divides by that, so that grids of any size weigh alike. The pair term is 0 or more; the outside term is 0 or less with
    `sign="intent"`, 0 or more with `"formula"`. `include_entities` gives entities without modifiers the outside term.
    """
    precision = maps.dtype
    maps = in_single(maps)
    # only the prompt's own tokens matter: a padding token that underflows somewhere must not spoil the gradient
    maps = torch.where(groups.prompt[:, :, None, None], maps, torch.ones_like(maps))
    p = distributions(maps, floor)
    entropy = torch.special.entr(p).sum(dim=(-2, -1))  # (batch, token); 0 where p is 0, as without a floor
    if normalised:
        entropy = entropy / math.log(max(2, maps.shape[-2] * maps.shape[-1]))  # a single place has nothing to divide by
    modifier, noun, outside, image = _pairs(groups, include_entities)
    of_image = entropy[image]  # (pair, token)
    within = _mean_of(of_image, modifier) + _mean_of(of_image, noun)
    within = torch.where((modifier != noun).any(dim=1), within, torch.zeros_like(within))  # the noun alone is no pair
    direction = -1 if sign == "intent" else 1
    without = direction * _mean_of(of_image, outside) / 2
    return (
        (weight_pair * sum_per_image(within, image, groups.images)).to(precision),
        (weight_outside * sum_per_image(without, image, groups.images)).to(precision),
    )


def _mean_of(values: Tensor, chosen: Tensor) -> Tensor:
    """Return (pair,): the mean of `values` (pair, token) over the tokens that bool `chosen` (pair, token) names; 0 of none."""
    return (values * chosen).sum(dim=1) / chosen.sum(dim=1).clamp(min=1)


@dataclass(frozen=True)
class EntropyLoss(Loss):
    """See `entropy_terms`."""

    weight_pair: float = 0.05
    weight_outside: float = 0.05
    sign: Literal["intent", "formula"] = "intent"
    include_entities: bool = False
    normalised: bool = False
    floor: NotNegative = 1e-8

    def terms(self, seen: AttentionMaps, groups: TokenGroups) -> dict[str, Tensor]:
        pair, outside = entropy_terms(seen.maps, groups, **asdict(self))
        return {"pair entropy": pair, "outside entropy": outside}

    def applies_to(self, groups: TokenGroups) -> Tensor:
        return has_entities(groups) if self.include_entities else has_modifiers(groups)
