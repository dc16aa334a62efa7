"""Losses and updates run in float32; gradients through float16 are rescaled."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

PEAK = 10.0  # exponent of 2; float16 reaches from 2**-24 to 2**16, and a map is the mean of many heads


def at_least_single(values: Tensor) -> Tensor:
    """Return `values` in float32 if they are in half precision, else unchanged."""
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values


def without_autocast(device: torch.device) -> AbstractContextManager[Any]:
    """Return a context without `torch.autocast`: maps, losses and edits choose their own precision."""
    return torch.autocast(device.type, enabled=False) if _has_autocast(device) else nullcontext()


def computes_in_float16(model: nn.Module, device: torch.device) -> bool:
    """Return whether a diffusers model computes in float16, by its weights or by the active `torch.autocast`."""
    cast = _has_autocast(device) and torch.is_autocast_enabled(device.type)
    return model.dtype == torch.float16 or (cast and torch.get_autocast_dtype(device.type) == torch.float16)


def _has_autocast(device: torch.device) -> bool:
    return torch.amp.is_autocast_available(device.type)  # the meta device has none


@contextmanager
def casting_by_replacement(model: nn.Module) -> Iterator[None]:
    """Let layerwise casting (`enable_layerwise_casting`) replace weights instead of changing them in place.

    diffusers casts the weights of a layer before its forward and back after it. Changed in place, they would be in storage
    precision when the backward pass needs them.
    """
    hooks = (getattr(module, "_diffusers_hook", None) for module in model.modules())
    if not any(hook is not None and hook.get_hook("layerwise_casting") is not None for hook in hooks):
        yield
        return
    own = torch.__future__.get_overwrite_module_params_on_conversion()
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    try:
        yield
    finally:
        torch.__future__.set_overwrite_module_params_on_conversion(own)


def gradient_through(maps: Sequence[Tensor], loss: Tensor, leaf: Tensor, *, half: bool) -> Tensor:
    """Return the gradient of each image's loss (image,) at `leaf` (image, ...), on which `maps` and through them `loss` depend.

    With `half`, float16 is used between `leaf` and the maps, in which small gradients lose digits or underflow. The gradients
    of an image's maps are therefore scaled by a power of two to a peak of about 2**PEAK, which changes no digit, and the result
    is scaled back.
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
