"""Pairs of tokens: which ones a loss compares, and how far apart their maps are."""

from __future__ import annotations

import torch
from torch import Tensor

from .groups import TokenGroups
from .maps import FLOOR, distributions


def own_maps(maps: Tensor, groups: TokenGroups) -> Tensor:
    """Return maps (batch, token, height, width) in which all tokens but the prompt's own have even maps.

    A padding token that underflows at some pixel would spoil the gradient of a comparison that ignores it.
    """
    return torch.where(groups.prompt[:, :, None, None], maps, torch.ones_like(maps))


def distances(maps: Tensor, floor: float = FLOOR) -> Tensor:
    """Return the symmetric Kullback-Leibler divergence of all pairs of tokens, in nats, (batch, token, token).

    `maps` (batch, token, height, width). `floor` is added to each map before it is made a distribution: a pixel that
    underflowed to 0 would make the divergence infinite.
    """
    p = distributions(maps, floor).flatten(2)  # (batch, token, pixel)
    log_p = p.log()
    negative_entropy = (p * log_p).sum(dim=-1)  # (batch, token)
    cross = p @ log_p.mT  # [m, n] = sum of p_m log p_n
    kl = negative_entropy[:, :, None] - cross  # [m, n] = KL(p_m || p_n)
    return (kl + kl.mT) / 2


def pairs(groups: TokenGroups, include_entities: bool) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return modifier, noun, outside, each bool (pair, token), and the image of each pair, long (pair,).

    There is a pair for each modifier. With `include_entities` there is one for each entity without modifiers too, in which the
    noun stands for the modifier. `outside` are the prompt's pieces outside of the entity.
    """
    entity = groups.modifier_entity
    modifier = groups.modifier
    if include_entities:
        bare = torch.ones(len(groups.noun), dtype=torch.bool, device=entity.device)
        bare[entity] = False
        alone = bare.nonzero().flatten()
        entity, modifier = torch.cat([entity, alone]), torch.cat([modifier, groups.noun[alone]])
    image = groups.entity_image[entity]
    return modifier, groups.noun[entity], groups.prompt[image] & ~joined(groups)[entity], image


def joined(groups: TokenGroups) -> Tensor:
    """Return bool (entity, token): the pieces of each entity and of those of the same image that share a piece with it."""
    whole, image = groups.whole, groups.entity_image
    sharing = (whole[:, None] & whole[None, :]).any(dim=2) & (image[:, None] == image[None, :])  # (entity, entity)
    return (sharing[:, :, None] & whole[None, :]).any(dim=1)


def furthest_piece(distance: Tensor, word: Tensor) -> Tensor:
    """Return (pair, token): the distance of every token to the piece of a word that is furthest from it.

    `distance` (pair, token, token); `word` bool (pair, token).
    """
    return distance.masked_fill(~word[:, :, None], -torch.inf).amax(dim=1)
