"""EBAMA: modifiers attend where their object does; the object stays away from the rest of the prompt and is not neglected.

Zhang et al. 2024, arXiv 2404.07389. SynGen's binding around the object: for every entity s with noun n, its modifiers m,
and U the pieces of the prompt outside the entity,

    L_pos = sum over pairs (m, n) of dist(m, n)
    L_neg = - sum over pairs of 1/|U| sum over u in U of dist(n, u)
    L_int = - sum over s of max_xy (G * Z(A))_n            Z(A) and G as in `excite`
    L     = L_pos + L_neg + lambda L_int                   lambda = 0.5

dist is 1 - cos of the two maps, or SynGen's symmetric Kullback-Leibler divergence.

From the authors' code: the negative term occurs once for every modifier, as in SynGen, and once for a noun without
modifiers. The furthest piece of a noun counts, in both terms and with both distances; of a modifier, all pieces are summed
with the cosine, and the furthest counts with the divergence. Ours: |U| = 0, where they divide by 0, gives 0; the
intensity of a noun is that of its pieces' sum (theirs is that of its first piece); the floor under the maps for the
divergence, and a length of at least 1e-4 for the cosine.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from ..settings import NotNegative, setting
from .base import AttentionMaps, RenormalisingLoss, has_entities, sum_per_image
from .contrast import directions
from .groups import TokenGroups
from .maps import FLOOR, SoftmaxSettings, noun_maps
from .pairs import distances, furthest_piece, own_maps, pairs

if TYPE_CHECKING:
    from typing_extensions import Unpack


def object_binding(
    maps: Tensor, groups: TokenGroups, *, distance: Literal["cosine", "kl"] = "cosine", floor: float = FLOOR
) -> tuple[Tensor, Tensor]:
    """Return (L_pos, L_neg), each (batch,), for raw maps (batch, token, height, width).

    L_pos is 0 or more, and 0 without modifiers; L_neg is 0 or less, and 0 without entities or with no piece outside them.
    `floor` is added to the maps for the divergence, see `pairs.distances`.
    """
    own = own_maps(maps, groups)
    modifier, noun, outside, image = pairs(groups, include_entities=True)
    apart = (_cosine_distances(own) if distance == "cosine" else distances(own, floor))[image]  # (pair, token, token)
    from_noun = furthest_piece(apart, noun)  # (pair, token)
    if distance == "cosine":
        within = from_noun.masked_fill(~modifier, 0).sum(dim=1)
    else:
        within = from_noun.masked_fill(~modifier, -torch.inf).amax(dim=1)
    bound = torch.where((modifier != noun).any(dim=1), within, torch.zeros_like(within))  # a noun may stand for its modifier
    away = from_noun.masked_fill(~outside, 0).sum(dim=1) / outside.sum(dim=1).clamp(min=1)
    return sum_per_image(bound, image, groups.images), sum_per_image(-away, image, groups.images)


def intensity(maps: Tensor, groups: TokenGroups, **softmax: Unpack[SoftmaxSettings]) -> Tensor:
    """Return L_int, (batch,), for raw maps (batch, token, height, width).

    From minus the number of entities to 0; 0 for an image without entities. `softmax` are the settings of `maps.excited_maps`.
    """
    peak = noun_maps(maps, groups, **softmax).amax(dim=(-2, -1))  # (entity,)
    return sum_per_image(-peak, groups.entity_image, groups.images)


def _cosine_distances(maps: Tensor) -> Tensor:
    """Return 1 - cos of all pairs of tokens, (batch, token, token), for maps (batch, token, height, width)."""
    direction = directions(maps)
    return 1 - direction @ direction.mT


@dataclass(frozen=True)
class ObjectLoss(RenormalisingLoss):
    """EBAMA's loss: bind modifiers to their object, keep it away from the rest, and raise its own attention.

    Zhang et al. 2024, arXiv 2404.07389. Components: `positive`, `negative` and `intensity`.

    >>> import torch
    >>> from unbleed.losses import AttentionMaps, ObjectLoss, TokenGroups
    >>> groups = TokenGroups.from_positions([[(2, [1]), (4, [3])]], length=6)  # "red cat blue bench"
    >>> terms = ObjectLoss().terms(AttentionMaps(torch.full((1, 6, 4, 4), 1 / 6)), groups)
    >>> {name: round(value.item(), 3) + 0.0 for name, value in terms.items()}  # even maps have no distance
    {'positive': 0.0, 'negative': 0.0, 'intensity': -0.25}
    """

    distance: Literal["cosine", "kl"] = setting(
        "cosine", help="distance of two maps: cosine, or symmetric Kullback-Leibler divergence"
    )
    weight_intensity: float = setting(0.5, help="weight of the peak attention of each object")
    floor: NotNegative = setting(FLOOR, help="added to each map before it is made a distribution, for the divergence")

    def terms(self, attention: AttentionMaps, groups: TokenGroups) -> dict[str, Tensor]:
        positive, negative = object_binding(attention.maps, groups, distance=self.distance, floor=self.floor)
        intense = self.weight_intensity * intensity(attention.maps, groups, **self.softmax)
        return {"positive": positive, "negative": negative, "intensity": intense}

    def applies_to(self, groups: TokenGroups) -> Tensor:
        return has_entities(groups)
