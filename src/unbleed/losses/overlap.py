"""Attention overlap: entities go missing when their nouns attend to the same pixels.

Marioriyad et al. 2024, "Attention Overlap Is Responsible for the Entity Missing Problem", arXiv 2410.20972. A noun's map
is a distribution p over pixels, p = A / sum A, with centre mu in pixels. The losses, for two entities or three,

    iou              sum over pixels of p1 p2 / (p1 + p2), the mean over the pairs
    centre_distance  - |mu1 - mu2| / 10, or - (area of the triangle of the three centres) / 12.5
    divergence       - (mean of the directed terms KL(p_a || p_b))
    compactness      - (mean over pixels of max(p1, p2), or of max(p1, p2, p3))

and the quantities by which the paper studies why entities go missing,

    intensity        the smallest, over the entities, mean of the raw map
    spread           sum over pixels of p |pixel - mu|^2, the mean over the entities
    overlap_of       as iou

From the authors' code: it maximises the divergence and the compactness, hence our minus signs; the loss it was released with
is the distance of the centres.

Open in the paper, and ours: more than three entities have no formula, so each loss is then the mean over their pairs; a noun
of several pieces is the sum of their maps; the floor under the maps, without which logarithm and ratio fail at a pixel that
nothing attends to. The triangle's area comes from a cross product, for the square root of Heron's formula has an infinite
slope where the centres are in line. Where centres coincide, or lie exactly in line, distance and area have no slope: the
gradient there is 0. The scales 10 and 12.5 were made for grids of 16x16. The distance is limited
only by the grid, so it can push things into corners; `enough=-0.8` in `overlap-com` ends it at 8 pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ..settings import NotNegative, setting
from .base import AttentionMaps, Loss, has_entities, mean_per_image, sum_per_image
from .groups import TokenGroups
from .maps import FLOOR, distributions, entity_maps


def iou(maps: Tensor, groups: TokenGroups, *, floor: float = FLOOR) -> Tensor:
    """Return how much the nouns' maps overlap, (batch,), in [0, 0.5]: 0 disjoint, 0.5 identical.

    `maps` are raw, (batch, token, height, width); 0 for an image with fewer than two entities.
    """
    p = _distributions(maps, groups, floor)
    first, second, image = groups.entity_pairs
    both = (p[first] * p[second] / (p[first] + p[second])).sum(dim=(-2, -1))  # (pair,)
    return mean_per_image(both, image, groups.images)


def centre_distance(
    maps: Tensor, groups: TokenGroups, *, distance_scale: float = 10.0, area_scale: float = 12.5, floor: float = FLOOR
) -> Tensor:
    """Return minus how far apart the centres of the nouns' maps are, (batch,), 0 or less.

    `maps` are raw, (batch, token, height, width); 0 for an image with fewer than two entities. Three entities count with
    the area between their centres, in square pixels, over `area_scale`; any other number with the mean distance of two, in
    pixels, over `distance_scale`.
    """
    p = _distributions(maps, groups, floor)
    centre = _centres(p)  # (entity, 2)
    first, second, image = _pairs_but_of_three(groups)
    distance = torch.linalg.vector_norm(centre[first] - centre[second], dim=-1)  # its slope at 0 is 0
    corner, image_of_three = _threes(groups)
    a, b, c = centre[corner].unbind(dim=1)  # each (three, 2)
    u, v = b - a, c - a
    area = (u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0]).abs() / 2
    closeness = mean_per_image(-distance / distance_scale, image, groups.images)
    return closeness + sum_per_image(-area / area_scale, image_of_three, groups.images)


def divergence(maps: Tensor, groups: TokenGroups, *, floor: float = FLOOR) -> Tensor:
    """Return minus the symmetric Kullback-Leibler divergence of the nouns' maps in nats, (batch,), 0 or less.

    `maps` are raw, (batch, token, height, width); 0 for an image with fewer than two entities. `floor` bounds it below.
    """
    p = _distributions(maps, groups, floor)
    log_p = p.log()
    first, second, image = groups.entity_pairs
    both_ways = ((p[first] - p[second]) * (log_p[first] - log_p[second])).sum(dim=(-2, -1))  # (pair,)
    return mean_per_image(-both_ways / 2, image, groups.images)


def compactness(maps: Tensor, groups: TokenGroups, *, floor: float = FLOOR) -> Tensor:
    """Return minus the mean over pixels of the largest of the nouns' distributions, (batch,).

    `maps` are raw, (batch, token, height, width); 0 for an image with fewer than two entities. With n pixels it is -1/n
    for identical maps, -2/n for disjoint ones, -3/n for three that are disjoint.
    """
    p = _distributions(maps, groups, floor)
    first, second, image = _pairs_but_of_three(groups)
    of_pairs = torch.maximum(p[first], p[second]).mean(dim=(-2, -1))  # (pair,)
    row, image_of_three = _threes(groups)
    of_threes = p[row].amax(dim=1).mean(dim=(-2, -1))  # (three,)
    by_pairs = mean_per_image(-of_pairs, image, groups.images)
    return by_pairs + sum_per_image(-of_threes, image_of_three, groups.images)


def intensity(maps: Tensor, groups: TokenGroups) -> Tensor:
    """Return the mean over pixels of the weakest noun's raw map, (batch,), 0 or more; 0 for an image without entities.

    `maps` are raw, (batch, token, height, width), such as recorded ones with steps as the batch.
    """
    strength = entity_maps(maps, groups).mean(dim=(-2, -1))  # (entity,)
    weakest = strength.new_zeros(groups.images)
    return weakest.scatter_reduce(0, groups.entity_image, strength, reduce="amin", include_self=False)


def spread(maps: Tensor, groups: TokenGroups, *, floor: float = FLOOR) -> Tensor:
    """Return the spatial variance of the nouns' maps in square pixels, (batch,); 0 for an image without entities.

    `maps` are raw, (batch, token, height, width), such as recorded ones with steps as the batch. The mean over the entities; 0
    where each attends to a single pixel.
    """
    p = _distributions(maps, groups, floor)
    centre = _centres(p)
    rows, columns = _coordinates(p)
    squared = (rows - centre[:, 0, None, None]) ** 2 + (columns - centre[:, 1, None, None]) ** 2
    return mean_per_image((p * squared).sum(dim=(-2, -1)), groups.entity_image, groups.images)


def overlap_of(maps: Tensor, groups: TokenGroups, *, floor: float = FLOOR) -> Tensor:
    """Return the paper's measure of overlap, (batch,), in [0, 0.5]: the same as `iou`."""
    return iou(maps, groups, floor=floor)


def _distributions(maps: Tensor, groups: TokenGroups, floor: float) -> Tensor:
    """Return the nouns' maps as distributions over pixels, (entity, height, width)."""
    return distributions(entity_maps(maps, groups), floor)


def _coordinates(p: Tensor) -> tuple[Tensor, Tensor]:
    """Return the row (height, 1) and the column (1, width) of each pixel."""
    height, width = p.shape[-2:]
    rows = torch.arange(height, dtype=p.dtype, device=p.device)
    columns = torch.arange(width, dtype=p.dtype, device=p.device)
    return rows[:, None], columns[None, :]


def _centres(p: Tensor) -> Tensor:
    """Return the mean row and column of distributions, (entity, 2)."""
    rows, columns = _coordinates(p)
    return torch.stack([(p * rows).sum(dim=(-2, -1)), (p * columns).sum(dim=(-2, -1))], dim=-1)


def _has_three(groups: TokenGroups) -> Tensor:
    """Return bool (batch,): which images have exactly three entities."""
    return torch.bincount(groups.entity_image, minlength=groups.images) == 3


def _pairs_but_of_three(groups: TokenGroups) -> tuple[Tensor, Tensor, Tensor]:
    """Return `entity_pairs` without those of images of exactly three entities."""
    first, second, image = groups.entity_pairs
    keep = ~_has_three(groups)[image]
    return first[keep], second[keep], image[keep]


def _threes(groups: TokenGroups) -> tuple[Tensor, Tensor]:
    """Return the entities of the images that have exactly three, long (three, 3), and their image, long (three,)."""
    rows = _has_three(groups)[groups.entity_image].nonzero().view(-1, 3)  # the entities of an image are adjacent
    return rows, groups.entity_image[rows[:, 0]]


Overlap = Literal["iou", "com", "kl", "cc"]
_OVERLAPS = {"iou": iou, "com": centre_distance, "kl": divergence, "cc": compactness}


@dataclass(frozen=True)
class OverlapLoss(Loss):
    """Overlap of the entities' maps, in one of the four forms of Marioriyad et al. 2024, arXiv 2410.20972.

    One component, "overlap" and the kind.

    >>> import torch
    >>> from unbleed.losses import OverlapLoss, TokenGroups
    >>> groups = TokenGroups.from_positions([[(2, [1]), (4, [3])]], length=6)  # "red cat blue bench"
    >>> maps = torch.full((1, 6, 4, 4), 1 / 6)
    >>> round(OverlapLoss("iou")(maps, groups).item(), 4)  # identical maps
    0.5
    """

    kind: Overlap = setting(
        "iou", help="`iou`, `com` (distance of the centres of mass), `kl` (divergence) or `cc` (compactness)"
    )
    floor: NotNegative = setting(FLOOR, help="added to each map before it is made a distribution")

    def terms(self, attention: AttentionMaps, groups: TokenGroups) -> dict[str, Tensor]:
        return {f"overlap {self.kind}": _OVERLAPS[self.kind](attention.maps, groups, floor=self.floor)}

    def applies_to(self, groups: TokenGroups) -> Tensor:
        return has_entities(groups, 2)
