"""How well the attention of a first noise suits a layout: the score by which a first noise is chosen.

With A_e the blurred raw map of entity e's noun and R_e the regions that `layout` finds,

    L = (floor + max over pixels outside of all regions of the sum over e of A_e) / min over e of (max over R_e of A_e)

It is low where every noun has a pixel of its own that attends to it, and nothing that is named grows in the background.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..losses.base import AttentionMaps, Loss, has_entities
from ..losses.groups import TokenGroups
from ..losses.maps import blur, entity_maps
from .layout import layout


def layout_score(maps: Tensor, groups: TokenGroups, regions: Tensor, *, sigma: float = 0.0625, floor: float = 1e-3) -> Tensor:
    """Return L, (batch,), for raw maps (batch, token, height, width) and regions, bool (entity, height, width).

    `sigma` is the blur, as a fraction of the grid's size. 0 for an image without entities.
    """
    entities, image = blur(entity_maps(maps.float(), groups), sigma), groups.entity_image
    peak = torch.where(regions, entities, torch.zeros_like(entities)).flatten(1).amax(dim=1)
    least = peak.new_full((groups.images,), torch.inf).scatter_reduce(0, image, peak, reduce="amin")
    together = entities.new_zeros(groups.images, *maps.shape[-2:]).index_add(0, image, entities)
    covered = torch.zeros_like(together).index_add(0, image, regions.to(together.dtype)) > 0
    outside = together.masked_fill(covered, 0).flatten(1).amax(dim=1)
    return (floor + outside) / least.clamp(min=1e-8)


@dataclass(frozen=True)
class LayoutLoss(Loss):
    """See `layout_score`. Regions are those of `layout` with the settings of the same names.

    It has no gradient to follow. Where a user gives regions, noises are arranged for these first (`unbleed.regions.arrange`).
    """

    sigma: float = 0.125
    spacing: float = 0.45
    margin: float = 0.16
    radius: float = 0.36

    def terms(self, seen: AttentionMaps, groups: TokenGroups) -> dict[str, Tensor]:
        maps = seen.maps.detach()
        regions = layout(maps, groups, sigma=self.sigma, spacing=self.spacing, margin=self.margin, radius=self.radius)
        return {"layout": layout_score(maps, groups, regions)}

    def applies_to(self, groups: TokenGroups) -> Tensor:
        return has_entities(groups, 2)
