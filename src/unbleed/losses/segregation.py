"""A-STAR: concepts attend to different pixels, and each keeps those that it had in the previous step.

Agarwal et al. 2023, arXiv 2306.14544, equations 2 and 3. With C the concepts of the prompt, A^m the map of m, and B^m its
map of the previous, noisier step made binary,

    L_seg = sum over pairs m > n in C of  sum_xy min(A^m, A^n) / sum_xy (A^m + A^n)
    L_ret = sum over m in C of  1 - sum_xy min(A^m, B^m) / sum_xy (A^m + B^m)

The denominators are sums, not unions: a pair's ratio lies in [0, 0.5], and the retention of a concept in [0.5, 1]. The
paper adds the two with equal weights, in every step down to the last. No code of the authors is known.

The paper leaves three things open. Ours: the maps A are those of Attend-and-Excite, renormalised over tokens and smoothed,
which puts A and B on one scale; B is 1 where the map, stretched to [0, 1], is a half or more; a concept is an entity's noun,
the sum of its pieces. An even previous map has no high region: B is 0, and the retention is the constant 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..settings import Share, setting
from .base import AttentionMaps, PreviousMaps, RenormalisingLoss, has_entities, sum_per_image
from .groups import TokenGroups
from .maps import FLOOR, SoftmaxSettings, min_max, noun_maps

if TYPE_CHECKING:
    from typing_extensions import Unpack


def segregation(maps: Tensor, groups: TokenGroups, **softmax: Unpack[SoftmaxSettings]) -> Tensor:
    """Return L_seg, (batch,), for raw maps (batch, token, height, width): 0 to 0.5 for every pair of entities.

    0 for an image with fewer than two entities. `softmax` are the settings of `maps.excited_maps`.
    """
    concept = noun_maps(maps, groups, **softmax)
    first, second, image = groups.entity_pairs
    return sum_per_image(_shared(concept[first], concept[second]), image, groups.images)


def retention(
    maps: Tensor,
    groups: TokenGroups,
    before: Tensor,
    *,
    threshold: float = 0.5,
    **softmax: Unpack[SoftmaxSettings],
) -> Tensor:
    """Return L_ret, (batch,), for raw maps (batch, token, height, width): 0.5 to 1 for every entity.

    `before` are the raw maps of the previous step, of the same shape, without gradient. An entity is to stay where its previous
    map, stretched to [0, 1], is `threshold` or more. 0 for an image without entities.
    """
    concept = noun_maps(maps, groups, **softmax)
    stretched = min_max(noun_maps(before.detach(), groups, **softmax))
    region = (stretched >= threshold).to(concept.dtype)  # (entity, height, width)
    return sum_per_image(1 - _shared(concept, region), groups.entity_image, groups.images)


def _shared(a: Tensor, b: Tensor) -> Tensor:
    """Return the overlap of two maps (..., height, width), (...): the sum of their minimum over the sum of both."""
    both = (a + b).sum(dim=(-2, -1))
    return torch.minimum(a, b).sum(dim=(-2, -1)) / both.clamp(min=FLOOR)  # both can underflow to 0 everywhere


@dataclass(frozen=True)
class SegregationLoss(RenormalisingLoss):
    """A-STAR's segregation: entities attend to different pixels.

    Agarwal et al. 2023, arXiv 2306.14544, equation 2. One component, `segregation`, from 0 to 0.5 for each pair of entities.

    >>> import torch
    >>> from unbleed.losses import SegregationLoss, TokenGroups
    >>> groups = TokenGroups.from_positions([[(2, [1]), (4, [3])]], length=6)  # "red cat blue bench"
    >>> SegregationLoss()(torch.full((1, 6, 4, 4), 1 / 6), groups)  # identical maps
    tensor([0.5000])
    """

    def terms(self, attention: AttentionMaps, groups: TokenGroups) -> dict[str, Tensor]:
        return {"segregation": segregation(attention.maps, groups, **self.softmax)}

    def applies_to(self, groups: TokenGroups) -> Tensor:
        return has_entities(groups, 2)


@dataclass(frozen=True)
class RetentionLoss(RenormalisingLoss):
    """A-STAR's retention: each entity keeps the pixels that it had in the previous step. 0 in the first step.

    Agarwal et al. 2023, arXiv 2306.14544, equation 3. One component, `retention`, from 0.5 to 1 for each entity.

    >>> import torch
    >>> from unbleed.losses import RetentionLoss, TokenGroups
    >>> groups = TokenGroups.from_positions([[(2, [1])]], length=4)  # "red cat"
    >>> maps = torch.full((1, 4, 4, 4), 1 / 4)
    >>> RetentionLoss()(maps, groups), RetentionLoss()(maps, groups, previous_maps=maps)  # an even map has no high region
    (tensor([0.]), tensor([1.]))
    """

    threshold: Share = setting(0.5, help="value of a stretched map from which a pixel is to be kept")

    @property
    def needs_previous_maps(self) -> PreviousMaps:
        return "moved"

    def terms(self, attention: AttentionMaps, groups: TokenGroups) -> dict[str, Tensor]:
        if attention.previous_maps is None:
            return {"retention": attention.maps.new_zeros(groups.images)}
        before, threshold = attention.previous_maps, self.threshold
        return {"retention": retention(attention.maps, groups, before, threshold=threshold, **self.softmax)}

    def applies_to(self, groups: TokenGroups) -> Tensor:
        return has_entities(groups)
