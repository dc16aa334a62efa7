"""Plain transcriptions that the tests of several losses check against, and maps on which those losses have something to say.

Nothing here calls the losses. Loops go over images, entities, pieces and places; gradients come from autograd.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from helpers.loss_cases import LENGTH
from unbleed.prompt import PromptTokens

Mask = list[list[bool]]


def peaked_maps(*prompts: PromptTokens, grid: tuple[int, int], seed: int = 0) -> Tensor:
    """Maps (batch, token, height, width) that sum to 1 over the tokens; every noun has a large spot and a small one."""
    generator = torch.Generator().manual_seed(seed)

    height, width = grid
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    images = []
    for tokens in prompts:
        logits = 0.15 * torch.randn(LENGTH, height, width, generator=generator, dtype=torch.float64)
        logits[0] += 2
        for s, (noun, _) in enumerate(tokens.entities):
            # on an ellipse, the small spot opposite the large one, so that they stay apart
            angle = math.pi * (s + 0.5 * float(torch.rand((), generator=generator))) / len(tokens.entities)
            for height_of_spot, size, turn in ((1.5, 0.16, 0.0), (1.4, 0.12, math.pi)):
                radius = size * min(grid)
                row = (height - 1) * (0.5 + 0.35 * math.sin(angle + turn))
                column = (width - 1) * (0.5 + 0.35 * math.cos(angle + turn))
                spot = torch.exp(-((y - row) ** 2 + (x - column) ** 2) / (2 * radius**2))
                for piece in noun:
                    logits[piece] += height_of_spot * spot
        images.append(logits.softmax(dim=0))
    return torch.stack(images)


def self_attention(images: int, grid: tuple[int, int], seed: int = 0) -> Tensor:
    """Self-attention (batch, place, place) whose rows sum to 1, mostly to near places."""
    height, width = grid
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    where = torch.stack([y.flatten(), x.flatten()], dim=1).double()
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(images, height * width, height * width, generator=generator, dtype=torch.float64)
    return (noise - torch.cdist(where, where) / 2).softmax(dim=-1)


def slow_smooth(values: Tensor) -> Tensor:
    """Smooth one map (height, width) by the authors' 3x3 kernel; beyond an edge it reads what is as far inside."""
    taps = [math.exp(-((offset / (2 * 0.5)) ** 2)) for offset in (-1, 0, 1)]
    taps = [tap / sum(taps) for tap in taps]
    height, width = values.shape
    rows = [[min(abs(y + d), 2 * (height - 1) - abs(y + d)) for y in range(height)] for d in (-1, 0, 1)]
    columns = [[min(abs(x + d), 2 * (width - 1) - abs(x + d)) for x in range(width)] for d in (-1, 0, 1)]
    result = torch.zeros_like(values)
    for row, down in zip(rows, taps, strict=True):
        for column, across in zip(columns, taps, strict=True):
            result = result + down * across * values[row][:, column]
    return result


def slow_response_maps(maps: Tensor, tokens: PromptTokens) -> list[Tensor]:
    """X of Attend-and-Excite for every noun of one image with maps (token, height, width), pieces summed."""
    kept = list(range(1, len(maps) - 1)) if tokens.padded_with_end else list(range(1, tokens.end))
    powers = {t: torch.exp(100 * maps[t]) for t in kept}
    total = sum(powers.values())
    return [slow_smooth(sum(powers[t] / total for t in noun)) for noun, _ in tokens.entities]


def slow_component(region: Sequence[Sequence[bool]], start: tuple[int, int], *, diagonal: bool) -> Mask:
    """The places of `region` that can be walked to from `start`."""
    height, width = len(region), len(region[0])
    reached = [[False] * width for _ in range(height)]
    waiting = [start]
    while waiting:
        y, x = waiting.pop()
        if not (0 <= y < height and 0 <= x < width) or not region[y][x] or reached[y][x]:
            continue
        reached[y][x] = True
        for dy in (-1, 0, 1):
            for dx in (-1, 0, 1):
                if diagonal or 0 in (dy, dx):
                    waiting.append((y + dy, x + dx))
    return reached


def slow_peak(values: Tensor) -> tuple[int, int]:
    """The first place of the largest value."""
    flat = values.detach().flatten().tolist()
    return divmod(flat.index(max(flat)), values.shape[1])


def slow_ahead(entities: Sequence[Tensor], s: int) -> Tensor:
    """How far entity s is ahead of the best of the others."""
    entities = [entity.detach() for entity in entities]
    ahead = entities[s].clone()
    for y in range(ahead.shape[0]):
        for x in range(ahead.shape[1]):
            others = [float(other[y, x]) for r, other in enumerate(entities) if r != s]
            ahead[y, x] = max(0.0, float(ahead[y, x]) - max(others, default=0.0))
    return ahead
