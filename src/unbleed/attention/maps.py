"""From queries and keys to attention maps."""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from ..errors import CaptureError
from ..precision import at_least_single
from .probe import Capture
from .sequence import JointSequence


def attention(capture: Capture) -> Tensor:
    """Return the softmax over tokens, (batch, head, pixel, token), in float32 where Q and K are in half precision.

    In half precision the explicit softmax loses small attention values and, for some models, overflows.
    """
    logits = at_least_single(capture.query) @ at_least_single(capture.key).mT * capture.scale
    if capture.mask is not None:
        is_kept = capture.mask.dtype == torch.bool
        logits = logits.masked_fill(~capture.mask, -torch.inf) if is_kept else logits + capture.mask
    return logits.softmax(dim=-1)


def columns(capture: Capture, joint: JointSequence) -> Tensor:
    """Return the wanted columns of the softmax over a whole sequence, (batch, head, pixel, wanted), without the matrix itself.

    A value that is 1 at one key and 0 elsewhere makes attention return the weight of that key. As many of them as a head is
    wide are read at once, by the fused kernels, with the model's own mask and in its own precision.
    """
    width, keys = capture.key.shape[-1], capture.key.shape[-2]
    joint.check(keys)
    query = joint.of_pixels(capture.query, 2)
    mask = capture.mask
    if mask is not None and mask.shape[-2] > 1:
        mask = joint.of_pixels(mask, mask.ndim - 2)
    positions, there = joint.tokens(len(query))
    found = []
    for part in positions.split(width, dim=1):
        value = capture.key.new_zeros(len(part), width, keys)
        value = value.scatter(2, F.pad(part, (0, width - part.shape[1]))[:, :, None], 1.0).mT
        value = value[:, None].expand(len(query), query.shape[1], -1, -1)
        weights = F.scaled_dot_product_attention(query, capture.key, value, mask, scale=capture.scale)
        found.append(weights[..., : part.shape[1]])
    read = torch.cat(found, dim=-1)
    return read if there is None else read * there[:, None, None]


def average_maps(captures: Iterable[Capture], grid: tuple[int, int], joint: JointSequence | None = None) -> Tensor:
    """Return the maps A, (batch, token, height, width): the mean over all heads of all layers, each head alike.

    The values of one pixel sum to 1 over the tokens. With a `joint` sequence they are the text's columns of its softmax; the
    rest up to 1 is the image's attention to itself.

    Raises `CaptureError` when a layer's pixels do not fill the grid.
    """
    height, width = grid
    total, heads = None, 0
    for capture in captures:
        if joint:
            summed = at_least_single(columns(capture, joint)).sum(dim=1)  # (batch, pixel, wanted)
        elif capture.query.shape[2] == height * width:
            summed = attention(capture).sum(dim=1)  # (batch, pixel, token)
        else:
            raise CaptureError(
                f"a text layer has {capture.query.shape[2]} pixels, but the latents ask for "
                f"{height}x{width} = {height * width}; the family table's row does not fit this denoiser"
            )
        total = summed if total is None else total + summed
        heads += capture.query.shape[1]
    if total is None:
        raise CaptureError("no attention was captured, so there are no maps")
    if joint:
        total = total.new_zeros(*total.shape[:2], joint.axis).index_copy(2, joint.wanted, total)
    return rearrange(total / heads, "b (h w) t -> b t h w", h=height, w=width)


def _over_heads(capture: Capture) -> Tensor:
    return attention(capture).sum(dim=1)


def average_self_maps(captures: Iterable[Capture], joint: JointSequence | None = None) -> Tensor:
    """Return self-attention, (batch, pixel, pixel): the mean over all heads of all layers.

    Each row sums to 1; with a `joint` sequence the rest up to 1 is the attention to the text. A layer's softmax is computed
    again in the backward pass: stored for all heads and layers, it would take gigabytes.
    """
    total, heads = None, 0
    for capture in captures:
        summed = checkpoint(_over_heads, capture, use_reentrant=False, preserve_rng_state=False)
        if joint:
            summed = joint.of_pixels(joint.of_pixels(summed, 1), 2)
        total = summed if total is None else total + summed
        heads += capture.query.shape[1]
    if total is None:
        raise CaptureError("no self-attention was captured, so there are no maps")
    return total / heads
