"""FOCUS: the tokens of one entity look at the same pixels, and different entities at different ones.

Bill et al. 2025, arXiv 2510.02315; formula from the paper and the authors' code. The map P_t of a token, smoothed, becomes a
distribution over pixels, q_t = P_t^3 / sum P_t^3. The Jensen-Shannon divergence of T distributions, from 0 (equal) to 1,

    JSD = 1 / (T log T) sum over t of KL(q_t || mean of q)

is small among the tokens of an entity and large among entities, whose distributions m_e are the means over their tokens:

    L = (mean over entities of more than one token of JSD(tokens of e) + 1 - JSD(all m_e)) / 2

An entity's tokens are the pieces of its noun and of its modifiers, in every text encoder. The power 3 is the authors', found by
trial. `floor` is added inside logarithms only.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from ..settings import NotNegative, Positive, setting
from .base import AttentionMaps, Loss, has_entities, mean_per_image, sum_per_image
from .groups import TokenGroups
from .maps import smooth

FLOOR = 1e-10  # authors' code


def focus(
    maps: Tensor, groups: TokenGroups, *, power: float = 3.0, sigma: float = 1.0, floor: float = FLOOR
) -> tuple[Tensor, Tensor]:
    """Return the two terms of L, each (batch,) and from 0 to 1/2, for raw maps (batch, token, height, width).

    The first is small if the tokens of an entity look at the same pixels, the second if different entities do not. An image
    with fewer than two entities has 0 in both. `sigma` is the standard deviation of the 3x3 smoothing, in pixels; 0 for none.
    """
    several = has_entities(groups, 2)
    owner, token = groups.whole.nonzero(as_tuple=True)  # (item,): every token of every entity
    raw = smooth(maps[groups.entity_image[owner], token], sigma / math.sqrt(2))  # `smooth` takes a nominal width
    q = _distribution(raw.flatten(1), power)  # (item, pixel)
    means, together, counts = _divergences(q, owner, len(groups.noun), floor)
    _, between, _ = _divergences(means, groups.entity_image, groups.images, floor)
    many = counts > 1
    same = mean_per_image(together[many], groups.entity_image[many], groups.images)
    return torch.where(several, same / 2, 0), torch.where(several, (1 - between) / 2, 0)


def _distribution(maps: Tensor, power: float) -> Tensor:
    """Return maps (item, pixel) to a power, summing to 1; an even distribution for a map of zeros."""
    tiny = torch.finfo(maps.dtype).tiny
    largest = maps.detach().amax(dim=1, keepdim=True).clamp(min=tiny)  # a scale has no effect, and no small map underflows
    raised = (maps / largest) ** power + tiny
    return raised / raised.sum(dim=1, keepdim=True)


def _divergences(q: Tensor, owner: Tensor, owners: int, floor: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return the mean distribution of each owner (owner, pixel), the divergence of its own from it (owner,), and their number.

    `q` are distributions (item, pixel), `owner` (item,) says whose. A single one has the divergence 0.
    """
    count = torch.bincount(owner, minlength=owners)
    means = q.new_zeros(owners, q.shape[1]).index_add(0, owner, q) / count.clamp(min=1)[:, None]
    divergence = (q * ((q + floor).log() - (means[owner] + floor).log())).sum(dim=1)
    scale = (count * count.clamp(min=2).log()).clamp(min=1)
    return means, sum_per_image(divergence, owner, owners) / scale, count


@dataclass(frozen=True)
class FocusLoss(Loss):
    """FOCUS's loss: the tokens of an entity look at the same pixels, and different entities at different ones.

    Bill et al. 2025, arXiv 2510.02315. Two components, `together` and `apart`, each from 0 to 1/2.

    >>> import torch
    >>> from unbleed.losses import FocusLoss, TokenGroups
    >>> groups = TokenGroups.from_positions([[(2, [1]), (4, [3])]], length=6)  # "red cat blue bench"
    >>> FocusLoss()(torch.full((1, 6, 4, 4), 1 / 6), groups)  # all look everywhere: together, but not apart
    tensor([0.5000])
    """

    power: Positive = setting(3.0, help="power to which the maps are raised before they become distributions")
    sigma: NotNegative = setting(1.0, help="standard deviation of the 3x3 smoothing of the maps, in pixels; 0 for none")
    floor: Positive = setting(FLOOR, help="added to probabilities inside logarithms")

    def terms(self, attention: AttentionMaps, groups: TokenGroups) -> dict[str, Tensor]:
        together, apart = focus(attention.maps, groups, **asdict(self))
        return {"together": together, "apart": apart}

    def applies_to(self, groups: TokenGroups) -> Tensor:
        return has_entities(groups, 2)
