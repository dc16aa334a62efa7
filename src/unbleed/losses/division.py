"""Divide-and-Bind: every entity excites several separate pixels, and its modifiers the same ones.

Li et al. 2023, arXiv 2307.10864. With X = G * Z(A) the maps of `excite`, one per word,

    TV_s  = mean over neighbours in a row of |X_s - X_s'| + mean over neighbours in a column of |X_s - X_s'|
    P     = softmax over pixels of X_s                              of the noun
    Q     = softmax over pixels of X_m max X_s / max X_m            of a modifier, scaled to the noun's peak
    p, q  = max(0, P - c max P) + e,  max(0, Q - c max P) + e       c = 0.3 where TV_s < 0.1, else 0.2; e = 1e-5
    JSD_s = sum over pixels of (p log(p / m) + q log(q / m)) / 2, m = (p + q) / 2
    L     = max_s (-TV_s + coefficient JSD_s)

p and q do not sum to 1, so JSD_s is 0 for equal maps and small for others: both softmaxes are nearly even, since X is at
most 1. The coefficient is 1 in the steps 0 to 9 of 50, 5 up to 19 and 10 after that.

In both of the authors' pipelines the vertical differences are taken to the last row instead of the next one.
`paper_variation=True` repeats this; the authors' numbers rest on it.

Ours, where the formula leaves it open: an entity with several modifiers has the mean of their JSDs, one without has 0. A
deviation: the authors average the modifiers' maps over the 64x64 and 32x32 layers; here they come from the same layers as
the nouns'.

Written from these formulas alone, not from the authors' code, which is under the AGPL.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..settings import setting
from .base import AttentionMaps, RenormalisingLoss, has_entities, mean_per_image, worst_per_image
from .groups import TokenGroups
from .maps import SoftmaxSettings, excited_maps, noun_maps

if TYPE_CHECKING:
    from typing_extensions import Unpack

SHIFT = 1e-5  # e


def attendance(
    maps: Tensor, groups: TokenGroups, *, paper_variation: bool = False, **softmax: Unpack[SoftmaxSettings]
) -> Tensor:
    """Return max_s (-TV_s), (batch,), from -2 to 0, for raw maps (batch, token, height, width).

    0 for an image without entities. `paper_variation` repeats the authors' vertical differences; `softmax` are the settings of
    `maps.excited_maps`.
    """
    return _largest_per_image(-_variation(noun_maps(maps, groups, **softmax), paper_variation), groups)


def attribute_binding(
    maps: Tensor,
    groups: TokenGroups,
    *,
    paper_variation: bool = False,
    shift: float = SHIFT,
    **softmax: Unpack[SoftmaxSettings],
) -> Tensor:
    """Return max_s JSD_s, (batch,), 0 or more, for raw maps (batch, token, height, width).

    0 for an image without modifiers, and where noun and modifiers have the same map or maps that differ only by a factor.
    `shift` is e; `softmax` are the settings of `maps.excited_maps`.
    """
    x, other = noun_maps(maps, groups, **softmax), _modifier_maps(maps, groups, **softmax)
    divergence = _divergence(x, other, _variation(x, paper_variation), groups, shift)
    return worst_per_image(divergence, groups.entity_image, groups.images)


def divide_and_bind(
    maps: Tensor,
    groups: TokenGroups,
    *,
    coefficient: float,
    paper_variation: bool = False,
    shift: float = SHIFT,
    **softmax: Unpack[SoftmaxSettings],
) -> Tensor:
    """Return L, (batch,), -2 or more, for raw maps (batch, token, height, width): the largest sum of both terms of one entity.

    0 for an image without entities. The settings are those of `attendance` and `attribute_binding`.
    """
    x, other = noun_maps(maps, groups, **softmax), _modifier_maps(maps, groups, **softmax)
    variation = _variation(x, paper_variation)
    divergence = _divergence(x, other, variation, groups, shift)
    return _largest_per_image(coefficient * divergence - variation, groups)


def _modifier_maps(maps: Tensor, groups: TokenGroups, **softmax: Unpack[SoftmaxSettings]) -> Tensor:
    """Return X of the modifiers, (modifier, height, width)."""
    return excited_maps(maps, groups, groups.modifier, groups.entity_image[groups.modifier_entity], **softmax)


def _variation(maps: Tensor, paper_variation: bool) -> Tensor:
    """Return TV, (word,), for maps (word, height, width); a direction of one pixel has none."""
    above = maps[:, -1:] if paper_variation else maps[:, :-1]
    down = (maps[:, 1:] - above).abs().flatten(1)
    across = (maps[:, :, 1:] - maps[:, :, :-1]).abs().flatten(1)
    return down.sum(dim=1) / max(down.shape[1], 1) + across.sum(dim=1) / max(across.shape[1], 1)


def _divergence(nouns: Tensor, modifiers: Tensor, variation: Tensor, groups: TokenGroups, shift: float) -> Tensor:
    """Return JSD_s, (entity,), for the maps of nouns and modifiers (word, height, width) and TV_s (entity,)."""
    entity = groups.modifier_entity
    x, y = nouns.flatten(1)[entity], modifiers.flatten(1)  # (modifier, pixel)
    peak = x.amax(dim=1, keepdim=True)
    scaled = y / y.amax(dim=1, keepdim=True).clamp(min=1e-8) * peak  # a map can underflow to 0 everywhere
    of_noun, of_modifier = x.softmax(dim=1), scaled.softmax(dim=1)
    c = torch.full_like(variation, 0.2).masked_fill(variation < 0.1, 0.3)[entity, None]
    threshold = c * of_noun.amax(dim=1, keepdim=True)
    p, q = (of_noun - threshold).relu() + shift, (of_modifier - threshold).relu() + shift
    log_mean = ((p + q) / 2).log()
    divergence = (p * (p.log() - log_mean) + q * (q.log() - log_mean)).sum(dim=1) / 2  # (modifier,)
    return mean_per_image(divergence, entity, len(nouns))


def _largest_per_image(values: Tensor, groups: TokenGroups) -> Tensor:
    """Return (batch,): the largest of `values` (entity,) of each image, whatever their sign; 0 where it has none."""
    lowest = values.new_full((groups.images,), -torch.inf)
    largest = lowest.scatter_reduce(0, groups.entity_image, values, reduce="amax", include_self=True)
    return torch.where(largest.isfinite(), largest, torch.zeros_like(largest))


@dataclass(frozen=True)
class DivisionLoss(RenormalisingLoss):
    """Divide-and-Bind's loss: every entity excites separate pixels, and its modifiers the same ones.

    Li et al. 2023, arXiv 2307.10864. Components: `variation` (-TV of the worst entity) and `binding`, the rest of the loss.

    >>> import torch
    >>> from unbleed.losses import DivisionLoss, TokenGroups
    >>> groups = TokenGroups.from_positions([[(2, [1]), (4, [3])]], length=6)  # "red cat blue bench"
    >>> stripes = torch.full((1, 6, 4, 4), 0.1)
    >>> stripes[:, 2, :, ::2] = stripes[:, 4, :, ::2] = 0.3
    >>> DivisionLoss(sigma=0.0)(stripes, groups) < DivisionLoss(sigma=0.0)(torch.full((1, 6, 4, 4), 0.1), groups)
    tensor([True])
    """

    coefficients: Mapping[float, float] = setting(
        {0.0: 1.0, 0.2: 5.0, 0.4: 10.0}, help="from a fraction of the run on: weight of the divergence"
    )
    paper_variation: bool = setting(False, help="repeat the vertical differences of the authors' code")

    def terms(self, attention: AttentionMaps, groups: TokenGroups) -> dict[str, Tensor]:
        begun = [start for start in self.coefficients if start <= attention.progress + 1e-9]
        coefficient = self.coefficients[max(begun)] if begun else 0.0
        maps, paper = attention.maps, self.paper_variation
        value = divide_and_bind(maps, groups, coefficient=coefficient, paper_variation=paper, **self.softmax)
        variation = attendance(maps, groups, paper_variation=paper, **self.softmax)
        return {"variation": variation, "binding": value - variation}

    def applies_to(self, groups: TokenGroups) -> Tensor:
        return has_entities(groups)
