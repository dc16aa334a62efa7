"""Suppress-to-Impress: an entity's attention is even over its object, exclusive to it, and low everywhere else.

A RECONSTRUCTION, inspired by the project page of Suppress-to-Impress (Glanceyes, 2023, "on-going"; no paper, no arXiv
number). The page states no method, only the aim: suppress what is not in focus, without a mask, instead of raising maxima as
Attend-and-Excite does, because activation that is even over an object and belongs to one entity alone is said to go with
quality. Its unfinished code contradicts the aim (it needs masks of every object, and its inner loop moves maps instead of the
latent), so no formula is taken from it. All formulas below are ours. With X_s the smoothed map of
Attend-and-Excite (see `excite`) and its focus

    F_s = pixels where X_s > 0.5 max X_s and X_s > X_r for all other entities r of the image

    outside     = sum_s mean of X_s over the pixels outside F_s
    evenness    = sum_s variance of X_s in F_s / (mean of X_s in F_s)^2
    exclusivity = sum_{s<r} sum_xy min(X_s, X_r) / sum_xy (X_s + X_r)
    intensity   = sum_s max(0, 1 - mean of the k largest X_s in F_s)
    L           = outside + evenness + exclusivity + intensity, each times its weight

Without the last term no attention at all would be the best. The focus is a constant for the gradient. A pixel where entities
tie is in no focus. An entity without focus has no evenness, and its intensity is that of its k largest pixels anywhere: the
intensity is for such neglected entities. With more than two entities the pairs are summed.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from ..settings import AtLeastOne, Share, setting
from .base import AttentionMaps, RenormalisingLoss, has_entities, sum_per_image
from .groups import TokenGroups
from .localization import differentiate
from .maps import FLOOR, SoftmaxSettings, noun_maps

if TYPE_CHECKING:
    from typing_extensions import Unpack


class Suppression(NamedTuple):
    """The weighted components of the loss, each (batch,) and 0 or more; the loss is their sum."""

    outside: Tensor  # at most the weight per entity
    evenness: Tensor
    exclusivity: Tensor  # at most half the weight per pair of entities
    intensity: Tensor  # at most the weight per entity


def focus(entities: Tensor, groups: TokenGroups, *, level: float = 0.5) -> Tensor:
    """Return F, bool (entity, height, width), without gradient; no two of an image overlap.

    `entities` (entity, height, width), 0 or more, in the order of `groups.noun`; `level` is the fraction of an
    entity's highest value that a pixel must exceed.
    """
    entities = entities.detach()
    high = entities > level * entities.amax(dim=(-2, -1), keepdim=True)
    return high & (differentiate(entities, groups) > 0)


def suppression(
    maps: Tensor,
    groups: TokenGroups,
    *,
    level: float = 0.5,
    k: int = 8,
    weight_outside: float = 1.0,
    weight_evenness: float = 1.0,
    weight_exclusivity: float = 1.0,
    weight_intensity: float = 1.0,
    **softmax: Unpack[SoftmaxSettings],
) -> Suppression:
    """Return the components of the loss, each (batch,), for raw maps (batch, token, height, width).

    `k` is meant for a grid of 16x16; a focus of fewer pixels counts with those it has. `softmax` are the settings of
    `maps.excited_maps`.
    """
    entities = noun_maps(maps, groups, **softmax)
    inside = focus(entities, groups, level=level)
    first, second, pair_image = groups.entity_pairs

    def per_image(values: Tensor, image: Tensor, weight: float) -> Tensor:
        return weight * sum_per_image(values, image, groups.images)

    return Suppression(
        outside=per_image(_mean(entities, ~inside), groups.entity_image, weight_outside),
        evenness=per_image(_unevenness(entities, inside), groups.entity_image, weight_evenness),
        exclusivity=per_image(_overlap(entities[first], entities[second]), pair_image, weight_exclusivity),
        intensity=per_image((1 - _mean_of_largest(entities, inside, k)).clamp(min=0), groups.entity_image, weight_intensity),
    )


def _mean(maps: Tensor, where: Tensor) -> Tensor:
    """Return (map,): the mean over the pixels `where`, bool (map, height, width); 0 if there are none."""
    return torch.where(where, maps, torch.zeros_like(maps)).sum(dim=(-2, -1)) / where.sum(dim=(-2, -1)).clamp(min=1)


def _unevenness(maps: Tensor, where: Tensor) -> Tensor:
    # divided before squaring: the square of a small mean would underflow
    ratio = maps / _mean(maps, where).clamp(min=FLOOR)[:, None, None]
    return _mean((ratio - 1) ** 2, where)


def _overlap(one: Tensor, other: Tensor) -> Tensor:
    return torch.minimum(one, other).sum(dim=(-2, -1)) / (one + other).sum(dim=(-2, -1)).clamp(min=FLOOR)


def _mean_of_largest(maps: Tensor, where: Tensor, k: int) -> Tensor:
    anywhere = where | ~where.any(dim=-1, keepdim=True).any(dim=-2, keepdim=True)
    flat = maps.masked_fill(~anywhere, -1).flatten(1)  # no map is below 0
    largest = flat.topk(min(k, flat.shape[1]), dim=1).values
    found = largest >= 0
    return torch.where(found, largest, torch.zeros_like(largest)).sum(dim=1) / found.sum(dim=1).clamp(min=1)


@dataclass(frozen=True)
class SuppressionLoss(RenormalisingLoss):
    """Suppress attention outside of an entity's focus: even inside, exclusive to one entity, low elsewhere.

    After the project page of Suppress-to-Impress, 2023; a reconstruction, all formulas are ours. Components: `outside`,
    `evenness`, `exclusivity` and `intensity`.

    >>> import torch
    >>> from unbleed.losses import AttentionMaps, SuppressionLoss, TokenGroups
    >>> groups = TokenGroups.from_positions([[(2, [1]), (4, [3])]], length=6)  # "red cat blue bench"
    >>> terms = SuppressionLoss().terms(AttentionMaps(torch.full((1, 6, 4, 4), 1 / 6)), groups)
    >>> {name: round(value.item(), 4) for name, value in terms.items()}  # identical maps have no focus
    {'outside': 0.5, 'evenness': 0.0, 'exclusivity': 0.5, 'intensity': 1.5}
    """

    level: Share = setting(0.5, help="fraction of an entity's highest value from which a pixel is in its focus")
    k: AtLeastOne = setting(8, help="number of pixels whose mean is the intensity")
    weight_outside: float = setting(1.0, help="weight of the mean attention outside of the focus")
    weight_evenness: float = setting(1.0, help="weight of the relative variance inside the focus")
    weight_exclusivity: float = setting(1.0, help="weight of the overlap of entities")
    weight_intensity: float = setting(1.0, help="weight of the distance of the intensity from 1")

    def terms(self, attention: AttentionMaps, groups: TokenGroups) -> dict[str, Tensor]:
        return suppression(attention.maps, groups, **asdict(self))._asdict()

    def applies_to(self, groups: TokenGroups) -> Tensor:
        return has_entities(groups)
