"""Runs of the tiny pipeline of each family."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import CLIPTokenizer

from helpers import tiny
from helpers.marks import quick

PROMPTS = ["a red cat and a blue bench", "a dog and a yellow car with an apple"]
MODERN = ("z-image", "flux2", "klein", "chroma", "qwen21", "krea", "lumina2", "hunyuan", "kolors")
FAMILIES = (*tiny.FAMILIES, *MODERN)

SIZES = {"sana": (64, 96)}
TAPS = {"text_encoder_out_layers": (0, 1, 2)}  # of a text encoder with few layers

OPTIONS: dict[str, dict[str, Any]] = {
    "sdxl": {},
    "sd3": {"max_sequence_length": 24},
    "flux": {"max_sequence_length": 24},
    "pixart": {"max_sequence_length": 24, "use_resolution_binning": False, "clean_caption": False},
    "sana": {"max_sequence_length": 24, "use_resolution_binning": False},
    "qwen": {"max_sequence_length": 24, "negative_prompt": "a bird", "true_cfg_scale": 2.0},
    "z-image": {"max_sequence_length": 80, "guidance_scale": 2.0},
    "flux2": {"max_sequence_length": 80, **TAPS},
    "klein": {"max_sequence_length": 80, "guidance_scale": 2.0, **TAPS},
    "chroma": {"max_sequence_length": 24},
    "qwen21": {"negative_prompt": "a bird", "true_cfg_scale": 2.0},
    "krea": {"max_sequence_length": 40, "guidance_scale": 2.0},
    "lumina2": {"max_sequence_length": 80},
    "hunyuan": {},
    "kolors": {"max_sequence_length": 24},
}
APART = ("flux", "klein", "chroma", "qwen", "qwen21", "krea", "lumina2", "hunyuan")  # negative prompts in calls of their own


def batch(name: str) -> list[str]:
    """Return prompts whose batch equals their singles in the unguided pipeline.

    Qwen-Image 2.1 places its pixels behind the longest text of the batch, so prompts must have the same length.
    """
    return [PROMPTS[0], "a blue dog and a green car"] if name == "qwen21" else PROMPTS


every_family = pytest.mark.parametrize("name", quick(tiny.FAMILIES, FAMILIES))
every_family_quickly = pytest.mark.parametrize("name", list(FAMILIES))


def make(name: str, tokenizer: CLIPTokenizer) -> Any:
    """Return the tiny pipeline of a family; the same weights every time."""
    if name in tiny.FAMILIES:
        return tiny.make(name, tokenizer)
    from helpers import tiny_modern  # many pipelines, which take a while to import

    torch.manual_seed(0)
    pipe = tiny_modern.MODERN[name](tokenizer)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def state(pipe: Any) -> dict[str, Any]:
    """Return what a test could leave altered in a pipeline: its parts, configurations, weights, hooks, patched methods."""
    denoiser = getattr(pipe, "unet", None) or pipe.transformer
    # printing a pipeline adds its class and version
    found: dict[str, Any] = {"config": {key: value for key, value in pipe.config.items() if not key.startswith("_")}}
    found["pipeline"] = sorted(name for name in vars(pipe) if "unbleed" in name or name in dir(type(pipe)))
    for part, component in pipe.components.items():
        found[part] = (id(component), type(component).__name__)
        if part == "scheduler":
            found["scheduler's config"] = dict(component.config)
            found["scheduler's methods"] = sorted(name for name, value in vars(component).items() if callable(value))
        if isinstance(component, torch.nn.Module):
            found[f"weights of {part}"] = [(w.data_ptr(), w._version, w.requires_grad) for w in component.parameters()]
    found["config of the denoiser"] = dict(denoiser.config)
    for name, module in denoiser.named_modules():
        hooks = (len(module._forward_pre_hooks), len(module._forward_hooks), "forward" in vars(module))
        found[name] = (
            type(getattr(module, "processor", None)),
            module.training,
            hooks,
            vars(module).get("gradient_checkpointing"),
        )
    return found


def draw(pipe: Any, name: str, prompts: str | list[str], seeds: tuple[int, ...] = (0, 1), **more: Any) -> Tensor:
    """Return the latents after three steps, on a picture that is no square."""
    height, width = SIZES.get(name, (128, 160))
    sizes = {} if "image" in more else {"height": height, "width": width}
    options = {**OPTIONS.get(name, {}), **sizes, "num_inference_steps": 3, "output_type": "latent", **more}
    if isinstance(prompts, list) and isinstance(options.get("negative_prompt"), str):
        options["negative_prompt"] = [options["negative_prompt"]] * len(prompts)
    own = list(prompts) if isinstance(prompts, list) else prompts  # Z-Image writes into the list that it is given
    return pipe(prompt=own, generator=[torch.Generator().manual_seed(s) for s in seeds], **options).images


def layout(name: str, pipe: Any, queries: int, keys: int, prompt: str, places: int) -> tuple[slice, slice, int]:
    """Return the pixels among the queries and among the keys of a joint attention on `prompt`, and the start of its text.

    Each layout is the one in the denoiser's own code: what comes first, and what is padded.
    """
    if name in ("sd3", "hunyuan"):
        return slice(0, places), slice(0, places), places
    if name == "z-image":  # both parts are padded to a multiple of 32
        return slice(0, places), slice(0, places), -(-places // 32) * 32
    if name == "qwen21":  # a call of its own for the pixels
        return slice(queries - places, queries), slice(keys - places, keys), 0
    if name == "lumina2":  # the pixels follow each row's own text
        text = len(pipe.tokenizer(f"{pipe.system_prompt} <Prompt Start> {prompt}")["input_ids"])
        return slice(text, text + places), slice(text, text + places), 0
    return slice(queries - places, queries), slice(keys - places, keys), 0


def tokens_spell(run: Any, nouns: list[str]) -> bool:
    """Return whether the pieces at the nouns' positions spell them, in the first image's sequence."""
    tokens = run.tokens[0]
    found = ["".join(tokens.pieces[p] for p in noun).strip("▁ ").replace("▁", "") for noun, _ in tokens.entities]
    return found == nouns
