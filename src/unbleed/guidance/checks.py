"""Compatibility checks before sampling: pipelines, denoisers and methods that cannot be guided, or at a price."""

from __future__ import annotations

import warnings
from typing import Any

from torch import nn

from ..attention import Family
from ..errors import MethodError, ModelError, UnbleedWarning
from .compiled import is_compiled
from .method import Method

_CACHING_PACKAGES = {
    "DeepCache": "call its helper's disable()",
    "cache_dit": "call cache_dit.disable_cache(pipe)",
    "para_attn": "load the pipeline without it",
}


def refuse_guided(pipe: Any, denoiser: nn.Module) -> None:
    """Raise `ModelError` if the pipeline or its denoiser is being guided already."""
    if getattr(pipe, "_unbleed_guided", False) or getattr(denoiser, "_unbleed_guided", False):
        raise ModelError(
            "this pipeline, or another one with the same denoiser, is being guided already; leave that `with` block, or call "
            "unbleed.detach(pipe), or add the two losses into one"
        )


def refuse_pipelines(pipe: Any) -> None:
    """Raise `ModelError` for pipelines whose loop runs the denoiser on other latents than those that the scheduler steps."""
    kind = type(pipe).__name__
    if hasattr(pipe, "sag_masking"):
        raise ModelError(
            f"{kind} runs the denoiser again on blurred latents (self-attention guidance), which guidance would overwrite; "
            "guide StableDiffusionPipeline(**pipe.components)"
        )
    if hasattr(pipe, "get_views"):
        raise ModelError(
            f"{kind} denoises overlapping parts of one image, and each would be guided as if it were the whole; "
            "guide StableDiffusionPipeline(**pipe.components)"
        )


def refuse_regions(method: Method) -> None:
    """Raise `MethodError` if regions were given for a method that does not use them."""
    if not any(edit.takes_regions for edit in method.edits):
        raise MethodError(f'regions were given, but {method.name} does not use them; take the method "regions"')


def refuse_what_cannot_work(denoiser: nn.Module, family: Family, method: Method) -> None:
    """Raise `ModelError` if guidance of this denoiser by this method would fail or be wrong."""
    if getattr(denoiser, "is_cache_enabled", False):
        raise ModelError(
            "the denoiser has a cache enabled, which skips layers, so its maps would be stale; call disable_cache()"
        )
    for module in (denoiser, *denoiser.modules()):
        forward = vars(module).get("forward", type(module).forward)
        package = getattr(forward, "__globals__", {}).get("__name__", "").partition(".")[0]
        if package in _CACHING_PACKAGES:
            raise ModelError(
                f"the denoiser's forward was replaced by {package}, which skips layers, so its maps would be stale; "
                f"{_CACHING_PACKAGES[package]}"
            )
    hooks = (name for m in denoiser.modules() for name in getattr(getattr(m, "_diffusers_hook", None), "hooks", {}))
    if any("group_offloading" in name for name in hooks):
        raise ModelError(
            "group offloading swaps weights under the gradient, which would be wrong; use pipe.enable_model_cpu_offload()"
        )
    if getattr(denoiser, "_parallel_config", None) is not None:
        raise ModelError(
            "the denoiser is split over several devices by context parallelism, which replaces the attention that is read; "
            "use one device per pipeline"
        )
    for edit in method.edits:
        if edit.families is not None and family.name not in edit.families:
            raise ModelError(
                f"{method.name} edits layers that a {family.denoiser_class} does not have in that form; it works with "
                f"{', '.join(edit.families)}; take a method that lowers a loss"
            )


def warn_of_what_is_slow(called: nn.Module, denoiser: nn.Module, method: Method, checkpointing: bool) -> None:
    """Warn of the cost of a compiled denoiser that has to run uncompiled, and of weights that are moved layer by layer."""
    if is_compiled(called) and any(edit.acts_inside for edit in method.edits):
        warnings.warn(
            f"{method.name} changes layers inside the denoiser while it runs, so the compiled denoiser runs uncompiled inside "
            "this `with` block; a method that lowers a loss leaves the pipeline's own forwards compiled",
            UnbleedWarning,
            stacklevel=2,
        )
    if is_compiled(called) and method.loss and method.descent.update == "velocity":
        warnings.warn(
            f"{method.name} takes its gradient from the pipeline's own forward, so at guided steps the compiled denoiser runs "
            "uncompiled; update=latents leaves the pipeline's own forwards compiled",
            UnbleedWarning,
            stacklevel=2,
        )
    if method.loss is None or checkpointing:
        return
    hooks = (getattr(module, "_hf_hook", None) for module in denoiser.modules())
    if any(getattr(one, "offload", False) for hook in hooks for one in (hook, *getattr(hook, "hooks", ()))):
        gibibytes = sum(weight.numel() * weight.element_size() for weight in denoiser.parameters()) / 2**30
        warnings.warn(
            f"sequential offload moves up to {gibibytes:.1f} GiB of weights once more for every guidance evaluation, and the "
            "gradient holds on to them until it is done; guide(..., checkpointing=True) holds one block at a time, "
            "pipe.enable_model_cpu_offload() moves them once",
            UnbleedWarning,
            stacklevel=2,
        )
