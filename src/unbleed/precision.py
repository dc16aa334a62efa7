"""Losses and updates run in float32; gradients through float16 are rescaled."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

HALF = (torch.float16, torch.bfloat16)
PEAK = 10.0  # as a power of two; float16 reaches from 2**-24 to 2**16, and one head contributes little to a map


def at_least_single(values: Tensor) -> Tensor:
    """Return `values` in float32 if they were in float16 or bfloat16, unchanged otherwise."""
    return values.float() if values.dtype in HALF else values


def in_single(values: Tensor) -> Tensor:
    """Return `values` as `at_least_single` does, with a gradient that stays in the range of their own precision.

    The slope of a loss at a pixel that nothing attends to is 1 / floor, more than float16 can hold.
    """
    single = at_least_single(values)
    if single is not values and single.requires_grad:
        largest = torch.finfo(values.dtype).max
        single.register_hook(lambda gradient: gradient.clamp(-largest, largest))
    return single


def without_autocast(device: torch.device) -> AbstractContextManager[Any]:
    """Return a context in which `torch.autocast` changes no precision: maps, losses and edits choose their own."""
    return torch.autocast(device.type, enabled=False) if _has_autocast(device) else nullcontext()


def computes_in_float16(model: nn.Module, device: torch.device) -> bool:
    """Return whether a model of diffusers computes in float16, by itself or under an active `torch.autocast`."""
    cast = _has_autocast(device) and torch.is_autocast_enabled(device.type)
    return model.dtype == torch.float16 or (cast and torch.get_autocast_dtype(device.type) == torch.float16)


def _has_autocast(device: torch.device) -> bool:
    return torch.amp.is_autocast_available(device.type)  # the meta device has none


@contextmanager
def casting_by_replacement(model: nn.Module) -> Iterator[None]:
    """Let layerwise casting (`enable_layerwise_casting`) replace weights by new tensors instead of changing them in place.

    diffusers casts the weights of a layer for its forward and casts them back afterwards. Changed in place, they would be in
    storage precision when the backward pass needs them.
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
    """Return the gradient of each image's loss at `leaf`, on which `maps` depend, and through them `loss`.

    Args:
        maps: Tensors (batch, ...) between `leaf` and the loss.
        loss: (batch,).
        leaf: (batch, ...).
        half: Whether the model between `leaf` and the maps computes in float16, where small gradients lose digits or vanish.
            Then the gradient of an image with respect to its maps is scaled to a peak of about 2**PEAK by a power of two, which
            changes no digit, and the result is scaled back.
    """
    if not half:
        return torch.autograd.grad(loss.sum(), leaf)[0]
    by_maps = torch.autograd.grad(loss.sum(), maps, materialize_grads=True)
    peaks = torch.stack([part.abs().flatten(1).amax(dim=1) for part in by_maps]).amax(dim=0)  # (batch,)
    scale = torch.exp2((PEAK - peaks.log2()).round()).nan_to_num(1.0, posinf=1.0).clamp(min=2.0**-100, max=2.0**100)

    def scaled(part: Tensor, by: Tensor) -> Tensor:
        return part * by.reshape(-1, *[1] * (part.ndim - 1))

    (gradient,) = torch.autograd.grad(maps, leaf, [scaled(part, scale) for part in by_maps])
    return scaled(gradient, 1 / scale)
