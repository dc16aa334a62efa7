"""What differs between kinds of denoisers, one row each.

A row says which modules hold the attention from the picture's places to the text, in the order in which they run, and
how large their grid of places is. Nothing else in the library knows a model by its name. A new family is a new row.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn

from ..errors import ModelError


@dataclass(frozen=True)
class Family:
    """One kind of denoiser. `layers` and `factor` look at the denoiser, since sizes differ within a family."""

    name: str
    denoiser_class: str
    pipeline_attribute: str  # where the pipeline keeps the denoiser
    layers: Callable[[nn.Module], tuple[str, ...]]  # names of the text attention modules read by default, in running order
    factor: Callable[[nn.Module], int]  # side of the latents over side of those layers' grid
    reason: str  # why these layers

    def grid(self, denoiser: nn.Module, height: int, width: int) -> tuple[int, int]:
        """Return (height, width) of the maps for latents of `height` x `width`; each halving rounds up."""
        factor = self.factor(denoiser)
        return -(-height // factor), -(-width // factor)


def _unet_level(unet: Any) -> int:
    """Return how often the latents are halved at the coarsest level whose down block looks at the text."""
    return max(level for level, kind in enumerate(unet.config.down_block_types) if kind.startswith("CrossAttn"))


def _unet_layers(unet: Any) -> tuple[str, ...]:
    """Return the text layers of that level in running order: down, middle (when it is of the level), up."""
    level, last = _unet_level(unet), len(unet.config.down_block_types) - 1
    blocks = [f"down_blocks.{level}.", f"up_blocks.{last - level}."]
    if level == last:
        blocks.insert(1, "mid_block.")
    names = [name for name, _ in unet.named_modules() if name.endswith(".attn2")]
    return tuple(name for block in blocks for name in names if name.startswith(block))


FAMILIES = (
    Family(
        name="sd",
        denoiser_class="UNet2DConditionModel",
        pipeline_attribute="unet",
        layers=_unet_layers,
        factor=lambda unet: 2 ** _unet_level(unet),
        reason=(
            "the coarsest level whose down block attends to text: 16x16 for SD 1 and 2 at 512 pixels, 24x24 for SD 2 at "
            "768, as all the papers read; 16x16 for the emoji model"
        ),
    ),
)


def family_of(denoiser: nn.Module) -> Family:
    """Return the row for `denoiser`; raise `ModelError` when there is none or it never looks at text."""
    kinds = {cls.__name__ for cls in type(denoiser).__mro__}
    for family in FAMILIES:
        if family.denoiser_class in kinds:
            try:
                found = family.layers(denoiser)
            except ValueError:  # no level attends to text
                found = ()
            if not found:
                raise ModelError(f"this {family.denoiser_class} has no attention to text; a text-conditioned model is needed")
            return family
    known = ", ".join(f.denoiser_class for f in FAMILIES)
    raise ModelError(f"{type(denoiser).__name__} cannot be guided yet; denoisers that can: {known}")


def denoiser_of(pipe: Any) -> nn.Module:
    """Return the denoiser of a diffusers pipeline; raise `ModelError` when it has none that is known."""
    for attribute in dict.fromkeys(f.pipeline_attribute for f in FAMILIES):
        denoiser = getattr(pipe, attribute, None)
        if isinstance(denoiser, nn.Module):
            return denoiser
    raise ModelError(
        f"{type(pipe).__name__} has no denoiser under {', '.join(f.pipeline_attribute for f in FAMILIES)}; "
        "give a diffusers text-to-image pipeline"
    )
