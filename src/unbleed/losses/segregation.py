"""A-STAR: concepts attend to different places, and each keeps the places that it had a step ago.

Agarwal et al. 2023, arXiv 2306.14544, equations 2 and 3. With C the concepts of the prompt, A^m the map of m, and B^m its
map of the previous, noisier, step made binary,

    L_seg = sum over pairs m > n in C of  sum_xy min(A^m, A^n) / sum_xy (A^m + A^n)
    L_ret = sum over m in C of  1 - sum_xy min(A^m, B^m) / sum_xy (A^m + B^m)

The denominators are sums, not unions: a pair's ratio lies in [0, 0.5], and the retention of a concept in [0.5, 1]. The
paper adds the two with equal weights, in every step down to the last. No code of the authors is known.

Open in the paper, and ours: which maps A are, so they are those of Attend-and-Excite, renormalised over tokens and smoothed,
which puts A and B on one scale; where B is 1, so it is where the map, stretched to [0, 1], reaches a half; what a concept
is, so it is an entity's noun, the sum of its pieces. A previous map that is even has no high region, B is 0, and the
retention is the constant 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..settings import Share
from .base import AttentionMaps, PreviousMaps, RenormalisingLoss, has_entities, sum_per_image
from .groups import TokenGroups
from .maps import Kept, in_single, min_max, renormalise, smooth, word_maps


def segregation(
    maps: Tensor, groups: TokenGroups, *, kept: Kept = "auto", temperature: float = 100.0, sigma: float = 0.5
) -> Tensor:
    """Return L_seg, (batch,), for raw maps (batch, token, height, width): 0 to 0.5 for every pair of entities.

    0 for an image with fewer than two entities.
    """
    concept = _concepts(maps, groups, kept, temperature, sigma)
    first, second, image = groups.entity_pairs
    shared = _shared(concept[first], concept[second])
    return sum_per_image(shared, image, groups.images).to(maps.dtype)


def retention(
    maps: Tensor,
    groups: TokenGroups,
    before: Tensor,
    *,
    threshold: float = 0.5,
    kept: Kept = "auto",
    temperature: float = 100.0,
    sigma: float = 0.5,
) -> Tensor:
    """Return L_ret, (batch,), for raw maps (batch, token, height, width): 0.5 to 1 for every entity.

    `before` are the raw maps of the previous step, of the same shape; no gradient reaches them. An entity is to stay where
    its map of then, stretched to [0, 1], is `threshold` or more. 0 for an image without entities.
    """
    concept = _concepts(maps, groups, kept, temperature, sigma)
    stretched = min_max(_concepts(before.detach(), groups, kept, temperature, sigma))
    region = (stretched >= threshold).to(concept.dtype)  # (entity, height, width)
    return sum_per_image(1 - _shared(concept, region), groups.entity_image, groups.images).to(maps.dtype)


def _concepts(maps: Tensor, groups: TokenGroups, kept: Kept, temperature: float, sigma: float) -> Tensor:
    """Return the nouns' maps as Attend-and-Excite makes them, (entity, height, width)."""
    probability = renormalise(in_single(maps), groups, kept, temperature)
    return smooth(word_maps(probability, groups.noun, groups.entity_image), sigma)


def _shared(a: Tensor, b: Tensor) -> Tensor:
    """Return what two maps (..., height, width) share, (...): the sum of the smaller over the sum of both."""
    both = (a + b).sum(dim=(-2, -1))
    return torch.minimum(a, b).sum(dim=(-2, -1)) / both.clamp(min=1e-8)  # both can underflow to 0 everywhere


@dataclass(frozen=True)
class SegregationLoss(RenormalisingLoss):
    """See `segregation`."""

    def terms(self, seen: AttentionMaps, groups: TokenGroups) -> dict[str, Tensor]:
        return {"segregation": segregation(seen.maps, groups, **self.reading)}

    def applies_to(self, groups: TokenGroups) -> Tensor:
        return has_entities(groups, 2)


@dataclass(frozen=True)
class RetentionLoss(RenormalisingLoss):
    """See `retention`; 0 in the first step, which has none before it."""

    threshold: Share = 0.5

    @property
    def needs_previous_maps(self) -> PreviousMaps:
        return "moved"

    def terms(self, seen: AttentionMaps, groups: TokenGroups) -> dict[str, Tensor]:
        if seen.previous_maps is None:
            return {"retention": seen.maps.new_zeros(groups.images)}
        return {"retention": retention(seen.maps, groups, seen.previous_maps, threshold=self.threshold, **self.reading)}

    def applies_to(self, groups: TokenGroups) -> Tensor:
        return has_entities(groups)
