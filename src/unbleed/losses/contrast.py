"""CONFORM: the words of one entity attract each other's maps and repel those of the other entities.

Meral et al. 2024, arXiv 2312.06059. The contrastive loss NT-Xent over words: an embedding v_k is the map of a word, a noun
or a modifier, smoothed and flattened, and its label is its entity. With `before`, the maps of the previous step, every
word has a second embedding of the same label, without gradient. For one image, with s_kl = cos(v_k, v_l) / temperature,

    N(a)    = the embeddings of another label than a's
    l(a, b) = - log( exp s_ab / (exp s_ab + sum over n in N(a) of exp s_an) )
    L       = mean of l(a, b) over all ordered pairs (a, b) of different embeddings of one label

So every embedding, of this step or the previous one, is an anchor, a positive and a negative; the other positives of an anchor
are not in its denominator. The library that the authors use computes the same (NTXentLoss of pytorch-metric-learning).

From the authors' notebook: raw maps (no softmax over tokens), smoothing, temperature 0.5 (the function's default is 0.07).
Their pipeline's other setting, here `normalise=True`, renormalises the maps over tokens as `excite` does; it scales the
stored maps of the previous step in place at every call, a bug that is not repeated. An entity of a single word without
`before` has nothing to attract, but is in the denominators of the others. Ours: an embedding is a word, the sum of its pieces
(theirs is a piece).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..settings import NotNegative, Positive, setting
from .base import AttentionMaps, Loss, PreviousMaps, has_entities, mean_per_image
from .groups import TokenGroups
from .maps import SIGMA, Kept, renormalise, smooth, word_maps


def contrast(
    maps: Tensor,
    groups: TokenGroups,
    before: Tensor | None = None,
    *,
    temperature: float = 0.5,
    normalise: bool = False,
    sigma: float = SIGMA,
    kept: Kept = "auto",
    sharpness: float = 100.0,
) -> Tensor:
    """Return L, (batch,), 0 or more, for raw maps (batch, token, height, width).

    `before` are the raw maps of the previous step, of the same shape, without gradient. An image with fewer than two entities,
    or with no two embeddings of one entity, has 0. `kept` and `sharpness`, the temperature of the softmax over tokens, matter
    only with `normalise=True`.
    """
    words = torch.cat([groups.noun, groups.modifier])
    entity = torch.cat([torch.arange(len(groups.noun), device=words.device), groups.modifier_entity])
    steps = [maps] if before is None else [maps, before.detach()]
    embeddings = []
    for step in steps:
        source = renormalise(step, groups, kept, sharpness) if normalise else step
        embeddings.append(directions(smooth(word_maps(source, words, groups.entity_image[entity]), sigma)))
    entity = entity.repeat(len(steps))
    image = groups.entity_image[entity]
    direction = torch.cat(embeddings)  # (embedding, pixel)
    similarity = direction @ direction.mT / temperature

    same = entity[:, None] == entity[None, :]
    negative = ~same & (image[:, None] == image[None, :])
    contrasted = negative.any(dim=1)
    # an anchor without negatives is in no pair; its row is emptied, since the gradient of log 0 would not be finite
    against = torch.where(contrasted[:, None], similarity.masked_fill(~negative, -torch.inf), 0).logsumexp(dim=1)
    itself = torch.eye(len(same), dtype=torch.bool, device=same.device)
    anchor, positive = (same & ~itself & contrasted[:, None]).nonzero(as_tuple=True)
    loss = F.softplus(against[anchor] - similarity[anchor, positive])
    return mean_per_image(loss, image[anchor], groups.images)


def directions(maps: Tensor, floor: float = 1e-4) -> Tensor:
    """Return maps (..., height, width) as vectors of length 1, (..., pixel), whose products are cosines.

    A map shorter than `floor` is divided by `floor`: a map of zeros stays 0, and its gradient is finite.
    """
    return F.normalize(maps.flatten(-2), dim=-1, eps=floor)


@dataclass(frozen=True)
class ContrastLoss(Loss):
    """CONFORM's loss: the maps of one entity's words attract each other and repel those of other entities.

    Meral et al. 2024, arXiv 2312.06059. One component, `contrast`, 0 or more. It reads the maps of the previous step.

    >>> import torch
    >>> from unbleed.losses import ContrastLoss, TokenGroups
    >>> groups = TokenGroups.from_positions([[(2, [1]), (4, [3])]], length=6)  # "red cat blue bench"
    >>> ContrastLoss()(torch.full((1, 6, 4, 4), 1 / 6), groups)  # ln 3: one positive and two negatives, all alike
    tensor([1.0986])
    """

    temperature: Positive = setting(0.5, help="divisor of the cosines in the contrast")
    normalise: bool = setting(False, help="renormalise the maps over tokens, as Attend-and-Excite does")
    sigma: NotNegative = setting(SIGMA, help="width of the 3x3 smoothing of the maps, in pixels; 0 for none")
    kept: Kept = setting("auto", help="tokens in the softmax with `normalise`, see `ExciteLoss`")
    sharpness: Positive = setting(100.0, help="factor of the maps in the softmax with `normalise`")

    @property
    def needs_previous_maps(self) -> PreviousMaps:
        return "measured"

    def terms(self, attention: AttentionMaps, groups: TokenGroups) -> dict[str, Tensor]:
        return {"contrast": contrast(attention.maps, groups, attention.previous_maps, **asdict(self))}

    def applies_to(self, groups: TokenGroups) -> Tensor:
        return has_entities(groups, 2)
