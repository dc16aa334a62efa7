"""Settling: a planned region is replaced by what has grown in it. A pure function on tensors."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..losses.components import component
from ..losses.groups import TokenGroups
from ..losses.maps import entity_maps, min_max


def settle(maps: Tensor, groups: TokenGroups, regions: Tensor, *, tau: float = 0.4, grow: float = 0.125) -> Tensor:
    """Return the settled regions, bool (entity, height, width), for maps (batch, token, height, width) of the same grid.

    With X_e the noun's map, stretched to [0, 1] and 0 outside its region, the settled region is the connected part around
    the maximum of X_e where X_e > tau max X_e and no other entity's map is larger, grown by `grow` times the square root of
    the grid's area. Where two grown regions meet, the planned regions decide; a part that another entity holds is never
    taken. An entity that has no attention in its region keeps the planned one.
    """
    height, width = regions.shape[-2:]
    entities = min_max(entity_maps(maps.float(), groups)) * regions
    image = groups.entity_image
    same = (image[:, None] == image[None, :]).fill_diagonal_(False)[:, :, None, None]
    rival = torch.where(same, entities[None], entities.new_zeros(())).amax(dim=1)
    peak, at = entities.flatten(1).max(dim=1)
    held = component((entities > tau * peak[:, None, None]) & (entities >= rival), at)
    reach = round(grow * (height * width) ** 0.5)
    grown = F.max_pool2d(held[:, None].float(), 2 * reach + 1, stride=1, padding=reach)[:, 0] > 0
    grown &= ~(same & held[None]).any(dim=1)
    contested = (same & grown[None]).any(dim=1)
    settled = torch.where(contested, grown & regions, grown)
    return torch.where(settled.flatten(1).any(dim=1)[:, None, None], settled, regions)
