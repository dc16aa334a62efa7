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

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ..settings import AtLeastOne
from .base import AttentionMaps, RenormalisingLoss, has_entities, worst_per_image
from .groups import TokenGroups
from .maps import Kept, renormalise, smooth, word_maps


def excite(
    maps: Tensor,
    groups: TokenGroups,
    *,
    kept: Kept = "auto",
    temperature: float = 100.0,
    sigma: float = 0.5,
    pieces: Literal["sum", "last"] = "sum",
    places: int = 1,
) -> Tensor:
    """Return L, (batch,), for raw maps (batch, token, height, width); 0 for an image without entities.

    A noun of several pieces: `"sum"` adds its pieces' maps (the probability of the word), `"last"` takes the last piece. The
    peak is the mean over its so many highest `places` (Self-Cross takes 16).
    """
    noun = groups.noun if pieces == "sum" else _last_piece(groups.noun)
    probability = renormalise(maps, groups, kept, temperature)  # (batch, token, height, width)
    return neglect(smooth(word_maps(probability, noun, groups.entity_image), sigma), groups, places)


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
    """See `excite`."""

    pieces: Literal["sum", "last"] = "sum"
    places: AtLeastOne = 1

    def terms(self, seen: AttentionMaps, groups: TokenGroups) -> dict[str, Tensor]:
        return {"excite": excite(seen.maps, groups, **self.reading, pieces=self.pieces, places=self.places)}

    def applies_to(self, groups: TokenGroups) -> Tensor:
        return has_entities(groups)
