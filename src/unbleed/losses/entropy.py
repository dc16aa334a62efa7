"""SynGen with entropy: a modifier and its noun attend to few pixels, the rest of the prompt to many.

Jiang, Li and Zi 2024, "Our Own Ideas" of a course project at UCLA (CS 163, team 49), which is not peer reviewed. With H the
entropy over pixels of a token's distribution p, dist the symmetric Kullback-Leibler divergence, and pairs (m, n) and
outside pieces U as in SynGen (`binding`),

    L_pos = sum over pairs of [dist(m, n) + lambda (H(m) + H(n))]
    L_neg = - sum over pairs of 1/|U| sum over u in U of (dist(m, u) + dist(u, n) - gamma H(u)) / 2

This file has only the entropies, to be added to SynGen's terms:

    pair    = lambda sum over pairs of (H(m) + H(n))
    outside = + or - gamma / 2 sum over pairs of 1/|U| sum over u in U of H(u)

The formula contradicts its text. Written out it has +, and minimising it concentrates the outside pieces; the text
wants them "more diffuse", which is -. `sign="formula"` is the first, `sign="intent"`, the default, the second.

Open in the text, and ours: lambda and gamma, which it does not state (entropies go up to ln of the number of pixels, 5.5 for
16x16, many times the distances, so 0.05); the entropy is over pixels, as in dist; a noun counts once for each of its
modifiers, as the formula is written; a word of several pieces has their mean entropy. A pair term of large weight favours maps
of a single pixel. An entity without modifiers, which `binding` includes on request, has no pair to focus, but the outside of
its noun counts once.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Literal

import torch
from torch import Tensor

from ..settings import NotNegative, setting
from .base import AttentionMaps, Loss, has_entities, has_modifiers, sum_per_image
from .groups import TokenGroups
from .maps import FLOOR, distributions
from .pairs import own_maps, pairs


def entropy_terms(
    maps: Tensor,
    groups: TokenGroups,
    *,
    weight_pair: float = 0.05,
    weight_outside: float = 0.05,
    sign: Literal["intent", "formula"] = "intent",
    include_entities: bool = False,
    normalised: bool = False,
    floor: float = FLOOR,
) -> tuple[Tensor, Tensor]:
    """Return (pair, outside), each (batch,), for raw maps (batch, token, height, width).

    Entropies are in nats, from 0 for a single pixel to the logarithm of the number of pixels for an even map; `normalised`
    divides by that, so that grids of any size weigh alike. The pair term is 0 or more; the outside term is 0 or less with
    `sign="intent"`, 0 or more with `"formula"`. `include_entities` gives entities without modifiers the outside term.
    """
    p = distributions(own_maps(maps, groups), floor)
    entropy = torch.special.entr(p).sum(dim=(-2, -1))  # (batch, token); 0 where p is 0, as without a floor
    if normalised:
        entropy = entropy / math.log(max(2, maps.shape[-2] * maps.shape[-1]))  # a single pixel has nothing to divide by
    modifier, noun, outside, image = pairs(groups, include_entities)
    of_image = entropy[image]  # (pair, token)
    within = _mean_of(of_image, modifier) + _mean_of(of_image, noun)
    within = torch.where((modifier != noun).any(dim=1), within, torch.zeros_like(within))  # a noun alone is not a pair
    direction = -1 if sign == "intent" else 1
    without = direction * _mean_of(of_image, outside) / 2
    return (
        weight_pair * sum_per_image(within, image, groups.images),
        weight_outside * sum_per_image(without, image, groups.images),
    )


def _mean_of(values: Tensor, chosen: Tensor) -> Tensor:
    """Return (pair,): the mean of `values` (pair, token) over the tokens `chosen`, bool (pair, token); 0 without any."""
    return (values * chosen).sum(dim=1) / chosen.sum(dim=1).clamp(min=1)


@dataclass(frozen=True)
class EntropyLoss(Loss):
    """Entropies for SynGen: focus the words of a pair on few pixels and spread the rest of the prompt.

    Jiang, Li and Zi 2024, course project; not peer reviewed. Components: `pair entropy` and `outside entropy`.

    >>> import torch
    >>> from unbleed.losses import EntropyLoss, TokenGroups
    >>> groups = TokenGroups.from_positions([[(2, [1])]], length=4)  # "red cat"
    >>> EntropyLoss(weight_pair=1.0)(torch.full((1, 4, 4, 4), 1 / 4), groups)  # two even maps of 16 pixels: 2 ln 16
    tensor([5.5452])
    """

    weight_pair: float = setting(0.05, help="weight of the entropies, in nats, of a modifier and its noun")
    weight_outside: float = setting(0.05, help="weight of the entropies of the tokens outside of the entity")
    sign: Literal["intent", "formula"] = setting("intent", help='"intent" raises the entropies outside, "formula" lowers them')
    include_entities: bool = setting(False, help="give entities without modifiers the outside term")
    normalised: bool = setting(False, help="divide entropies by the logarithm of the number of pixels")
    floor: NotNegative = setting(FLOOR, help="added to each map before it is made a distribution")

    def terms(self, attention: AttentionMaps, groups: TokenGroups) -> dict[str, Tensor]:
        pair, outside = entropy_terms(attention.maps, groups, **asdict(self))
        return {"pair entropy": pair, "outside entropy": outside}

    def applies_to(self, groups: TokenGroups) -> Tensor:
        return has_entities(groups) if self.include_entities else has_modifiers(groups)
