"""Predicated Diffusion: what the prompt says, as predicates of fuzzy logic that the attention maps make true.

Sueyoshi and Matsubara 2024, arXiv 2311.16117. A map is the truth a_i of a predicate A at every pixel i, and product
logic gives the truth of a statement; a loss is minus its logarithm. With w_i = min-max of the raw map of a word,

    existence       A is at some pixel                         - log(1 - prod_i (1 - a_i))
    implication     A only where B is                          - log(1 - a_i (1 - b_i)), over pixels
    correspondence  A where B is and B where A is              both implications, for a modifier and its noun
    leakage         A not where B is                           - log(1 - a_i b_i), for a modifier and another entity's noun
    possession      what is owned is only where its owner is   the implication, from the owned to its holder

The paper sums over pixels. The authors' code, known to us from a third party's fork, differs: existence takes the geometric
mean of 1 - a_i over pixels instead of the product, which saturates at once; the others take means over pixels; every term is
divided by the number of its statements; existence reads Z(A) of `excite` without smoothing, the others the raw maps stretched
to [0, 1]. The code is followed here; `form="paper"` gives existence its product. The weights that the code gives the terms,
0.1, 1, 0.3 and 1, are those of `PredicateLoss`, not part of the functions.

Ours: every truth t in a logarithm is lifted to e + (1 - e) t with e = 1e-4. The code adds 1e-4 to 1 - a_i in existence, and
nothing to the product; to the truths of the other terms it adds 1e-20, which is lost in float32, and the largest
value of a stretched map is exactly 1. A clamp would bound the loss, too, but leave no gradient
where the statement is most violated. So a loss is never more than - log e = 9.21, or 18.42 for both implications.
Stretched maps do not show how much attention a word has: only existence works against neglect.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ..settings import NotNegative, Positive, setting
from .base import AttentionMaps, Loss, has_entities, mean_per_image
from .groups import TokenGroups
from .maps import Kept, entity_maps, min_max, renormalise, word_maps

FLOOR = 1e-4  # e


def existence(
    maps: Tensor,
    groups: TokenGroups,
    *,
    form: Literal["code", "paper"] = "code",
    kept: Kept = "auto",
    temperature: float = 100.0,
    floor: float = FLOOR,
) -> Tensor:
    """Return the mean over entities of "its noun is somewhere", (batch,), for raw maps (batch, token, height, width).

    0 or more; 0 for an image without entities. `form="code"` takes the geometric mean of 1 - a_i, `"paper"` the product.
    """
    probability = renormalise(maps, groups, kept, temperature)
    absent = _log(1 - entity_maps(probability, groups), floor).flatten(1)  # (entity, pixel)
    nowhere = absent.mean(dim=1) if form == "code" else absent.sum(dim=1)
    loss = -_log(-torch.expm1(nowhere), floor)  # log of one minus the product, without cancellation
    return mean_per_image(loss, groups.entity_image, groups.images)


def correspondence(maps: Tensor, groups: TokenGroups, *, floor: float = FLOOR) -> Tensor:
    """Return the mean over modifiers of "where it is, its noun is, and where the noun is, it is", (batch,).

    `maps` are raw, (batch, token, height, width). 0 or more; 0 for an image without modifiers.
    """
    noun, modifier = _stretched(maps, groups)
    image = groups.entity_image[groups.modifier_entity]
    noun = noun[groups.modifier_entity]
    loss = _implication(modifier, noun, floor) + _implication(noun, modifier, floor)
    return mean_per_image(loss, image, groups.images)


def leakage(maps: Tensor, groups: TokenGroups, *, floor: float = FLOOR) -> Tensor:
    """Return the mean over modifiers and the nouns of all other entities of "the one is not where the other is", (batch,).

    `maps` are raw, (batch, token, height, width). 0 or more; 0 for an image without modifiers or with one entity.
    """
    noun, modifier = _stretched(maps, groups)
    image = groups.entity_image[groups.modifier_entity]
    entity = torch.arange(len(noun), device=image.device)
    other = (image[:, None] == groups.entity_image) & (groups.modifier_entity[:, None] != entity)  # (modifier, entity)
    first, second = other.nonzero(as_tuple=True)
    loss = _implication(modifier[first], 1 - noun[second], floor)
    return mean_per_image(loss, image[first], groups.images)


def possession(maps: Tensor, groups: TokenGroups, holders: Tensor, *, floor: float = FLOOR) -> Tensor:
    """Return the mean over `holders` of "what is owned is only where its holder is", (batch,).

    `maps` are raw, (batch, token, height, width). `holders`, long (pair, 2), has the owned entity and its holder, two
    entities of one image, by their rows in `groups`. 0 or more; 0 for an image without such a pair.
    """
    noun, _ = _stretched(maps, groups)
    owned, holder = holders.unbind(dim=1)
    loss = _implication(noun[owned], noun[holder], floor)
    return mean_per_image(loss, groups.entity_image[owned], groups.images)


def _stretched(maps: Tensor, groups: TokenGroups) -> tuple[Tensor, Tensor]:
    """Return the maps of the nouns (entity, height, width) and the modifiers (modifier, height, width), each in [0, 1]."""
    noun = entity_maps(maps, groups)
    modifier = word_maps(maps, groups.modifier, groups.entity_image[groups.modifier_entity])
    return min_max(noun), min_max(modifier)


def _implication(first: Tensor, second: Tensor, floor: float) -> Tensor:
    """Return the mean over pixels of - log(1 - a (1 - b)), (pair,), for maps a and b (pair, height, width)."""
    return -_log(1 - first * (1 - second), floor).mean(dim=(-2, -1))


def _log(truth: Tensor, floor: float) -> Tensor:
    """Return the logarithm of truths in [0, 1], lifted off 0; rounding may have moved them out of that range."""
    return (floor + (1 - floor) * truth.clamp(0, 1)).log()


@dataclass(frozen=True)
class PredicateLoss(Loss):
    """Fuzzy-logic losses of Predicated Diffusion for existence, binding and leakage, with the weights of the authors' code.

    Sueyoshi and Matsubara 2024, arXiv 2311.16117. Components: `existence`, `correspondence` and `leakage`.

    >>> import torch
    >>> from unbleed.losses import AttentionMaps, PredicateLoss, TokenGroups
    >>> groups = TokenGroups.from_positions([[(2, [1]), (4, [3])]], length=6)  # "red cat blue bench"
    >>> maps = torch.full((1, 6, 4, 4), 0.1)
    >>> maps[:, 1:3, :, :2] = maps[:, 3:5, :, 2:] = 0.3  # modifiers are where their nouns are
    >>> terms = PredicateLoss().terms(AttentionMaps(maps), groups)
    >>> terms["correspondence"].item() < 1e-3, terms["leakage"].item() < 1e-3
    (True, True)
    """

    weight_existence: float = setting(0.1, help="weight of the statement that every entity is somewhere")
    weight_correspondence: float = setting(
        1.0, help="weight of the statement that a modifier is where its noun is, and the noun where its modifier is"
    )
    weight_leakage: float = setting(0.3, help="weight of the statement that a modifier is not where another entity is")
    form: Literal["code", "paper"] = setting(
        "code", help='existence from the geometric mean over pixels ("code") or from the product ("paper")'
    )
    kept: Kept = setting("auto", help="tokens in the softmax that existence reads, see `ExciteLoss`")
    temperature: Positive = setting(100.0, help="factor of the maps in the softmax that existence reads")
    floor: NotNegative = setting(FLOOR, help="smallest truth in a logarithm")

    def terms(self, attention: AttentionMaps, groups: TokenGroups) -> dict[str, Tensor]:
        maps, floor = attention.maps, self.floor
        exists = existence(maps, groups, form=self.form, kept=self.kept, temperature=self.temperature, floor=floor)
        return {
            "existence": self.weight_existence * exists,
            "correspondence": self.weight_correspondence * correspondence(maps, groups, floor=floor),
            "leakage": self.weight_leakage * leakage(maps, groups, floor=floor),
        }

    def applies_to(self, groups: TokenGroups) -> Tensor:
        return has_entities(groups)
