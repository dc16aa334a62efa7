"""From queries and keys to attention maps."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from ..errors import CaptureError
from ..precision import at_least_single
from .probe import Capture


def attention(capture: Capture) -> Tensor:
    """Return the softmax over tokens, (batch, head, pixel, token), in float32 where Q and K are in half precision.

    In half precision the explicit softmax loses small attention values and, for some models, overflows.
    """
    logits = at_least_single(capture.query) @ at_least_single(capture.key).mT * capture.scale
    if capture.mask is not None:
        is_kept = capture.mask.dtype == torch.bool
        logits = logits.masked_fill(~capture.mask, -torch.inf) if is_kept else logits + capture.mask
    return logits.softmax(dim=-1)


@dataclass(frozen=True)
class JointSequence:
    """Positions of image and text in the one sequence of a joint attention."""

    text_first: bool
    texts: int  # number of text tokens
    wanted: Tensor  # long (wanted,): the tokens whose maps are read
    axis: int  # length of the maps' token axis, on which all other tokens are 0

    def pixels(self, count: int, total: int) -> slice:
        """Return the positions of the first `count` pixels of the image in a sequence of `total`."""
        first = self.texts if self.text_first else 0
        if self.texts + count > total:
            raise CaptureError(
                f"a joint attention has {total} positions, but {self.texts} of text and {count} of the image are "
                "expected; the family table's row does not fit this denoiser"
            )
        return slice(first, first + count)

    def tokens(self, total: int) -> Tensor:
        """Return the positions of the wanted tokens in a sequence of `total`."""
        return self.wanted if self.text_first else self.wanted + (total - self.texts)


def columns(capture: Capture, rows: slice, wanted: Tensor) -> Tensor:
    """Return columns of the softmax over a whole sequence, (batch, head, row, wanted), without the matrix itself.

    A value that is 1 at one key and 0 elsewhere makes attention return the weight of that key. As many of them as a head is
    wide are read at once, by the fused kernels, with the model's own mask and in its own precision.
    """
    width = capture.key.shape[-1]
    mask = capture.mask
    if mask is not None and mask.shape[-2] > 1:
        mask = mask[..., rows, :]
    found = []
    for part in wanted.split(width):
        value = capture.key.new_zeros(capture.key.shape[-2], width)
        value[part, torch.arange(len(part), device=part.device)] = 1
        value = value.expand(*capture.key.shape[:-2], -1, -1)
        weights = F.scaled_dot_product_attention(capture.query[..., rows, :], capture.key, value, mask, scale=capture.scale)
        found.append(weights[..., : len(part)])
    return torch.cat(found, dim=-1)


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
            rows, wanted = joint.pixels(height * width, capture.key.shape[2]), joint.tokens(capture.key.shape[2])
            summed = at_least_single(columns(capture, rows, wanted)).sum(dim=1)  # (batch, pixel, wanted)
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


def average_self_maps(captures: Iterable[Capture], grid: tuple[int, int], joint: JointSequence | None = None) -> Tensor:
    """Return self-attention, (batch, pixel, pixel): the mean over all heads of all layers.

    Each row sums to 1; with a `joint` sequence the rest up to 1 is the attention to the text. A layer's softmax is computed
    again in the backward pass: stored for all heads and layers, it would take gigabytes.
    """
    pixels = grid[0] * grid[1]
    total, heads = None, 0
    for capture in captures:
        summed = checkpoint(_over_heads, capture, use_reentrant=False, preserve_rng_state=False)
        if joint:
            own = joint.pixels(pixels, capture.key.shape[2])
            summed = summed[:, own, own]
        total = summed if total is None else total + summed
        heads += capture.query.shape[1]
    if total is None:
        raise CaptureError("no self-attention was captured, so there are no maps")
    return total / heads
