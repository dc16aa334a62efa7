"""Operations on attention maps that the losses share. Pure functions; maps are (..., height, width)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal, TypedDict

import torch
import torch.nn.functional as F
from torch import Tensor

from .groups import TokenGroups

if TYPE_CHECKING:
    from typing_extensions import Unpack

Kept = Literal["auto", "padding", "words"]
SIGMA = 0.5  # of Attend-and-Excite's smoothing
FLOOR = 1e-8  # added to maps before they are divided or their logarithm is taken


class SoftmaxSettings(TypedDict, total=False):
    """How Attend-and-Excite reads maps; defaults are those of `noun_maps`."""

    kept: Kept  # tokens in the softmax, see `renormalise`
    temperature: float  # factor of the maps in the softmax
    sigma: float  # of the smoothing, see `smooth`


def smoothing_taps(sigma: float, size: int = 3, **like: object) -> Tensor:
    """Return the one-dimensional taps of Attend-and-Excite's Gaussian, summing to 1; the true deviation is sqrt(2) sigma."""
    offset = torch.arange(size, **like) - (size - 1) / 2  # type: ignore[arg-type]
    taps = torch.exp(-((offset / (2 * sigma)) ** 2))
    return taps / taps.sum()


def smooth(maps: Tensor, sigma: float) -> Tensor:
    """Return maps (..., height, width) smoothed by a 3x3 kernel with reflected edges; sigma 0 leaves them as they are."""
    if sigma == 0 or min(maps.shape[-2:]) < 2:  # a map of one row has nothing to reflect
        return maps
    taps = smoothing_taps(sigma, dtype=maps.dtype, device=maps.device)
    flat = maps.reshape(-1, 1, *maps.shape[-2:])
    padded = F.pad(flat, (1, 1, 1, 1), mode="reflect")
    return F.conv2d(padded, torch.outer(taps, taps)[None, None]).reshape(maps.shape)


def renormalise(maps: Tensor, groups: TokenGroups, kept: Kept = "auto", temperature: float = 100.0) -> Tensor:
    """Return Z(A), (batch, token, height, width): the softmax of `temperature * maps` over the kept tokens, 0 at the others.

    `kept="padding"` drops only the start token and the last position (of each chunk of a long prompt); `"words"` keeps only the
    prompt's own pieces; `"auto"` is the first where padding repeats the end token (SD 1), the second where it does not (SD 2).
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
    """Return the raw maps of the nouns, (entity, height, width), for maps (batch, token, height, width)."""
    return word_maps(maps, groups.noun, groups.entity_image)


def excited_maps(
    maps: Tensor,
    groups: TokenGroups,
    words: Tensor,
    image: Tensor,
    *,
    kept: Kept = "auto",
    temperature: float = 100.0,
    sigma: float = SIGMA,
) -> Tensor:
    """Return the maps X of words as Attend-and-Excite reads them, (word, height, width): Z(A), summed over pieces, smoothed.

    `maps` are raw, (batch, token, height, width); `words` bool (word, token); `image` long (word,).
    """
    return smooth(word_maps(renormalise(maps, groups, kept, temperature), words, image), sigma)


def noun_maps(maps: Tensor, groups: TokenGroups, **softmax: Unpack[SoftmaxSettings]) -> Tensor:
    """Return the maps X of the nouns, (entity, height, width), see `excited_maps`; each value is from 0 to 1."""
    return excited_maps(maps, groups, groups.noun, groups.entity_image, **softmax)


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


def distributions(maps: Tensor, floor: float = FLOOR) -> Tensor:
    """Return maps (..., height, width) as distributions over pixels: 0 or more, summing to 1.

    `floor` is added first, so that a map of zeros becomes even and no pixel has probability 0.
    """
    lifted = maps + floor
    return lifted / lifted.sum(dim=(-2, -1), keepdim=True)


def min_max(maps: Tensor, floor: float = FLOOR) -> Tensor:
    """Return maps (..., height, width) stretched to [0, 1], each by itself; an even map becomes 0."""
    low = maps.amin(dim=(-2, -1), keepdim=True)
    high = maps.amax(dim=(-2, -1), keepdim=True)
    return (maps - low) / (high - low + floor)
