"""From regions to what is added to the logits of the text attention. Pure functions on tensors.

v(p, t) is the fraction of pixel p in which token t is visible; log v is added, see `unbleed.edits.regions`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..attention import JointSequence
from ..losses.groups import TokenGroups


def visibility(regions: Tensor, groups: TokenGroups, *, background: bool = False) -> Tensor:
    """Return v, (batch, token, height, width) from 0 to 1: the fraction of each pixel in which each token is visible.

    `regions` (entity, height, width) from 0 to 1, in the order of `groups.noun`. With `background`, tokens of entities are
    visible outside of all regions too.
    """
    image, whole = groups.entity_image, groups.whole.to(regions.dtype)  # (entity,), (entity, token)
    seen = regions.new_zeros(groups.images, groups.tokens, *regions.shape[-2:])
    seen = seen.index_add(0, image, torch.einsum("ehw,et->ethw", regions, whole))
    if background:
        covered = regions.new_zeros(groups.images, *regions.shape[-2:]).index_add(0, image, regions)
        seen = seen + (1 - covered).clamp(min=0)[:, None]
    limited = whole.new_zeros(groups.images, groups.tokens).index_add(0, image, whole) > 0
    return torch.where(limited[:, :, None, None], seen.clamp(max=1), seen.new_ones(()))


def emphasis(regions: Tensor, groups: TokenGroups) -> Tensor:
    """Return, for tokens of modifiers, how much of each pixel is in their entity's region, (batch, token, height, width)."""
    own = torch.einsum("mhw,mt->mthw", regions[groups.modifier_entity], groups.modifier.to(regions.dtype))
    inside = regions.new_zeros(groups.images, groups.tokens, *regions.shape[-2:])
    return inside.index_add(0, groups.entity_image[groups.modifier_entity], own).clamp(max=1)


def text_bias(visible: Tensor, added: Tensor | float = 0.0) -> Tensor:
    """Return what is added to the logits of pixels on tokens, (batch, pixel, token).

    `visible` is v, (batch, token, height, width); `added` is added to log v. log 0 is minus infinity, but never in a whole row:
    the start token is always visible.
    """
    return (visible.log() + added).flatten(2).transpose(1, 2)


def joint_bias(visible: Tensor, groups: TokenGroups, joint: JointSequence, added: Tensor | float = 0.0) -> Tensor:
    """Return what is added to the logits of a joint sequence of pixels and tokens, (batch, total, total).

    `visible` and `added` are those of `text_bias`; `added` holds for pixels that attend to tokens. Pixels attend to tokens that
    are visible there, tokens to the pixels in which they are visible, and words of different entities not to each other. All
    other entries are 0, also from pixel to pixel. The sequence ends with its last pixel or token.
    """
    to_text, from_text = (text_bias(visible, own) for own in (added, 0.0))  # (batch, pixel, token)
    whole = groups.whole.to(visible.dtype)
    owners = visible.new_zeros(groups.images, len(whole), groups.tokens)
    owners[groups.entity_image, torch.arange(len(whole), device=owners.device)] = whole
    together = owners.mT @ owners > 0  # (batch, token, token): some entity has both words
    owned = owners.any(dim=1)
    strangers = owned[:, :, None] & owned[:, None, :] & ~together
    bias = visible.new_zeros(groups.images, joint.end, joint.end)
    for row, ((first, count), (start, length)) in enumerate(joint.rows(groups.images)):
        texts = min(length, groups.tokens)
        pixels, tokens = slice(first, first + count), slice(start, start + texts)
        bias[row, pixels, tokens] = to_text[row, :, :texts]
        bias[row, tokens, pixels] = from_text[row, :, :texts].T
        bias[row, tokens, tokens] = bias[row, tokens, tokens].masked_fill(strangers[row, :texts, :texts], -torch.inf)
    return bias
