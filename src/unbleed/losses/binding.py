"""SynGen: a noun and its modifiers attend to the same pixels, and to others than the rest of the prompt.

Rassin et al. 2023, arXiv 2306.08877. Every token's map is a distribution p over pixels, and the distance of two tokens is the
symmetric Kullback-Leibler divergence, dist(m, n) = KL(p_m || p_n) / 2 + KL(p_n || p_m) / 2. Over the pairs (m, n) of an
entity's noun with each of its modifiers, and U the pieces of the prompt outside the entity,

    L_pos = sum over pairs of dist(m, n)
    L_neg = - sum over pairs of 1/|U| sum over u in U of (dist(m, u) + dist(u, n)) / 2
    L     = L_pos + L_neg

From the authors' code: pairs are summed, not averaged; a word of several pieces counts with its largest distance; U includes
articles, conjunctions and punctuation, but neither start, end nor padding. In the negative term of an entity without modifiers,
which the code has on request, the noun is both members of the pair.

Ours: nouns that share a modifier ("the apple and pear are green") are each paired with it, (green, apple) and (green, pear),
and neither is outside the other. The authors' code makes one group of them, whose last noun is the head and whose first noun is
a modifier of it, so its pairs are (apple, pear) and (green, pear): it draws the two nouns together. The floor is ours, too.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..settings import NotNegative, setting
from .base import AttentionMaps, Loss, has_entities, has_modifiers, sum_per_image
from .groups import TokenGroups
from .maps import FLOOR
from .pairs import distances, furthest_piece, own_maps, pairs


def binding(
    maps: Tensor, groups: TokenGroups, *, include_entities: bool = False, floor: float = FLOOR
) -> tuple[Tensor, Tensor]:
    """Return (L_pos, L_neg), each (batch,), for raw maps (batch, token, height, width).

    L_pos is 0 or more, L_neg is 0 or less. `include_entities` gives entities without modifiers the negative term.
    """
    modifier, noun, outside, image = pairs(groups, include_entities)
    distance = distances(own_maps(maps, groups), floor)[image]  # (pair, token, token)
    from_modifier, from_noun = furthest_piece(distance, modifier), furthest_piece(distance, noun)  # (pair, token)
    within = from_modifier.masked_fill(~noun, -torch.inf).amax(dim=1)
    # 0 where the noun stands for its modifier
    bound = torch.where((modifier != noun).any(dim=1), within, torch.zeros_like(within))
    apart = ((from_modifier + from_noun) / 2).masked_fill(~outside, 0).sum(dim=1) / outside.sum(dim=1).clamp(min=1)
    return sum_per_image(bound, image, groups.images), sum_per_image(-apart, image, groups.images)


@dataclass(frozen=True)
class BindingLoss(Loss):
    """SynGen's loss: bind modifiers to their nouns and keep them away from other words.

    Rassin et al. 2023, arXiv 2306.08877, equations of section 3. Components: `positive` (L_pos) and `negative` (L_neg).

    >>> import torch
    >>> from unbleed.losses import AttentionMaps, BindingLoss, TokenGroups
    >>> groups = TokenGroups.from_positions([[(2, [1]), (4, [3])]], length=6)  # "red cat blue bench"
    >>> maps = torch.full((1, 6, 4, 4), 0.1)
    >>> maps[:, 1:3, :, :2] = 0.3  # "red" and "cat" on the left
    >>> maps[:, 3:5, :, 2:] = 0.3  # "blue" and "bench" on the right
    >>> {name: round(value.item(), 3) for name, value in BindingLoss().terms(AttentionMaps(maps), groups).items()}
    {'positive': 0.0, 'negative': -1.099}
    """

    include_entities: bool = setting(False, help="give entities without modifiers the negative term")
    floor: NotNegative = setting(FLOOR, help="added to each map before it is made a distribution")

    def terms(self, attention: AttentionMaps, groups: TokenGroups) -> dict[str, Tensor]:
        positive, negative = binding(attention.maps, groups, include_entities=self.include_entities, floor=self.floor)
        return {"positive": positive, "negative": negative}

    def applies_to(self, groups: TokenGroups) -> Tensor:
        return has_entities(groups) if self.include_entities else has_modifiers(groups)
