"""A first noise arranged for given regions: every region takes the piece of the noise from which its entity would grow.

The first noise decides what grows where; Mao et al. (2023, arXiv 2305.03382) move blocks of it. With X_e the blurred map of the
noun of entity e, R_e its region, and all lengths fractions of the grid's size,

    s   = argmax of X_e    over the pixels at least `margin` from the picture's edges
    t   = the pixel nearest to s that is at least `margin` inside R_e, and `spacing` from the centers of other entities
    P_e = the pixels of R_e that are at most `radius` from t

and inside P_e the noise is moved by t - s. Where R_e has no such pixel, its deepest ones are taken. A piece of white noise is
as likely in one place as in another. Pure functions on tensors.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..losses.maps import blur
from .layout import drawn_on

_BLUR = 0.0625  # of the maps


@dataclass(frozen=True)
class Piece:
    """Where an entity's noise comes from, and where it goes, in pixels of the maps."""

    shift: tuple[int, int]  # rows and columns
    center: tuple[float, float]  # row and column, after the shift


def arrange(
    noise: Tensor, maps: Tensor, regions: Tensor, *, margin: float = 0.16, radius: float = 0.36, spacing: float = 0.45
) -> tuple[Tensor, Tensor]:
    """Return the noise of one image with its pieces moved, and the narrowed regions P, of the same shape as `regions`.

    `noise` (channel, height, width); `maps` (entity, rows, columns) are the raw maps of the nouns that it gives, `regions` bool
    (entity, ...) on any grid.
    """
    grid = maps.shape[-2], maps.shape[-1]
    pieces = choose_pieces(blur(maps.float(), _BLUR), drawn_on(regions, grid), margin=margin, spacing=spacing)
    arranged, size, narrowed = noise, (noise.shape[-2], noise.shape[-1]), []
    for piece, region in zip(pieces, regions, strict=True):
        near = region & disc(piece.center, (region.shape[0], region.shape[1]), radius, grid)
        narrowed.append(near if near.any() else region)
        rows, columns = (moved * -(-side // of) for moved, side, of in zip(piece.shift, size, grid, strict=True))
        moved = noise.roll((rows, columns), dims=(-2, -1))
        arranged = torch.where(drawn_on(narrowed[-1], size).to(noise.device), moved, arranged)
    return arranged, torch.stack(narrowed)


def choose_pieces(maps: Tensor, regions: Tensor, *, margin: float, spacing: float) -> list[Piece]:
    """Return a piece for each entity of one image.

    `maps` (entity, height, width) are the blurred maps of the nouns, `regions` bool (entity, height, width).

    >>> maps, regions = torch.zeros(1, 8, 8), torch.zeros(1, 8, 8, dtype=torch.bool)
    >>> maps[0, 4, 2] = 1.0  # on the left
    >>> regions[:, :, 4:] = True
    >>> choose_pieces(maps, regions, margin=0.16, spacing=0.45)
    [Piece(shift=(0, 3), center=(4.5, 5.5))]
    """
    height, width = maps.shape[-2:]
    size = math.sqrt(height * width)
    inside = depths(torch.ones(height, width, dtype=torch.bool))
    allowed = inside >= min(margin * size, float(inside.max()))
    centers: list[Tensor] = []
    pieces: list[Piece] = []
    for own, region in zip(maps.cpu(), regions.cpu(), strict=True):
        pixel = int(own.masked_fill(~allowed, -torch.inf).argmax())
        source = torch.tensor(divmod(pixel, width))
        targets = _targets(region, margin * size, centers, spacing * size)
        target = targets[(targets - source).square().sum(dim=1).argmin()]
        centers.append(target)
        row, column = (target - source).tolist()
        pieces.append(Piece((row, column), (float(target[0]) + 0.5, float(target[1]) + 0.5)))
    return pieces


def depths(region: Tensor) -> Tensor:
    """Return how far the middle of each pixel is inside a region, (height, width), 0 outside. The picture's edge is one too.

    >>> depths(torch.ones(1, 3, dtype=torch.bool)).tolist()
    [[0.5, 0.5, 0.5]]
    """
    inside, outside = region.nonzero(), (~F.pad(region, (1, 1, 1, 1))).nonzero() - 1
    depth = torch.zeros(region.shape)
    depth[region] = torch.cdist(inside.float(), outside.float()).amin(dim=1) - 0.5
    return depth


def _targets(region: Tensor, margin: float, centers: Sequence[Tensor], spacing: float) -> Tensor:
    """Return the pixels (pixel, 2) that may become an entity's center."""
    depth = depths(region)
    targets = (depth >= min(margin, float(depth.max()))).nonzero()
    if not centers:
        return targets
    away = torch.cdist(targets.float(), torch.stack(list(centers)).float()).amin(dim=1)
    return targets[away >= min(spacing, float(away.max()))]


def disc(center: tuple[float, float], grid: tuple[int, int], radius: float, of: tuple[int, int]) -> Tensor:
    """Return bool (height, width) of `grid`: the pixels at most `radius` from a center in pixels of the grid `of`."""
    rows = (torch.arange(grid[0]) + 0.5) * of[0] / grid[0] - center[0]
    columns = (torch.arange(grid[1]) + 0.5) * of[1] / grid[1] - center[1]
    return (rows[:, None] ** 2 + columns[None, :] ** 2).sqrt() <= radius * math.sqrt(of[0] * of[1])
