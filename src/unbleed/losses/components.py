"""Connected parts of regions, without gradient, and the entities of an image along an axis of their own."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

_STRIDE = 8  # dilations between two checks for a change, as each check waits for the device


def component(region: Tensor, seed: Tensor, *, diagonal: bool = True) -> Tensor:
    """Return bool (map, height, width): the connected part of `region` that contains `seed`; empty if `region` does not.

    `region` bool (map, height, width); `seed` long (map,), a pixel counted row by row. `diagonal`: pixels that touch only at a
    corner are connected too.
    """
    start = torch.zeros_like(region).flatten(1).scatter(1, seed[:, None], True).view_as(region)
    inside = region.to(torch.float32)
    reached = (start & region).to(torch.float32)
    if not reached.numel():
        return start
    while True:  # ends, since `reached` only grows
        grown = reached
        for _ in range(_STRIDE):
            grown = _neighbourhood(grown, diagonal) * inside
        if torch.equal(grown, reached):
            return grown > 0
        reached = grown


def _neighbourhood(maps: Tensor, diagonal: bool) -> Tensor:
    if diagonal:
        return F.max_pool2d(maps[:, None], 3, stride=1, padding=1)[:, 0]
    upright = F.max_pool2d(maps[:, None], (3, 1), stride=1, padding=(1, 0))
    level = F.max_pool2d(maps[:, None], (1, 3), stride=1, padding=(0, 1))
    return torch.maximum(upright, level)[:, 0]


def side_by_side(values: Tensor, image: Tensor, images: int) -> tuple[Tensor, Tensor]:
    """Return the items of each image in slots, (batch, slot, ...), and the slot of each item, long (item,).

    `values` (item, ...); `image` long (item,). There are as many slots as the image with most items needs, at least two; free
    slots hold 0.
    """
    slot = (image[:, None] == image[None, :]).tril(diagonal=-1).sum(dim=1)
    slots = max(2, int(slot.max()) + 1) if len(slot) else 2
    empty = values.new_zeros(images, slots, *values.shape[1:])
    return empty.index_put((image, slot), values), slot
