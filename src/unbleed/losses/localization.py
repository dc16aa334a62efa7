"""Entity localization and anchoring: every entity attends to a region of its own and to nothing else.

After ELA, Zhang et al., ICML 2024 (PMLR 235, OpenReview MsnJl6JkZS; no arXiv number known to us). A RECONSTRUCTION: only the
abstract of the paper was available, and no code. It names three steps: differentiation and binarization of the maps into
regions that do not overlap, a loss that keeps every entity in its region, and small updates of the latent. All formulas and
settings below are ours. With A_s the raw map of entity s, stretched to [0, 1] and smoothed,

    X_s = G * (A_s - min A_s) / (max A_s - min A_s)
    D_s = max(0, X_s - max over the other entities r of the image of X_r)    a lone entity: X_s
    M_s = the connected part of D_s > tau max D_s that contains the pixel of max D_s; corners connect
    L   = sum_s (1 - sum_xy X_s M_s / sum_xy X_s)^2 + lambda sum_s mean_xy X_s (1 - M_s)

No two regions overlap: at each pixel, D is above 0 for one entity at most. The first term is the energy of layout-guidance
(Chen et al. 2023, arXiv 2304.03373) with a region found instead of given. Regions are constants for the gradient.

Nouns alone are constrained: a modifier has no region and no term, so a colour may still be anywhere.

Ours as well: an entity that is nowhere ahead of all others has no region. Its fraction inside is 0, the worst, without
gradient; the second term then sharpens it everywhere, since stretching fixes its highest pixel. An even map counts as 0
everywhere and has no gradient, because stretching it would amplify noise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ..settings import NotNegative, Share, setting
from .base import AttentionMaps, Loss, has_entities, sum_per_image
from .components import component, side_by_side
from .groups import TokenGroups
from .maps import SIGMA, entity_maps, min_max, smooth


class Anchoring(NamedTuple):
    """The components of the loss, each (batch,) and 0 or more; the loss is their sum."""

    inside: Tensor  # at most 1 per entity
    outside: Tensor  # at most the weight per entity


def differentiate(entities: Tensor, groups: TokenGroups) -> Tensor:
    """Return D, (entity, height, width): how far an entity is ahead of all others of its image, 0 where it is not.

    `entities` (entity, height, width), 0 or more, in the order of `groups.noun`.
    """
    beside, _ = side_by_side(entities, groups.entity_image, groups.images)
    first, second = beside.topk(2, dim=1).values[groups.entity_image].unbind(dim=1)  # each (entity, height, width)
    return torch.where(entities >= first, entities - second, torch.zeros_like(entities))


def regions(maps: Tensor, groups: TokenGroups, *, tau: float = 0.4, sigma: float = SIGMA) -> Tensor:
    """Return M, bool (entity, height, width), for raw maps (batch, token, height, width), without gradient.

    No two regions of an image overlap, each is connected, and an entity that is nowhere ahead has an empty one.
    """
    return _regions(_stretched_maps(maps.detach(), groups, sigma), groups, tau)


def anchoring(
    maps: Tensor,
    groups: TokenGroups,
    masks: Tensor | None = None,
    *,
    tau: float = 0.4,
    weight_outside: float = 1.0,
    sigma: float = SIGMA,
) -> Anchoring:
    """Return the components of L, each (batch,), for raw maps (batch, token, height, width).

    `masks` bool (entity, height, width) are regions found earlier, for a caller that fixes them at some step; without them
    regions are found in `maps`. `weight_outside` is lambda.
    """
    entities = _stretched_maps(maps, groups, sigma)
    if masks is None:
        masks = _regions(entities.detach(), groups, tau)
    held = torch.where(masks, entities, torch.zeros_like(entities))
    fraction = held.sum(dim=(-2, -1)) / entities.sum(dim=(-2, -1)).clamp(min=1e-8)  # (entity,)
    leaked = (entities - held).mean(dim=(-2, -1))
    inside = sum_per_image((1 - fraction) ** 2, groups.entity_image, groups.images)
    outside = weight_outside * sum_per_image(leaked, groups.entity_image, groups.images)
    return Anchoring(inside, outside)


def _stretched_maps(maps: Tensor, groups: TokenGroups, sigma: float) -> Tensor:
    """Return X, (entity, height, width)."""
    stretched = min_max(entity_maps(maps, groups))
    uneven = stretched.detach().amax(dim=(-2, -1), keepdim=True) > 0
    return smooth(torch.where(uneven, stretched, torch.zeros_like(stretched)), sigma)


def _regions(entities: Tensor, groups: TokenGroups, tau: float) -> Tensor:
    ahead = differentiate(entities, groups)
    peak, pixel = ahead.flatten(1).max(dim=1)
    return component(ahead > tau * peak[:, None, None], pixel)


@dataclass(frozen=True)
class AnchoringLoss(Loss):
    """ELA's idea: every entity attends to a region of its own. Regions are found anew at every evaluation.

    After Zhang et al., ICML 2024; a reconstruction, all formulas are ours. Components: `inside` and `outside`.

    >>> import torch
    >>> from unbleed.losses import AnchoringLoss, TokenGroups
    >>> groups = TokenGroups.from_positions([[(2, [1]), (4, [3])]], length=6)  # "red cat blue bench"
    >>> maps = torch.zeros(1, 6, 4, 4)
    >>> maps[:, 2, :, :2] = maps[:, 4, :, 2:] = 0.3  # "cat" on the left, "bench" on the right
    >>> round(AnchoringLoss(sigma=0.0)(maps, groups).item(), 4)  # each is in its region already
    0.0
    """

    tau: Share = setting(0.4, help="fraction of an entity's largest lead over the others from which a pixel is in its region")
    weight_outside: float = setting(1.0, help="weight of the attention outside of the region")
    sigma: NotNegative = setting(SIGMA, help="width of the 3x3 smoothing of the maps, in pixels; 0 for none")

    def terms(self, attention: AttentionMaps, groups: TokenGroups) -> dict[str, Tensor]:
        return anchoring(attention.maps, groups, tau=self.tau, weight_outside=self.weight_outside, sigma=self.sigma)._asdict()

    def applies_to(self, groups: TokenGroups) -> Tensor:
        return has_entities(groups)
