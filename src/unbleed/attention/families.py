"""What differs between kinds of denoisers, one row each.

A row says which modules hold the attention from the picture's places to the text, in the order in which they run, and
how large their grid of places is. Nothing else in the library knows a model by its name. A new family is a new row.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from torch import nn

from ..errors import ModelError

Part = Literal["all", "down", "mid", "up"]
"""Of a denoiser: which of its blocks are meant."""


@dataclass(frozen=True)
class TextLayers:
    """Modules that attend from the picture's places to the text, all on one grid."""

    names: tuple[str, ...]  # in running order
    factor: int  # side of the latents over side of the grid

    @property
    def self_names(self) -> tuple[str, ...]:
        """The modules beside them in which the same places attend to each other."""
        return tuple(name.removesuffix("attn2") + "attn1" for name in self.names)

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Return (height, width) of the maps for latents of `height` x `width`; each halving rounds up."""
        return -(-height // self.factor), -(-width // self.factor)


@dataclass(frozen=True)
class Family:
    """One kind of denoiser. `layers` looks at the denoiser, since sizes differ within a family.

    Its second argument is the side of the grid at the model's own picture size, None for the family's default; its third
    keeps the layers of one part.
    """

    name: str
    denoiser_class: str
    pipeline_attribute: str  # where the pipeline keeps the denoiser
    layers: Callable[[nn.Module, int | None, Part], TextLayers]
    reason: str  # why these layers by default


def _unet_layers(unet: Any, resolution: int | None = None, part: Part = "all") -> TextLayers:
    """Return the text layers of one level in running order: down, middle (when it is of the level), up."""
    kinds = unet.config.down_block_types
    last = len(kinds) - 1
    names = [name for name, _ in unet.named_modules() if name.endswith(".attn2")]

    def of_level(level: int) -> dict[str, list[str]]:
        blocks = {
            "down": f"down_blocks.{level}.",
            **({"mid": "mid_block."} if level == last else {}),
            "up": f"up_blocks.{last - level}.",
        }
        found = {own: [name for name in names if name.startswith(block)] for own, block in blocks.items()}
        return {own: layers for own, layers in found.items() if layers}

    looking = [level for level, kind in enumerate(kinds) if kind.startswith("CrossAttn")]
    sides = {-(-unet.config.sample_size // 2**level): level for level in range(last + 1) if of_level(level)}
    if not looking:
        return TextLayers((), 1)
    if resolution is not None and resolution not in sides:
        raise ModelError(
            f"this denoiser has no text attention at {resolution}x{resolution}; at its own picture size it has "
            f"{', '.join(f'{side}x{side}' for side in sides)}"
        )
    level = looking[-1] if resolution is None else sides[resolution]
    parts = of_level(level)
    if part != "all" and part not in parts:
        raise ModelError(
            f'this denoiser has no text attention in its "{part}" part at that resolution; it has some in: {", ".join(parts)}'
        )
    return TextLayers(tuple(name for own in parts if part in ("all", own) for name in parts[own]), 2**level)


FAMILIES = (
    Family(
        name="sd",
        denoiser_class="UNet2DConditionModel",
        pipeline_attribute="unet",
        layers=_unet_layers,
        reason=(
            "the coarsest level whose down block attends to text: 16x16 for SD 1 and 2 at 512 pixels, 24x24 for SD 2 at "
            "768, as all the papers read; 8x8 for the emoji model"
        ),
    ),
)


def family_of(denoiser: nn.Module) -> Family:
    """Return the row for `denoiser`; raise `ModelError` when there is none or it never looks at text."""
    kinds = {cls.__name__ for cls in type(denoiser).__mro__}
    for family in FAMILIES:
        if family.denoiser_class in kinds:
            if not family.layers(denoiser, None, "all").names:
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
