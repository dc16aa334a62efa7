"""Look up the family of a denoiser, and the denoiser of a pipeline."""

from __future__ import annotations

from typing import Any

from torch import nn

from ..errors import ModelError
from .family import Family
from .table import FAMILIES


def row_of(denoiser: nn.Module) -> Family | None:
    """Return the row of the table for `denoiser`, None if there is none."""
    kinds = {cls.__name__ for cls in type(denoiser).__mro__}
    return next((f for f in FAMILIES if f.denoiser_class in kinds and f.fits(denoiser.config)), None)


def family_of(denoiser: nn.Module) -> Family:
    """Return the row for `denoiser`; raise `ModelError` when there is none or the denoiser has no text attention."""
    family = row_of(denoiser)
    if family is None:
        known = ", ".join(dict.fromkeys(f.denoiser_class for f in FAMILIES))
        raise ModelError(
            f"{type(denoiser).__name__} cannot be guided yet; denoisers that can: {known}; unbleed inspect says what is missing"
        )
    if not family.layers(denoiser, None, "all").names:
        raise ModelError(f"this {family.denoiser_class} has no attention to text; a text-conditioned model is needed")
    return family


def denoiser_of(pipe: Any) -> nn.Module:
    """Return the denoiser of a diffusers pipeline, unwrapped from `torch.compile`.

    Raises `ModelError` when the pipeline has no known one.
    """
    called = called_denoiser_of(pipe)
    return getattr(called, "_orig_mod", called)


def called_denoiser_of(pipe: Any) -> nn.Module:
    """Return what the pipeline calls: its denoiser, or the wrapper that `torch.compile` made of it."""
    attributes = dict.fromkeys(f.pipeline_attribute for f in FAMILIES)
    for attribute in attributes:
        denoiser = getattr(pipe, attribute, None)
        if isinstance(denoiser, nn.Module):
            return denoiser
    raise ModelError(
        f"{type(pipe).__name__} has no denoiser under {', '.join(attributes)}; give a diffusers text-to-image pipeline"
    )
