"""Half precision is for weights and activations; what is compared or added up little by little is not."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

PEAK = 10.0  # as a power of two; float16 reaches from 2**-24 to 2**16, and a head has a small share of a map


def at_least_single(values: Tensor) -> Tensor:
    """Return `values` in single precision if they were in half, as they are otherwise."""
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values


def gradient_through(maps: Sequence[Tensor], loss: Tensor, leaf: Tensor, *, half: bool) -> Tensor:
    """Return the gradient of each image's loss (image,) at `leaf` (image, ...), on which `maps` and through them `loss` depend.

    `half`: between `leaf` and the maps is float16, in which small gradients lose their digits or vanish. So those by an image's
    maps are brought to a peak of about 2**PEAK by a power of two, which changes no digit, and the image's gradient back by it.
    """
    if not half:
        return torch.autograd.grad(loss.sum(), leaf)[0]
    by_maps = torch.autograd.grad(loss.sum(), maps, materialize_grads=True)
    peaks = torch.stack([part.abs().flatten(1).amax(dim=1) for part in by_maps]).amax(dim=0)  # (image,)
    scale = torch.exp2((PEAK - peaks.log2()).round()).nan_to_num(1.0, posinf=1.0).clamp(min=2.0**-100, max=2.0**100)

    def scaled(part: Tensor, by: Tensor) -> Tensor:
        return part * by.reshape(-1, *[1] * (part.ndim - 1))

    (gradient,) = torch.autograd.grad(maps, leaf, [scaled(part, scale) for part in by_maps])
    return scaled(gradient, 1 / scale)
