"""Attend-and-Excite: the most neglected entity must have one place that attends to it.

Chefer et al. 2023, arXiv 2301.13826, equations 2 and 3. With A the averaged maps,

    Z(A) = softmax over tokens of 100 A, without the start token and the last position
    X_s  = G * Z(A)_s                         for every entity s, G a 3x3 smoothing
    L    = max_s max(0, 1 - max_xy X_s)

Two facts of the authors' code that the paper does not tell and that the published thresholds rest on:

- the kernel's exponent is -((x - mu) / (2 sigma))^2, so sigma = 0.5 is in truth a deviation of 0.707, and the
  one-dimensional taps are 0.212, 0.576, 0.212;
- for Stable Diffusion 1 the softmax keeps the end token and the padding, for Stable Diffusion 2 (padded with "!") it
  ends before the end token.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from .base import Loss, any_per_image
from .groups import TokenGroups

Kept = Literal["auto", "padding", "words"]


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

    `kept="padding"` drops the start token and the last position only; `"words"` keeps the prompt's own pieces only;
    `"auto"` chooses the first where padding repeats the end token (SD 1), the second where it does not (SD 2).
    """
    position = torch.arange(groups.tokens, device=maps.device)
    all_but_ends = ((position > 0) & (position < groups.tokens - 1)).expand_as(groups.prompt)
    if kept == "auto":
        mask = torch.where(groups.padded_with_end[:, None], all_but_ends, groups.prompt)
    else:
        mask = all_but_ends if kept == "padding" else groups.prompt
    logits = (temperature * maps).masked_fill(~mask[:, :, None, None], -math.inf)
    return logits.softmax(dim=1)


def excite(
    maps: Tensor,
    groups: TokenGroups,
    *,
    kept: Kept = "auto",
    temperature: float = 100.0,
    sigma: float = 0.5,
    pieces: Literal["sum", "last"] = "sum",
) -> Tensor:
    """Return L, (batch,), for raw maps (batch, token, height, width); 0 for an image without entities.

    A noun of several pieces: `"sum"` adds its pieces' maps (the probability of the word), `"last"` takes the last piece.
    """
    noun = groups.noun if pieces == "sum" else _last_piece(groups.noun)
    probability = renormalise(maps, groups, kept, temperature)  # (batch, token, height, width)
    words = torch.einsum("ethw,et->ehw", probability[groups.entity_image], noun.to(probability.dtype))
    peak = smooth(words, sigma).amax(dim=(-2, -1))  # (entity,)
    neglect = (1 - peak).clamp(min=0)
    worst = neglect.new_zeros(groups.images)
    return worst.scatter_reduce(0, groups.entity_image, neglect, reduce="amax", include_self=True)


def _last_piece(words: Tensor) -> Tensor:
    position = torch.arange(words.shape[1], device=words.device)
    last = (words * position).amax(dim=1, keepdim=True)
    return words & (position == last)


@dataclass(frozen=True)
class ExciteLoss(Loss):
    """See `excite`."""

    kept: Kept = "auto"
    temperature: float = 100.0
    sigma: float = 0.5
    pieces: Literal["sum", "last"] = "sum"

    def terms(self, maps: Tensor, groups: TokenGroups) -> dict[str, Tensor]:
        value = excite(maps, groups, kept=self.kept, temperature=self.temperature, sigma=self.sigma, pieces=self.pieces)
        return {"excite": value}

    def concerns(self, groups: TokenGroups) -> Tensor:
        return any_per_image(groups, groups.entity_image)
