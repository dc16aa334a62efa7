"""SynGen: a noun and its modifiers attend to the same places, and to others than the rest of the prompt.

Rassin et al. 2023, arXiv 2306.08877. Every token's map is a distribution p over places, and the distance of two tokens
is the symmetric Kullback-Leibler divergence, dist(m, n) = KL(p_m || p_n) / 2 + KL(p_n || p_m) / 2. Over the pairs (m, n)
of an entity's noun with each of its modifiers, and U the pieces of the prompt outside the entity,

    L_pos = sum over pairs of dist(m, n)
    L_neg = - sum over pairs of 1/|U| sum over u in U of (dist(m, u) + dist(u, n)) / 2
    L     = L_pos + L_neg

From the authors' code: pairs are summed, not averaged; a word of several pieces counts with its largest distance; U holds
articles, conjunctions and signs too, but neither start, end nor padding. In the negative term of an entity without
modifiers, which the code has on request, the noun stands in both places of the pair.

Ours: nouns that share a modifier ("the apple and pear are green") are each paired with it, (green, apple) and (green,
pear), and are not outside one another. The authors' code makes one group of them, whose last noun is the head and whose
first noun is a modifier of it, so its pairs are (apple, pear) and (green, pear): it draws the two nouns together. The floor
is ours, too.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..settings import NotNegative
from .base import AttentionMaps, Loss, has_entities, has_modifiers
from .groups import TokenGroups
from .maps import in_single


def distances(maps: Tensor, floor: float = 1e-8) -> Tensor:
    """Return dist of all pairs of tokens, (batch, token, token), for maps (batch, token, height, width).

    `floor` is added to each map before it is made a distribution: a place that underflowed to 0 would make the
    divergence infinite.
    """
    flat = maps.flatten(2) + floor
    p = flat / flat.sum(dim=-1, keepdim=True)  # (batch, token, place)
    log_p = p.log()
    negative_entropy = (p * log_p).sum(dim=-1)  # (batch, token)
    cross = p @ log_p.mT  # [m, n] = sum of p_m log p_n
    kl = negative_entropy[:, :, None] - cross  # [m, n] = KL(p_m || p_n)
    return (kl + kl.mT) / 2


def binding(maps: Tensor, groups: TokenGroups, *, include_entities: bool = False, floor: float = 1e-8) -> tuple[Tensor, Tensor]:
    """Return (L_pos, L_neg), each (batch,), for raw maps (batch, token, height, width).

    `include_entities` gives entities without modifiers the negative term.
    """
    precision = maps.dtype
    maps = in_single(maps)
    # only the prompt's own tokens matter: a padding token that underflows somewhere must not spoil the gradient
    maps = torch.where(groups.prompt[:, :, None, None], maps, torch.ones_like(maps))
    modifier, noun, outside, image = _pairs(groups, include_entities)
    distance = distances(maps, floor)[image]  # (pair, token, token)
    from_modifier, from_noun = _furthest_piece(distance, modifier), _furthest_piece(distance, noun)  # (pair, token)
    within = from_modifier.masked_fill(~noun, -torch.inf).amax(dim=1)  # 0 where the noun stands for its modifier
    bound = torch.where((modifier != noun).any(dim=1), within, torch.zeros_like(within))
    apart = ((from_modifier + from_noun) / 2).masked_fill(~outside, 0).sum(dim=1) / outside.sum(dim=1).clamp(min=1)
    nothing = maps.new_zeros(groups.images)
    return nothing.index_add(0, image, bound).to(precision), nothing.index_add(0, image, -apart).to(precision)


def _pairs(groups: TokenGroups, include_entities: bool) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return modifier, noun, outside, each bool (pair, token), and the image of each pair, long (pair,)."""
    entity = groups.modifier_entity
    modifier = groups.modifier
    if include_entities:
        bare = torch.ones(len(groups.noun), dtype=torch.bool, device=entity.device)
        bare[entity] = False
        alone = bare.nonzero().flatten()
        entity, modifier = torch.cat([entity, alone]), torch.cat([modifier, groups.noun[alone]])
    image = groups.entity_image[entity]
    return modifier, groups.noun[entity], groups.prompt[image] & ~_joined(groups)[entity], image


def _joined(groups: TokenGroups) -> Tensor:
    """Return bool (entity, token): the pieces of each entity and of those of the same image that share a piece with it."""
    whole, image = groups.whole, groups.entity_image
    sharing = (whole[:, None] & whole[None, :]).any(dim=2) & (image[:, None] == image[None, :])  # (entity, entity)
    return (sharing[:, :, None] & whole[None, :]).any(dim=1)


def _furthest_piece(distance: Tensor, word: Tensor) -> Tensor:
    """Return (pair, token): the distance of every token to that piece of the word which is furthest from it."""
    return distance.masked_fill(~word[:, :, None], -torch.inf).amax(dim=1)


@dataclass(frozen=True)
class BindingLoss(Loss):
    """See `binding`."""

    include_entities: bool = False
    floor: NotNegative = 1e-8

    def terms(self, seen: AttentionMaps, groups: TokenGroups) -> dict[str, Tensor]:
        positive, negative = binding(seen.maps, groups, include_entities=self.include_entities, floor=self.floor)
        return {"positive": positive, "negative": negative}

    def applies_to(self, groups: TokenGroups) -> Tensor:
        return has_entities(groups) if self.include_entities else has_modifiers(groups)
