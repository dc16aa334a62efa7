"""Images of scenes as the model reproduces them: through its autoencoder, or noised a little and denoised again."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoPipelineForImage2Image
from torch import Tensor

from ...sizes import text_length
from .. import networks
from ..oracle import SIDE, from_pixels
from ..scenes import Thing
from .oracle_scenes import Blend, Scene, draw_all

# Redrawing must stay this weak, so that a thing stays that thing and a blend a blend (where it did not, see `outlasted`), and
# equally weak for both: otherwise the traces of redrawing would tell the oracle what is a blend.
_STRENGTHS = (0.1, 0.3)  # fraction of the steps of a whole run, drawn for each chunk
_DENOISING_STEPS = 3
_GUIDANCE_SCALE = 4.0  # about as the model draws
_OUTLASTED = 0.75  # a blend still is one while its distance from itself is below this fraction of that from its things


@torch.no_grad()
def round_trip(vae: Any, pictures: Tensor, noise: Tensor | float = 0.0) -> Tensor:
    """Return `pictures` (batch, rgb, height, width) as the autoencoder gives them back, with `noise` in their latents."""
    latents = vae.encode(pictures.contiguous(memory_format=torch.channels_last)).latent_dist.mean
    return from_latents(vae, latents + noise)


@torch.no_grad()
def from_latents(vae: Any, latents: Tensor) -> Tensor:
    """Return the pictures (batch, rgb, height, width) in [-1, 1] that the autoencoder makes of its own `latents`."""
    return vae.decode(latents.to(next(vae.parameters()))).sample.float().clamp(-1, 1)


def redraw(pipe: Any, pictures: Tensor, scenes: Sequence[Scene], seed: int, first: int) -> Tensor:
    """Return the latents of `pictures` redrawn by the model: (batch, channel, height, width) in float16, on its device.

    `pictures` (batch, rgb, side, side) in [-1, 1] show `scenes`, numbered from `first`. All get the same strength, which
    depends on `seed` and `first`; the noise of each depends on `seed` and its number.
    """
    if not scenes:
        return torch.empty(0, networks.LATENT_CHANNELS, networks.LATENT_SIDE, networks.LATENT_SIDE, dtype=torch.float16)
    redrawing: Any = AutoPipelineForImage2Image.from_pipe(pipe)  # the same networks
    redrawing.set_progress_bar_config(disable=True)
    strength = np.random.default_rng([seed, 14, first]).uniform(*_STRENGTHS)
    with torch.autocast(pipe.device.type, torch.bfloat16):
        latents = redrawing(
            [_prompt(scene) for scene in scenes],
            image=pictures / 2 + 0.5,
            strength=strength,
            # of these diffusers takes the last `int(steps * strength)`; none at all when that is zero
            num_inference_steps=math.ceil(_DENOISING_STEPS / strength),
            guidance_scale=_GUIDANCE_SCALE,
            **text_length(pipe),
            generator=[torch.Generator().manual_seed(seed * 1_000_003 + first + i) for i in range(len(scenes))],
            output_type="latent",
        ).images
    return (latents / pipe.vae.config.scaling_factor).half()


def _prompt(scene: Scene) -> str:
    """Return "a ... and a ..." of all that the scene holds, of a blend both of its things."""
    things = [thing for item in scene for thing in ([item] if isinstance(item, Thing) else [item.first, item.second])]
    most = (networks.TOKENS - 1) // 4  # four tokens each with a colour and "and", beside the marks of begin and end
    return " and ".join(f"a {thing.words}" for thing in things[:most])


def outlasted(pictures: Tensor, scenes: Sequence[Scene], seed: int, first: int, font: Path) -> list[bool]:
    """Return for each of `pictures` (batch, rgb, side, side) in [-1, 1] whether all blends of its scene are still blends.

    A denoiser that knows nothing but things makes one of them of many a blend, most of all of one that is half transparent,
    however faintly it redraws. What has become a thing must not be called a blend. It still is one where its box is clearly
    nearer to the drawn blend than to either of its things drawn in its place; `seed` and `first` are those of `draw_all`.
    """
    return [
        all(
            _is_still_blend(picture, scene, at, seed, first + i, font)
            for at, item in enumerate(scene)
            if isinstance(item, Blend) and not item.is_one_noun
        )
        for i, (picture, scene) in enumerate(zip(pictures.cpu(), scenes, strict=True))
    ]


def _is_still_blend(picture: Tensor, scene: Scene, at: int, seed: int, index: int, font: Path) -> bool:
    blend: Any = scene[at]
    left, top, right, bottom = (round(edge * SIDE) for edge in blend.box)
    itself, *things = (
        from_pixels(draw_all([(*scene[:at], item, *scene[at + 1 :])], seed, index, font))[0]
        for item in (blend, blend.first, blend.second)
    )
    box = (slice(None), slice(top, bottom), slice(left, right))
    nearest = min(F.mse_loss(picture[box], thing[box]).item() for thing in things)
    return F.mse_loss(picture[box], itself[box]).item() < _OUTLASTED**2 * nearest
