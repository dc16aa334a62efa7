"""Where each entity goes: from attention maps to one mask per entity, without gradient. Pure functions on tensors.

    X_e = G * A_e, stretched to [0, 1]        A_e the map of entity e's noun, G a Gaussian
    D_e = X_e - max of X_f over the other entities f of the image
    c   = argmax of the sum over e of D_e(c_e)    with all centers at least `spacing` apart and `margin` from the edges
    R_e = pixels that are nearer to c_e than to any other center, and at most `radius` away

Lengths are fractions of the square root of the grid's area, so that they mean the same on every grid and aspect ratio.
Centers of one and of two entities are the exact optimum. For more they come from a coordinate ascent that starts once with
each entity.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import ModelError
from ..losses.groups import TokenGroups
from ..losses.maps import blur, entity_maps, min_max

_SIDE = 24  # pixels of the longer side of the grid on which centers are searched
_PENALTY = 1e3  # for each pixel by which two centers are too near: more than any score can win


def leads(entities: Tensor, entity_image: Tensor) -> Tensor:
    """Return D, (entity, height, width): how far each entity is ahead of the best other entity of its image.

    `entities` (entity, height, width), 0 or more; `entity_image` long (entity,). A lone entity keeps its map.
    """
    same = (entity_image[:, None] == entity_image[None, :]).fill_diagonal_(False)  # (entity, entity)
    others = torch.where(same[:, :, None, None], entities[None], entities.new_zeros(()))
    return entities - others.amax(dim=1) if len(entities) else entities


def choose_centers(
    scores: Tensor, entity_image: Tensor, *, spacing: float, margin: float, taken: Tensor | None = None
) -> Tensor:
    """Return the centers, (entity, 2) as row and column in pixels, that have the largest sum of scores.

    `scores` (entity, height, width); `entity_image` long (entity,). `taken` bool (entity, height, width) are pixels that an
    entity's center may not be on. Of more than two entities in an image the spacing shrinks with the square root of
    their number.
    """
    height, width = scores.shape[-2:]
    size = math.sqrt(height * width)
    scores = scores.detach().float().cpu()
    if taken is not None:
        scores = scores.masked_fill(taken.cpu(), -_PENALTY)
    shrink = max(1.0, max(height, width) / _SIDE)
    grid = (max(1, round(height / shrink)), max(1, round(width / shrink)))
    coarse = F.adaptive_avg_pool2d(scores[:, None], grid)[:, 0] if shrink > 1 else scores
    rows = (torch.arange(grid[0], dtype=scores.dtype) + 0.5) * height / grid[0]
    columns = (torch.arange(grid[1], dtype=scores.dtype) + 0.5) * width / grid[1]
    inside = _inside(rows, height, margin * size)[:, None] & _inside(columns, width, margin * size)[None, :]
    points = torch.stack(torch.meshgrid(rows, columns, indexing="ij"), dim=-1)[inside]  # (point, 2)
    values = coarse[:, inside]  # (entity, point)
    apart = torch.cdist(points, points)
    centers = scores.new_zeros(len(scores), 2)
    for image in entity_image.unique().tolist():
        of_image = (entity_image.cpu() == image).nonzero().flatten()
        least = spacing * size * min(1.0, math.sqrt(2 / len(of_image)))
        penalty = _PENALTY * (apart - least).clamp(max=0)
        centers[of_image] = points[_best(values[of_image], penalty)]
    return centers.to(entity_image.device)


def _inside(positions: Tensor, length: int, margin: float) -> Tensor:
    """Return bool: positions at least `margin` from both ends, at most a third of the length, and the middle always."""
    margin = min(margin, length / 3)
    inside = (positions >= margin) & (positions <= length - margin)
    inside[len(positions) // 2] = True
    return inside


def _best(values: Tensor, penalty: Tensor) -> Tensor:
    """Return long (entity,), the point of each entity, for values (entity, point) and penalties (point, point) of pairs."""
    count, points = values.shape
    if count == 1:
        return values.argmax(dim=1)
    if count == 2:
        best = (values[0][:, None] + values[1][None, :] + penalty).argmax()
        return torch.stack([best // points, best % points])
    found = [_ascend(values, penalty, first) for first in range(count)]
    return max(found, key=lambda chosen: _total(values, penalty, chosen))


def _ascend(values: Tensor, penalty: Tensor, first: int) -> Tensor:
    """Return the points of a coordinate ascent: `first` chooses first, the others by their peaks, then each anew in turn."""
    order = sorted(range(len(values)), key=lambda entity: (entity != first, -float(values[entity].amax())))
    chosen = torch.full((len(values),), -1)
    for _ in range(10):
        before = chosen.clone()
        for entity in order:
            others = chosen[(chosen >= 0) & (torch.arange(len(values)) != entity)]
            chosen[entity] = (values[entity] + penalty[others].sum(dim=0)).argmax()
        if torch.equal(chosen, before):
            break
    return chosen


def _total(values: Tensor, penalty: Tensor, chosen: Tensor) -> float:
    pairs = penalty[chosen][:, chosen].triu(diagonal=1).sum()
    return float(values.gather(1, chosen[:, None]).sum() + pairs)


def around_centers(centers: Tensor, entity_image: Tensor, grid: tuple[int, int], *, radius: float) -> Tensor:
    """Return R, bool (entity, height, width): the pixels nearest to each center, at most `radius` away.

    `centers` (entity, 2) in pixels. No two regions of an image overlap; a tie goes to the earlier entity.
    """
    height, width = grid
    away = _distances(centers, grid)
    rank = torch.arange(len(centers), device=centers.device)
    same = entity_image[:, None] == entity_image[None, :]
    beaten = same[:, :, None, None] & (
        (away[None] < away[:, None]) | ((away[None] == away[:, None]) & (rank[None, :] < rank[:, None])[:, :, None, None])
    )
    return (away <= radius * math.sqrt(height * width)) & ~beaten.any(dim=1)


def _distances(centers: Tensor, grid: tuple[int, int]) -> Tensor:
    """Return the distance of every pixel's middle to each center, (entity, height, width), in pixels."""
    rows = torch.arange(grid[0], dtype=centers.dtype, device=centers.device) + 0.5
    columns = torch.arange(grid[1], dtype=centers.dtype, device=centers.device) + 0.5
    return (
        (rows[None, :, None] - centers[:, 0, None, None]) ** 2 + (columns[None, None, :] - centers[:, 1, None, None]) ** 2
    ).sqrt()


def layout(
    maps: Tensor,
    groups: TokenGroups,
    *,
    sigma: float = 0.125,
    spacing: float = 0.45,
    margin: float = 0.16,
    radius: float = 0.36,
    taken: Tensor | None = None,
) -> Tensor:
    """Return R, bool (entity, height, width), for raw maps (batch, token, height, width). See the module.

    >>> import torch
    >>> from unbleed.losses.groups import TokenGroups
    >>> groups = TokenGroups(
    ...     images=1, noun=torch.eye(4, dtype=torch.bool)[1:3], entity_image=torch.zeros(2, dtype=torch.long),
    ...     modifier=torch.zeros(0, 4, dtype=torch.bool), modifier_entity=torch.zeros(0, dtype=torch.long),
    ...     prompt=torch.tensor([[False, True, True, False]]), padded_with_end=torch.tensor([True]))
    >>> maps = torch.zeros(1, 4, 8, 8)
    >>> maps[0, 1, 4, 1] = maps[0, 2, 4, 6] = 1.0
    >>> regions = layout(maps, groups)
    >>> regions[0, 4, 1].item(), regions[1, 4, 1].item(), (regions[0] & regions[1]).any().item()
    (True, False, False)

    `taken` bool (batch, height, width) are pixels that a user's regions hold: no center is put there. An entity for which the
    grid has no pixel of its own left has all that are free.
    """
    entities = min_max(blur(entity_maps(maps.float(), groups), sigma))
    of_entity = None if taken is None else taken[groups.entity_image]
    centers = choose_centers(
        leads(entities, groups.entity_image), groups.entity_image, spacing=spacing, margin=margin, taken=of_entity
    )
    regions = around_centers(centers, groups.entity_image, (maps.shape[-2], maps.shape[-1]), radius=radius)
    free = torch.ones_like(regions) if of_entity is None else ~of_entity
    own = regions & free
    return torch.where(own.flatten(1).any(dim=1)[:, None, None], own, free)


def resize(regions: Tensor, grid: tuple[int, int]) -> Tensor:
    """Return how much of each pixel of another grid the regions cover, (..., height, width), from 0 to 1."""
    if tuple(regions.shape[-2:]) == tuple(grid):
        return regions.float()
    return F.adaptive_avg_pool2d(regions.float().reshape(-1, 1, *regions.shape[-2:]), grid).reshape(*regions.shape[:-2], *grid)


def drawn_on(regions: Tensor, grid: tuple[int, int]) -> Tensor:
    """Return the regions as bool on another grid; one that is too small for it keeps its largest pixel."""
    cover = resize(regions, grid)
    least = cover.amax(dim=(-2, -1), keepdim=True).clamp(max=0.5)
    return (cover >= least) & (cover > 0)


def bounds(region: Tensor) -> tuple[float, float, float, float]:
    """Return the smallest box around a region, bool (height, width): left, top, right, bottom in fractions of the grid.

    All are 0 for an empty region.

    >>> bounds(torch.tensor([[False, True], [False, True]]))
    (0.5, 0.0, 1.0, 1.0)
    """
    if not region.any():
        return 0.0, 0.0, 0.0, 0.0
    rows, columns = region.any(dim=1).nonzero().flatten(), region.any(dim=0).nonzero().flatten()
    height, width = region.shape
    return int(columns[0]) / width, int(rows[0]) / height, (int(columns[-1]) + 1) / width, (int(rows[-1]) + 1) / height


@lru_cache
def grid_of(pixels: int, latents: tuple[int, int]) -> tuple[int, int]:
    """Return (height, width) of the level that has so many pixels, for latents (height, width). Each halving rounds up.

    >>> grid_of(60, (24, 40))
    (6, 10)

    Raises `ModelError` where no level has as many.
    """
    for factor in range(1, max(latents) + 1):
        grid = -(-latents[0] // factor), -(-latents[1] // factor)
        if grid[0] * grid[1] == pixels:
            return grid
    raise ModelError(
        f"the text attention has {pixels} pixels, which no level of latents of {latents[0]}x{latents[1]} has; "
        "regions cannot be kept apart in this denoiser"
    )
