"""Predicated Diffusion: what the prompt says, as predicates of fuzzy logic that the attention maps make true.

Sueyoshi and Matsubara 2024, arXiv 2311.16117. A map is the truth a_i of a predicate A at every place i, and the product
logic gives the truth of a statement; a loss is minus its logarithm. With w_i = min-max of the raw map of a word,

    existence       there is a place of A                      - log(1 - prod_i (1 - a_i))
    implication     A only where B is                          - log(1 - a_i (1 - b_i)), over places
    correspondence  A where B is and B where A is              both implications, for a modifier and its noun
    leakage         A not where B is                           - log(1 - a_i b_i), for a modifier and another entity's noun
    possession      what is owned is only where its owner is   the implication, from the owned to its holder

The paper sums over places. The authors' code, known to us from a third party's fork, differs: existence takes the
geometric mean of 1 - a_i over places in place of the product, which saturates at once; the others take means over places;
every term is divided by the number of its statements; existence reads Z(A) of `excite` without smoothing, the others
the raw maps stretched to [0, 1]. This is what stands here; `form="paper"` gives existence its product. The weights that
the code gives the terms, 0.1, 1, 0.3 and 1, are no part of them here.

Ours: every truth t in a logarithm is lifted to e + (1 - e) t with e = 1e-4. The code adds 1e-4 to 1 - a_i in existence, and
nothing to the product; to the truths of the other terms it adds 1e-20, which is nothing in single precision, and the largest
place of a stretched map is exactly 1. A clamp would bound the loss, too, but leave no gradient
where the statement is most violated. Thus a loss is never more than - log e = 9.21, or 18.42 for both implications.
Stretched maps do not see how much attention a word has: only existence works against neglect.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ..settings import NotNegative, Positive
from .base import AttentionMaps, Loss, has_entities, mean_per_image
from .groups import TokenGroups
from .maps import Kept, min_max, renormalise, word_maps


def existence(
    maps: Tensor,
    groups: TokenGroups,
    *,
    form: Literal["code", "paper"] = "code",
    kept: Kept = "auto",
    temperature: float = 100.0,
    floor: float = 1e-4,
) -> Tensor:
    """Return the mean over entities of "its noun is somewhere", (batch,), for raw maps (batch, token, height, width).

    0 or more; 0 for an image without entities. `form="code"` takes the geometric mean of 1 - a_i, `"paper"` the product.
    """
    probability = renormalise(_precise(maps), groups, kept, temperature)
    absent = _log(1 - word_maps(probability, groups.noun, groups.entity_image), floor).flatten(1)  # (entity, place)
    nowhere = absent.mean(dim=1) if form == "code" else absent.sum(dim=1)
    loss = -_log(-torch.expm1(nowhere), floor)  # of one minus the product, without its cancellation
    return mean_per_image(loss, groups.entity_image, groups.images).to(maps.dtype)


def correspondence(maps: Tensor, groups: TokenGroups, *, floor: float = 1e-4) -> Tensor:
    """Return the mean over modifiers of "where it is, its noun is, and where the noun is, it is", (batch,).

    `maps` are raw, (batch, token, height, width). 0 or more; 0 for an image without modifiers.
    """
    noun, modifier = _stretched(maps, groups)
    image = groups.entity_image[groups.modifier_entity]
    noun = noun[groups.modifier_entity]
    loss = _implication(modifier, noun, floor) + _implication(noun, modifier, floor)
    return mean_per_image(loss, image, groups.images).to(maps.dtype)


def leakage(maps: Tensor, groups: TokenGroups, *, floor: float = 1e-4) -> Tensor:
    """Return the mean over modifiers and the nouns of all other entities of "the one is not where the other is", (batch,).

    `maps` are raw, (batch, token, height, width). 0 or more; 0 for an image without modifiers or with one entity.
    """
    noun, modifier = _stretched(maps, groups)
    image = groups.entity_image[groups.modifier_entity]
    entity = torch.arange(len(noun), device=image.device)
    other = (image[:, None] == groups.entity_image) & (groups.modifier_entity[:, None] != entity)  # (modifier, entity)
    first, second = other.nonzero(as_tuple=True)
    loss = _implication(modifier[first], 1 - noun[second], floor)
    return mean_per_image(loss, image[first], groups.images).to(maps.dtype)


def possession(maps: Tensor, groups: TokenGroups, holders: Tensor, *, floor: float = 1e-4) -> Tensor:
    """Return the mean over `holders` of "what is owned is only where its holder is", (batch,).

    `maps` are raw, (batch, token, height, width). `holders`, long (pair, 2), names the owned entity and its holder, two
    entities of one image, by their rows in `groups`. 0 or more; 0 for an image without such a pair.
    """
    noun, _ = _stretched(maps, groups)
    owned, holder = holders.unbind(dim=1)
    loss = _implication(noun[owned], noun[holder], floor)
    return mean_per_image(loss, groups.entity_image[owned], groups.images).to(maps.dtype)


def _precise(maps: Tensor) -> Tensor:
    return maps.to(torch.promote_types(maps.dtype, torch.float32))


def _stretched(maps: Tensor, groups: TokenGroups) -> tuple[Tensor, Tensor]:
    """Return the maps of the nouns (entity, height, width) and the modifiers (modifier, height, width), each in [0, 1]."""
    maps = _precise(maps)
    noun = word_maps(maps, groups.noun, groups.entity_image)
    modifier = word_maps(maps, groups.modifier, groups.entity_image[groups.modifier_entity])
    return min_max(noun), min_max(modifier)


def _implication(first: Tensor, second: Tensor, floor: float) -> Tensor:
    """Return the mean over places of - log(1 - a (1 - b)), (pair,), for maps a and b (pair, height, width)."""
    return -_log(1 - first * (1 - second), floor).mean(dim=(-2, -1))


def _log(truth: Tensor, floor: float) -> Tensor:
    """Return the logarithm of truths in [0, 1], lifted off 0; rounding may have left that range."""
    return (floor + (1 - floor) * truth.clamp(0, 1)).log()


@dataclass(frozen=True)
class PredicateLoss(Loss):
    """A weighted sum of `existence`, `correspondence` and `leakage`, with the weights of the authors' code."""

    weight_existence: float = 0.1
    weight_correspondence: float = 1.0
    weight_leakage: float = 0.3
    form: Literal["code", "paper"] = "code"
    kept: Kept = "auto"
    temperature: Positive = 100.0
    floor: NotNegative = 1e-4

    def terms(self, seen: AttentionMaps, groups: TokenGroups) -> dict[str, Tensor]:
        reading = {"kept": self.kept, "temperature": self.temperature, "floor": self.floor}
        return {
            "existence": self.weight_existence * existence(seen.maps, groups, form=self.form, **reading),
            "correspondence": self.weight_correspondence * correspondence(seen.maps, groups, floor=self.floor),
            "leakage": self.weight_leakage * leakage(seen.maps, groups, floor=self.floor),
        }

    def applies_to(self, groups: TokenGroups) -> Tensor:
        return has_entities(groups)
