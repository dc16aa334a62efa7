"""Runs of the tiny pipeline of each family."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from helpers import tiny

PROMPTS = ["a red cat and a blue bench", "a dog and a yellow car with an apple"]


SIZES = {"sana": (64, 96)}


OPTIONS: dict[str, dict[str, Any]] = {
    "sdxl": {},
    "sd3": {"max_sequence_length": 24},
    "flux": {"max_sequence_length": 24},
    "pixart": {"max_sequence_length": 24, "use_resolution_binning": False, "clean_caption": False},
    "sana": {"max_sequence_length": 24, "use_resolution_binning": False},
    "qwen": {"max_sequence_length": 24, "negative_prompt": "a bird", "true_cfg_scale": 2.0},
}


every_family = pytest.mark.parametrize("name", list(tiny.FAMILIES))


def draw(pipe: Any, name: str, prompts: str | list[str], seeds: tuple[int, ...] = (0, 1), **more: Any) -> Tensor:
    """Return the latents after three steps, on a picture that is no square."""
    height, width = SIZES.get(name, (128, 160))
    sizes = {} if "image" in more else {"height": height, "width": width}
    options = {**OPTIONS.get(name, {}), **sizes, "num_inference_steps": 3, "output_type": "latent", **more}
    if isinstance(prompts, list) and isinstance(options.get("negative_prompt"), str):
        options["negative_prompt"] = [options["negative_prompt"]] * len(prompts)
    return pipe(prompts, generator=[torch.Generator().manual_seed(s) for s in seeds], **options).images
