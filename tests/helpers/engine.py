"""Guided and unguided runs of a tiny Stable Diffusion."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import (
    StableDiffusionPipeline,
)
from torch import Tensor

import unbleed

STEPS = 10


PROMPTS = ["a red cat and a blue bench", "a dog and a yellow car", "a green apple with a crown and a mouse"]


CURVE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1}


# Without what repeats an update many times, which would carry the last bits of a product to the first.
SHORT: dict[str, dict[str, Any]] = {
    "best-of-n": {"candidates": 4, "ahead": 1},
    "focus": {"update": "latents"},  # Stable Diffusion predicts no velocity
    "divide-and-bind": {"thresholds": {}},
    "conform": {"refinements": {0.2: 1}},
    "predicated": {"refinements": {0.0: 1}},
    "initno": {"rounds": 2, "noise_steps": 2, "last_noise_steps": 1, "max_refinements": 1},
    "self-cross": {"rounds": 1, "noise_steps": 2, "last_noise_steps": 0, "max_refinements": 1},
}


def noise(count: int = 1, height: int = 32, width: int = 32, seed: int = 1) -> Tensor:
    return torch.randn(count, 4, height, width, generator=torch.Generator().manual_seed(seed))


def draw(pipe: Any, prompts: str | list[str], latents: Tensor, **changes: Any) -> Tensor:
    """Return the final latents of a run."""
    options = {"num_inference_steps": STEPS, "guidance_scale": 5.0, "output_type": "latent"} | changes
    return pipe(prompts, latents=latents.clone(), **options).images


def guided(pipe: Any, method: Any, prompts: str | list[str], latents: Tensor, **changes: Any) -> Tensor:
    with unbleed.guide(pipe, method):
        return draw(pipe, prompts, latents, **changes)


def traces(pipe: StableDiffusionPipeline) -> dict[str, Any]:
    """Return everything that guidance touches."""
    return {
        "pipe": sorted(k for k in vars(pipe) if callable(vars(pipe)[k]) or k.startswith("_unbleed")),
        "scheduler": sorted(k for k in vars(pipe.scheduler) if callable(vars(pipe.scheduler)[k])),
        "hooks": sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in pipe.unet.modules()),
        "trainable": sum(p.requires_grad for p in pipe.unet.parameters()),
        "processors": [type(p).__name__ for p in pipe.unet.attn_processors.values()],
        "checkpointing": pipe.unet.is_gradient_checkpointing,
    }
