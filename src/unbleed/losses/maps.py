"""What the losses make of attention maps before they compare them. Pure functions; maps are (..., height, width)."""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from .groups import TokenGroups

Kept = Literal["auto", "padding", "words"]


def in_single(maps: Tensor) -> Tensor:
    """Return maps in single precision if they were in half: a floor, or one of many places, is nothing in half precision.

    Their gradient stays in the range of half: its slope at a place that nothing attends to is 1 / floor, more than
    float16 can hold.
    """
    if maps.dtype not in (torch.float16, torch.bfloat16):
        return maps
    single = maps.float()
    if single.requires_grad:
        largest = torch.finfo(maps.dtype).max
        single.register_hook(lambda gradient: gradient.clamp(-largest, largest))
    return single


def smoothing_taps(sigma: float, size: int = 3, **like: object) -> Tensor:
    """Return the one-dimensional taps of the authors' Gaussian, summing to 1; the true deviation is sqrt(2) sigma."""
    offset = torch.arange(size, **like) - (size - 1) / 2  # type: ignore[arg-type]
    taps = torch.exp(-((offset / (2 * sigma)) ** 2))
    return taps / taps.sum()


def smooth(maps: Tensor, sigma: float) -> Tensor:
    """Return maps (..., height, width) smoothed by the 3x3 kernel, edges reflected; sigma 0 leaves them."""
    if sigma == 0 or min(maps.shape[-2:]) < 2:  # a map of one row has nothing to reflect
        return maps
    taps = smoothing_taps(sigma, dtype=maps.dtype, device=maps.device)
    flat = maps.reshape(-1, 1, *maps.shape[-2:])
    padded = F.pad(flat, (1, 1, 1, 1), mode="reflect")
    return F.conv2d(padded, torch.outer(taps, taps)[None, None]).reshape(maps.shape)


def renormalise(maps: Tensor, groups: TokenGroups, kept: Kept = "auto", temperature: float = 100.0) -> Tensor:
    """Return Z(A), (batch, token, height, width): the softmax over the kept tokens, 0 at the others.

    `kept="padding"` drops the start token and the last position only (of each chunk of a long prompt); `"words"` keeps the
    prompt's own pieces only;
    `"auto"` chooses the first where padding repeats the end token (SD 1), the second where it does not (SD 2).
    """
    side = groups.tokens // groups.chunks
    position = torch.arange(groups.tokens, device=maps.device) % side
    all_but_ends = ((position > 0) & (position < side - 1)).expand_as(groups.prompt)
    if kept == "auto":
        mask = torch.where(groups.padded_with_end[:, None], all_but_ends, groups.prompt)
    else:
        mask = all_but_ends if kept == "padding" else groups.prompt
    logits = (temperature * maps).masked_fill(~mask[:, :, None, None], -math.inf)
    return logits.softmax(dim=1)


def word_maps(maps: Tensor, words: Tensor, image: Tensor) -> Tensor:
    """Return the maps of words, (word, height, width): the sum of the maps of a word's pieces.

    `maps` (batch, token, height, width); `words` bool (word, token), such as `TokenGroups.noun`; `image` long (word,).
    """
    return torch.einsum("wthv,wt->whv", maps[image], words.to(maps.dtype))


def entity_maps(maps: Tensor, groups: TokenGroups) -> Tensor:
    """Return the maps of the nouns, (entity, height, width), of maps (batch, token, height, width)."""
    return word_maps(maps, groups.noun, groups.entity_image)


def blur(maps: Tensor, sigma: float) -> Tensor:
    """Return maps (..., height, width) under a Gaussian; `sigma` is a fraction of the grid's size. Edges are repeated."""
    pixels = sigma * math.sqrt(maps.shape[-2] * maps.shape[-1])
    reach = math.ceil(3 * pixels)
    if reach == 0:
        return maps
    offset = torch.arange(-reach, reach + 1, dtype=maps.dtype, device=maps.device)
    taps = torch.exp(-((offset / pixels) ** 2) / 2)
    taps = taps / taps.sum()
    flat = maps.reshape(-1, 1, *maps.shape[-2:])
    flat = F.conv2d(F.pad(flat, (0, 0, reach, reach), mode="replicate"), taps[None, None, :, None])
    flat = F.conv2d(F.pad(flat, (reach, reach, 0, 0), mode="replicate"), taps[None, None, None, :])
    return flat.reshape(maps.shape)


def distributions(maps: Tensor, floor: float = 1e-8) -> Tensor:
    """Return maps (..., height, width) as distributions over places: 0 or more, and 1 in all.

    `floor` is added first, so that a map of nothing is even, and no place is impossible.
    """
    lifted = maps + floor
    return lifted / lifted.sum(dim=(-2, -1), keepdim=True)


def min_max(maps: Tensor, floor: float = 1e-8) -> Tensor:
    """Return maps (..., height, width) stretched to [0, 1], each by itself; an even map becomes 0."""
    low = maps.amin(dim=(-2, -1), keepdim=True)
    high = maps.amax(dim=(-2, -1), keepdim=True)
    return (maps - low) / (high - low + floor)
