"""EBAMA: modifiers attend where their object does, the object keeps away from the rest of the prompt, and is not neglected.

Zhang et al. 2024, arXiv 2404.07389. SynGen's binding around the object: for every entity s with noun n, its modifiers m,
and U the pieces of the prompt outside the entity,

    L_pos = sum over pairs (m, n) of dist(m, n)
    L_neg = - sum over pairs of 1/|U| sum over u in U of dist(n, u)
    L_int = - sum over s of max_xy (G * Z(A))_n            Z(A) and G as in `excite`
    L     = L_pos + L_neg + lambda L_int                   lambda = 0.5

dist is 1 - cos of the two maps, or SynGen's symmetric Kullback-Leibler divergence.

From the authors' code: the negative term stands once for every modifier, as in SynGen, and once for a noun without
modifiers. The furthest piece of a noun counts, in both terms and with both distances; of a modifier, all pieces are summed
with the cosine, and the furthest counts with the divergence. Ours: |U| = 0, where they divide by 0, gives 0; the
intensity of a noun is that of its pieces' sum (theirs is that of its first piece); the floor under the maps of the
divergence, and a length of at least 1e-4 of those of the cosine.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ..settings import NotNegative
from .base import AttentionMaps, RenormalisingLoss, has_entities, sum_per_image
from .binding import _furthest_piece, _pairs, distances
from .contrast import directions
from .groups import TokenGroups
from .maps import Kept, renormalise, smooth, word_maps


def object_binding(
    maps: Tensor, groups: TokenGroups, *, distance: Literal["cosine", "kl"] = "cosine", floor: float = 1e-8
) -> tuple[Tensor, Tensor]:
    """Return (L_pos, L_neg), each (batch,), for raw maps (batch, token, height, width).

    L_pos is 0 or more, and 0 without modifiers; L_neg is 0 or less, and 0 without entities or with no piece outside them.
    `floor` is added to the maps for the divergence, see `binding.distances`.
    """
    precise = maps.to(torch.promote_types(maps.dtype, torch.float32))
    # only the prompt's own tokens matter: a padding token that underflows somewhere must not spoil the gradient
    precise = torch.where(groups.prompt[:, :, None, None], precise, torch.ones_like(precise))
    modifier, noun, outside, image = _pairs(groups, include_entities=True)
    apart = (_cosine_distances(precise) if distance == "cosine" else distances(precise, floor))[image]  # (pair, token, token)
    from_noun = _furthest_piece(apart, noun)  # (pair, token)
    if distance == "cosine":
        within = from_noun.masked_fill(~modifier, 0).sum(dim=1)
    else:
        within = from_noun.masked_fill(~modifier, -torch.inf).amax(dim=1)
    bound = torch.where((modifier != noun).any(dim=1), within, torch.zeros_like(within))  # a noun may stand for its modifier
    away = from_noun.masked_fill(~outside, 0).sum(dim=1) / outside.sum(dim=1).clamp(min=1)
    return (
        sum_per_image(bound, image, groups.images).to(maps.dtype),
        sum_per_image(-away, image, groups.images).to(maps.dtype),
    )


def intensity(
    maps: Tensor, groups: TokenGroups, *, kept: Kept = "auto", temperature: float = 100.0, sigma: float = 0.5
) -> Tensor:
    """Return L_int, (batch,), for raw maps (batch, token, height, width).

    Between minus the number of entities and 0; 0 for an image without entities.
    """
    precise = maps.to(torch.promote_types(maps.dtype, torch.float32))
    probability = renormalise(precise, groups, kept, temperature)
    peak = smooth(word_maps(probability, groups.noun, groups.entity_image), sigma).amax(dim=(-2, -1))  # (entity,)
    return sum_per_image(-peak, groups.entity_image, groups.images).to(maps.dtype)


def _cosine_distances(maps: Tensor) -> Tensor:
    """Return 1 - cos of all pairs of tokens, (batch, token, token), for maps (batch, token, height, width)."""
    direction = directions(maps)
    return 1 - direction @ direction.mT


@dataclass(frozen=True)
class ObjectLoss(RenormalisingLoss):
    """See the module; `weight_intensity` is lambda."""

    distance: Literal["cosine", "kl"] = "cosine"
    weight_intensity: float = 0.5
    floor: NotNegative = 1e-8

    def terms(self, seen: AttentionMaps, groups: TokenGroups) -> dict[str, Tensor]:
        positive, negative = object_binding(seen.maps, groups, distance=self.distance, floor=self.floor)
        intense = self.weight_intensity * intensity(seen.maps, groups, **self.reading)
        return {"positive": positive, "negative": negative, "intensity": intense}

    def applies_to(self, groups: TokenGroups) -> Tensor:
        return has_entities(groups)
