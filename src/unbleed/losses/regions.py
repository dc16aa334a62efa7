"""The pull: every entity attends from inside its region.

With A_e the raw map of entity e's noun and R_e its region,

    L = sum over e of (1 - sum of A_e over R_e / sum of A_e)^2

the energy of layout guidance (Chen et al. 2023, arXiv 2304.03373), for regions that were found or given. Regions are constants
for the gradient.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import MethodError
from .base import AttentionMaps, Loss, has_entities, sum_per_image
from .groups import TokenGroups
from .maps import entity_maps


def pull(maps: Tensor, groups: TokenGroups, regions: Tensor, *, floor: float = 1e-8) -> Tensor:
    """Return L, (batch,), for raw maps (batch, token, height, width) and regions (entity, height, width) of the same grid.

    An entity whose region is everywhere adds 0.

    >>> import torch
    >>> from unbleed.losses.groups import TokenGroups
    >>> groups = TokenGroups(
    ...     images=1, noun=torch.tensor([[False, True]]), entity_image=torch.tensor([0]),
    ...     modifier=torch.zeros(0, 2, dtype=torch.bool), modifier_entity=torch.zeros(0, dtype=torch.long),
    ...     prompt=torch.tensor([[False, True]]), padded_with_end=torch.tensor([True]))
    >>> left = torch.tensor([[[True, False], [True, False]]])
    >>> round(pull(torch.full((1, 2, 2, 2), 0.5), groups, left).item(), 4)  # half of the attention is outside
    0.25
    """
    entities = entity_maps(maps.float(), groups)
    inside = (entities * regions).sum(dim=(-2, -1)) / (entities.sum(dim=(-2, -1)) + floor)
    everywhere = regions.flatten(1).all(dim=1)
    lost = torch.where(everywhere, torch.zeros_like(inside), (1 - inside) ** 2)
    return sum_per_image(lost, groups.entity_image, groups.images).to(maps.dtype)


@dataclass(frozen=True)
class RegionLoss(Loss):
    """Pull every entity into its region. For methods whose edits have regions, such as `unbleed.methods.Regions`.

    After layout guidance, Chen et al. 2023, arXiv 2304.03373. One component, `pull`, from 0 to 1 for each entity.

    >>> import torch
    >>> from unbleed.losses import RegionLoss, TokenGroups
    >>> groups = TokenGroups.from_positions([[(2, [1])]], length=4)  # "red cat"
    >>> left = torch.tensor([[[True, False], [True, False]]])
    >>> round(RegionLoss()(torch.full((1, 4, 2, 2), 1 / 4), groups, regions=left).item(), 4)  # half of the attention is outside
    0.25

    Raises `MethodError` when it is given no regions.
    """

    @property
    def reads_regions(self) -> bool:
        return True

    def terms(self, seen: AttentionMaps, groups: TokenGroups) -> dict[str, Tensor]:
        if seen.regions is None:
            raise MethodError(
                "RegionLoss has no regions to read; it needs a method that finds them, such as unbleed.methods.Regions"
            )
        return {"pull": pull(seen.maps, groups, seen.regions)}

    def applies_to(self, groups: TokenGroups) -> Tensor:
        return has_entities(groups, 1)  # a lone one has a region where the user gave one
