"""Attend-and-Excite: the most neglected entity must have one pixel that attends to it.

Chefer et al. 2023, arXiv 2301.13826, equations 2 and 3. With A the averaged maps,

    Z(A) = softmax over tokens of 100 A, without the start token and the last position
    X_s  = G * Z(A)_s                         for every entity s, G a 3x3 smoothing
    L    = max_s max(0, 1 - max_xy X_s)

Two facts of the authors' code that the paper does not state and on which the published thresholds rest:

- the kernel's exponent is -((x - mu) / (2 sigma))^2, so sigma = 0.5 is in truth a deviation of 0.707, and the
  one-dimensional taps are 0.212, 0.576, 0.212;
- for Stable Diffusion 1 the softmax keeps the end token and the padding; for Stable Diffusion 2 (padded with "!") it
  ends before the end token.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from ..settings import AtLeastOne, setting
from .base import AttentionMaps, RenormalisingLoss, has_entities, worst_per_image
from .groups import TokenGroups
from .maps import SoftmaxSettings, excited_maps

if TYPE_CHECKING:
    from typing_extensions import Unpack


def excite(
    maps: Tensor,
    groups: TokenGroups,
    *,
    pieces: Literal["sum", "last"] = "sum",
    places: int = 1,
    **softmax: Unpack[SoftmaxSettings],
) -> Tensor:
    """Return L, (batch,), from 0 to 1, for raw maps (batch, token, height, width); 0 for an image without entities.

    Of a noun of several pieces, `"sum"` adds the maps (the probability of the word), `"last"` takes the last piece. The peak is
    the mean of the top `places` values (Self-Cross takes 16). `softmax` are the settings of `maps.excited_maps`.
    """
    noun = groups.noun if pieces == "sum" else _last_piece(groups.noun)
    return neglect(excited_maps(maps, groups, noun, groups.entity_image, **softmax), groups, places)


def neglect(entities: Tensor, groups: TokenGroups, places: int) -> Tensor:
    """Return L, (batch,), for the maps X of the entities, (entity, height, width)."""
    flat = entities.flatten(1)
    peak = flat.topk(min(places, flat.shape[1]), dim=1).values.mean(dim=1)  # (entity,)
    return worst_per_image((1 - peak).clamp(min=0), groups.entity_image, groups.images)


def _last_piece(words: Tensor) -> Tensor:
    position = torch.arange(words.shape[1], device=words.device)
    last = (words * position).amax(dim=1, keepdim=True)
    return words & (position == last)


@dataclass(frozen=True)
class ExciteLoss(RenormalisingLoss):
    """Attend-and-Excite's loss: raise the peak attention to the most neglected entity.

    Chefer et al. 2023, arXiv 2301.13826, equations 2 and 3. One component, `excite`, from 0 to 1.

    >>> import torch
    >>> from unbleed.losses import ExciteLoss, TokenGroups
    >>> groups = TokenGroups.from_positions([[(2, [1]), (4, [3])]], length=6)  # "red cat blue bench"
    >>> ExciteLoss()(torch.full((1, 6, 4, 4), 1 / 6), groups)  # four tokens in the softmax, each with a quarter
    tensor([0.7500])
    """

    pieces: Literal["sum", "last"] = setting("sum", help="of a noun of several pieces: the sum of their maps, or the last one")
    places: AtLeastOne = setting(1, help="the peak of an entity is the mean of this number of its highest pixels")

    def terms(self, attention: AttentionMaps, groups: TokenGroups) -> dict[str, Tensor]:
        return {"excite": excite(attention.maps, groups, pieces=self.pieces, places=self.places, **self.softmax)}

    def applies_to(self, groups: TokenGroups) -> Tensor:
        return has_entities(groups)
