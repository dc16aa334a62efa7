"""From queries and keys to attention maps."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from einops import rearrange
from torch import Tensor

from ..errors import CaptureError
from ..precision import at_least_single
from .probe import Capture


def attention(capture: Capture) -> Tensor:
    """Return the softmax over tokens, (batch, head, place, token), in float32 where Q and K are in half precision.

    In half precision the explicit softmax loses small attention values and, for some models, overflows.
    """
    logits = at_least_single(capture.query) @ at_least_single(capture.key).mT * capture.scale
    if capture.mask is not None:
        is_kept = capture.mask.dtype == torch.bool
        logits = logits.masked_fill(~capture.mask, -torch.inf) if is_kept else logits + capture.mask
    return logits.softmax(dim=-1)


def average_maps(captures: Iterable[Capture], grid: tuple[int, int]) -> Tensor:
    """Return the maps A, (batch, token, height, width): the mean over all heads of all layers, each head alike.

    The values of one place sum to 1 over the tokens.

    Raises `CaptureError` when a layer's places do not fill the grid.
    """
    height, width = grid
    total, heads = None, 0
    for capture in captures:
        if capture.query.shape[2] != height * width:
            raise CaptureError(
                f"a text layer has {capture.query.shape[2]} places, but the latents ask for "
                f"{height}x{width} = {height * width}; the family table's row does not fit this denoiser"
            )
        summed = attention(capture).sum(dim=1)  # (batch, place, token)
        total = summed if total is None else total + summed
        heads += capture.query.shape[1]
    if total is None:
        raise CaptureError("no attention was captured, so there are no maps")
    return rearrange(total / heads, "b (h w) t -> b t h w", h=height, w=width)


def average_self_maps(captures: Iterable[Capture]) -> Tensor:
    """Return self-attention, (batch, place, place): the mean over all heads of all layers; each row sums to 1."""
    total, heads = None, 0
    for capture in captures:
        summed = attention(capture).sum(dim=1)
        total = summed if total is None else total + summed
        heads += capture.query.shape[1]
    if total is None:
        raise CaptureError("no self-attention was captured, so there are no maps")
    return total / heads
