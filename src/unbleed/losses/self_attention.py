"""InitNO and Self-Cross: entities must not share what their pixels attend to within the image.

InitNO: Guo et al. 2024, arXiv 2404.04650. Self-Cross: Qiu et al. 2024, arXiv 2411.18936. With X_s the smoothed map of
Attend-and-Excite (see `excite`) and P the self-attention, P[q, k] from pixel q to pixel k,

    response   = max_s max(0, 1 - max_xy X_s)                         the loss of `excite`; Self-Cross: mean of 16 pixels
    conflict   = mean_{s<r} sum_xy min(S_s, S_r) / sum_xy (S_s + S_r)  S_s = G * P[arg max X_s]
    stray      = sum_s max of X_s outside C_s, where it exceeds the least X_s inside C_s
    self-cross = mean_{s!=r} sum_xy min(R_r, X_s)                      R_s = G * sum_q in O_s of X_s[q] P[q], sum 1

O_s are the pixels above Otsu's threshold of X_s, and C_s their connected part that contains the arg-max. Pixels, thresholds and
parts are constants for the gradient, so `conflict` has a gradient for the self-attention alone.

From the authors' codes:

- while the response is above 0.5, an arg-max means little and `conflict` and `self_cross` have no gradient. InitNO does so
  while it looks for the initial noise only: when it denoises, the conflict always counts (here `gate=1`). Their value
  there is 0 in the authors' loss, and 1 where they rank noises by it; here it is 1, the most that either can be, so that
  a loss does not look low because a part of it was left out.
- `stray`, their "clean" loss, has the condition on the least value inside, which the paper does not state; without it an
  entity in one piece would be pushed down at the rim of its own part. Corners do not connect.
- Self-Cross makes X_s in the minimum sum to 1 where the grid is larger than 16x16, and leaves it below.

Ours: they find Otsu's threshold t of values that are cut to multiples of 1/255, one bin each from 0 to 1, and a pixel is
above it from t on, so those of t's own bin are; here 256 bins lie between the least and the largest value of the map, and a
pixel is above t only if its bin is. They add 1e-4 to the sums by which maps are divided while they denoise, and nothing
while they search for the first noise; here a sum is at least 1e-4. They take one token of an entity; here its pieces are
summed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from ..errors import CaptureError
from ..settings import AtLeastOne, setting
from .base import AttentionMaps, RenormalisingLoss, has_entities, mean_per_image, sum_per_image
from .components import component, side_by_side
from .excite import neglect
from .groups import TokenGroups
from .maps import SIGMA, SoftmaxSettings, noun_maps, smooth

if TYPE_CHECKING:
    from typing_extensions import Unpack


def otsu(maps: Tensor, bins: int = 256) -> Tensor:
    """Return thresholds, (map,), for maps (map, height, width): the split with the largest variance between its sides.

    A threshold is the largest value of the lower side: `maps > threshold` is the upper side, which is empty for an even map.
    Without gradient.
    """
    flat = maps.detach().flatten(1)  # (map, pixel)
    low, high = flat.amin(dim=1, keepdim=True), flat.amax(dim=1, keepdim=True)
    stretched = (flat - low) / (high - low).clamp(min=torch.finfo(flat.dtype).tiny)
    level = (stretched * bins).long().clamp(max=bins - 1)
    count = flat.new_zeros(len(flat), bins).scatter_add(1, level, torch.ones_like(flat))
    below = count.cumsum(dim=1)  # pixels at this level or lower
    mass = (count * torch.arange(bins, dtype=flat.dtype, device=flat.device)).cumsum(dim=1)
    above = below[:, -1:] - below
    difference = mass / below - (mass[:, -1:] - mass) / above.clamp(min=1)  # the lowest level always has a pixel
    split = (below * above * difference**2).argmax(dim=1, keepdim=True)
    return torch.where(level <= split, flat, low).amax(dim=1)


def conflict(
    maps: Tensor,
    self_maps: Tensor,
    groups: TokenGroups,
    *,
    gate: float = 0.5,
    **softmax: Unpack[SoftmaxSettings],
) -> Tensor:
    """Return InitNO's self-attention conflict, (batch,), in [0, 0.5], for raw maps (batch, token, height, width).

    `self_maps` (batch, pixel, pixel) on the same grid: each row is what one pixel attends to, and sums to 1. The value is 0 for
    an image with fewer than two entities, and 1, without gradient, for one whose response is above `gate`. `softmax` are the
    settings of `maps.excited_maps`.
    """
    _check_grid(maps, self_maps)
    entities = noun_maps(maps, groups, **softmax)
    pixel = entities.detach().flatten(1).argmax(dim=1)
    rows = self_maps[groups.entity_image, pixel].unflatten(1, entities.shape[1:])
    rows = smooth(rows, softmax.get("sigma", SIGMA))  # (entity, height, width)
    first, second, image = groups.entity_pairs
    shared = torch.minimum(rows[first], rows[second]).sum(dim=(-2, -1))
    total = (rows[first] + rows[second]).sum(dim=(-2, -1))  # about 2
    value = mean_per_image(shared / total.clamp(min=1e-3), image, groups.images)
    return _gated(value, entities, groups, gate, places=1)


def stray(maps: Tensor, groups: TokenGroups, **softmax: Unpack[SoftmaxSettings]) -> Tensor:
    """Return InitNO's clean loss, (batch,), at most 1 per entity, for raw maps (batch, token, height, width).

    `softmax` are the settings of `maps.excited_maps`.
    """
    entities = noun_maps(maps, groups, **softmax)
    fixed = entities.detach()
    own = component(_upper_side(fixed), fixed.flatten(1).argmax(dim=1), diagonal=False)
    least = fixed.masked_fill(~own, torch.inf).amin(dim=(-2, -1))
    outside = torch.where(own, torch.zeros_like(entities), entities).amax(dim=(-2, -1))  # (entity,)
    counted = torch.where(outside > least, outside, torch.zeros_like(outside))
    return sum_per_image(counted, groups.entity_image, groups.images)


def self_cross(
    maps: Tensor,
    self_maps: Tensor,
    groups: TokenGroups,
    *,
    gate: float = 0.5,
    places: int = 16,
    normalise: Literal["auto", "always", "never"] = "auto",
    **softmax: Unpack[SoftmaxSettings],
) -> Tensor:
    """Return Self-Cross, (batch,), in [0, 1], for raw maps (batch, token, height, width).

    `self_maps` (batch, pixel, pixel) on the same grid: each row is what one pixel attends to, and sums to 1. The value is 0 for
    an image with fewer than two entities, and 1, without gradient, for one whose response, the mean of the top `places` values,
    is above `gate`. `normalise`: whether X_s sums to 1 in the minimum with R_r; "auto" does so on grids of more than 16x16
    pixels. `softmax` are the settings of `maps.excited_maps`.
    """
    _check_grid(maps, self_maps)
    entities = noun_maps(maps, groups, **softmax)
    weight = torch.where(_upper_side(entities.detach()), entities, torch.zeros_like(entities)).flatten(1)
    beside, slot = side_by_side(weight, groups.entity_image, groups.images)  # (batch, slot, pixel)
    # in slots, so that the self-attention of an image is not copied for each of its entities
    reached = (beside @ self_maps.to(beside.dtype))[groups.entity_image, slot]
    reached = _sum_to_one(
        smooth(reached.unflatten(1, entities.shape[1:]), softmax.get("sigma", SIGMA))
    )  # (entity, height, width)
    stretched = normalise == "always" or (normalise == "auto" and weight.shape[1] > 16 * 16)
    met = _sum_to_one(entities) if stretched else entities
    first, second, image = groups.entity_pairs
    attended, attending = torch.cat([first, second]), torch.cat([second, first])
    shared = torch.minimum(reached[attending], met[attended]).sum(dim=(-2, -1))  # (ordered pair,)
    value = mean_per_image(shared, image.repeat(2), groups.images)
    return _gated(value, entities, groups, gate, places)


def _gated(value: Tensor, entities: Tensor, groups: TokenGroups, gate: float, places: int) -> Tensor:
    """Return `value`, (batch,), replaced by 1 where there are two entities and the response is above `gate`."""
    closed = (neglect(entities.detach(), groups, places) > gate) & has_entities(groups, 2)
    return torch.where(closed, torch.ones_like(value), value)


def _upper_side(maps: Tensor) -> Tensor:
    return maps > otsu(maps)[:, None, None]


def _sum_to_one(maps: Tensor) -> Tensor:
    return maps / maps.sum(dim=(-2, -1), keepdim=True).clamp(min=1e-4)


def _check_grid(maps: Tensor, self_maps: Tensor) -> None:
    images, _, height, width = maps.shape
    expected = (images, height * width, height * width)
    if tuple(self_maps.shape) != expected:
        raise CaptureError(
            f"self-attention of shape {tuple(self_maps.shape)} does not fit cross-attention of {images} images on a grid of "
            f"{height}x{width}: expected {expected}; capture both at the same resolution"
        )


@dataclass(frozen=True)
class ConflictLoss(RenormalisingLoss):
    """InitNO's conflict: the pixels at which two entities peak must not attend to the same pixels.

    Guo et al. 2024, arXiv 2404.04650. One component, `conflict`, in [0, 0.5], or 1 above the gate. It reads self-attention.

    >>> import torch
    >>> from unbleed.losses import ConflictLoss, TokenGroups
    >>> groups = TokenGroups.from_positions([[(2, [1]), (4, [3])]], length=6)  # "red cat blue bench"
    >>> even = torch.full((1, 16, 16), 1 / 16)  # every pixel attends to all
    >>> ConflictLoss(gate=1.0)(torch.full((1, 6, 4, 4), 1 / 6), groups, self_maps=even)
    tensor([0.5000])

    Raises `CaptureError` when it is given no self-attention, or one of another grid.
    """

    gate: float = setting(
        0.5, help="largest `ExciteLoss` up to which the conflict counts; above it the loss is 1, without gradient"
    )

    @property
    def reads_self_attention(self) -> bool:
        return True

    def terms(self, attention: AttentionMaps, groups: TokenGroups) -> dict[str, Tensor]:
        return {"conflict": conflict(attention.maps, _self_maps(attention), groups, gate=self.gate, **self.softmax)}

    def applies_to(self, groups: TokenGroups) -> Tensor:
        return has_entities(groups, 2)


@dataclass(frozen=True)
class StrayLoss(RenormalisingLoss):
    """InitNO's clean loss: an entity has no attention apart from the connected part around its peak.

    Guo et al. 2024, arXiv 2404.04650. One component, `stray`, at most 1 per entity.

    >>> import torch
    >>> from unbleed.losses import StrayLoss, TokenGroups
    >>> groups = TokenGroups.from_positions([[(2, [1])]], length=4)  # "red cat"
    >>> maps = torch.zeros(1, 4, 5, 5)
    >>> maps[0, 2, 1, 1], maps[0, 2, 3, 3] = 0.2, 0.1  # two peaks, the lower one is apart
    >>> round(StrayLoss(sigma=0.0, temperature=10.0)(maps, groups).item(), 3)
    0.0
    """

    def terms(self, attention: AttentionMaps, groups: TokenGroups) -> dict[str, Tensor]:
        return {"stray": stray(attention.maps, groups, **self.softmax)}

    def applies_to(self, groups: TokenGroups) -> Tensor:
        return has_entities(groups)


@dataclass(frozen=True)
class SelfCrossLoss(RenormalisingLoss):
    """Self-Cross: no entity attends to what the pixels of another attend to.

    Qiu et al. 2024, arXiv 2411.18936. One component, `self-cross`, in [0, 1]. It reads self-attention.

    >>> import torch
    >>> from unbleed.losses import SelfCrossLoss, TokenGroups
    >>> groups = TokenGroups.from_positions([[(2, [1]), (4, [3])]], length=6)  # "red cat blue bench"
    >>> maps = torch.zeros(1, 6, 4, 4)
    >>> maps[:, 2, :, :2] = maps[:, 4, :, 2:] = 0.3  # "cat" on the left, "bench" on the right
    >>> loss = SelfCrossLoss(gate=1.0, sigma=0.0, normalise="always")
    >>> round(loss(maps, groups, self_maps=torch.eye(16)[None]).item(), 3)  # every pixel attends to itself
    0.0

    Raises `CaptureError` when it is given no self-attention, or one of another grid.
    """

    gate: float = setting(
        0.5, help="largest `ExciteLoss` up to which the loss counts; above it the loss is 1, without gradient"
    )
    places: AtLeastOne = setting(
        16, help="for the gate, the peak of an entity is the mean of this number of its highest pixels"
    )
    normalise: Literal["auto", "always", "never"] = setting(
        "auto", help="make maps of entities sum to 1 before they are compared; auto: on grids of more than 16x16 pixels"
    )

    @property
    def reads_self_attention(self) -> bool:
        return True

    def terms(self, attention: AttentionMaps, groups: TokenGroups) -> dict[str, Tensor]:
        value = self_cross(
            attention.maps,
            _self_maps(attention),
            groups,
            gate=self.gate,
            places=self.places,
            normalise=self.normalise,
            **self.softmax,
        )
        return {"self-cross": value}

    def applies_to(self, groups: TokenGroups) -> Tensor:
        return has_entities(groups, 2)


def _self_maps(attention: AttentionMaps) -> Tensor:
    if attention.self_maps is None:
        raise CaptureError("a loss on self-attention was given none; pass self_maps=...")
    return attention.self_maps
