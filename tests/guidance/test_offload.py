"""Weights that are moved about while the pipeline runs: accelerate's hooks, here from the CPU to itself."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import CLIPTokenizer

import unbleed
from helpers import tiny
from helpers.marks import quick

accelerate = pytest.importorskip("accelerate")

PROMPTS = ["a red cat and a blue bench", "a dog and a yellow car"]
METHOD = unbleed.methods.SynGen(include_entities=True, step_size=5.0, stop=1.0)
FAMILIES = ["sdxl", "sd3", "flux"]
CPU = torch.device("cpu")


def drawn(pipe: Any, *, guided: bool = True, checkpointing: bool = False) -> Tensor:
    generators = [torch.Generator().manual_seed(seed) for seed in (0, 1)]
    options = {"height": 128, "width": 128, "num_inference_steps": 2, "generator": generators, "output_type": "latent"}
    if not guided:
        return pipe(PROMPTS, **options).images
    with unbleed.guide(pipe, METHOD, checkpointing=checkpointing):
        return pipe(PROMPTS, **options).images


def denoiser_of(pipe: Any) -> nn.Module:
    return pipe.unet if hasattr(pipe, "unet") else pipe.transformer


@pytest.mark.filterwarnings("ignore:sequential offload")
@pytest.mark.parametrize("checkpointing", quick([False], [False, True]))
@pytest.mark.parametrize("name", quick(["sd3"], FAMILIES))
def test_guidance_under_sequential_offload(name: str, checkpointing: bool, tokenizer: CLIPTokenizer) -> None:
    """Every layer's weights come when it runs and go when it has run; the gradient holds on to those that it needs."""
    pipe = tiny.make(name, tokenizer)
    plain, guided = drawn(pipe, guided=False), drawn(pipe, checkpointing=checkpointing)
    accelerate.cpu_offload(denoiser_of(pipe), CPU)
    assert {p.device.type for p in denoiser_of(pipe).parameters()} == {"meta"}
    assert torch.equal(drawn(pipe, guided=False), plain)
    if not checkpointing:
        with pytest.warns(unbleed.UnbleedWarning, match=r"moves up to .* checkpointing=True"), unbleed.guide(pipe, METHOD):
            pass
    torch.testing.assert_close(drawn(pipe, checkpointing=checkpointing), guided, atol=1e-5, rtol=1e-5)
    assert torch.equal(drawn(pipe, guided=False), plain)
    assert {p.device.type for p in denoiser_of(pipe).parameters()} == {"meta"}  # nothing stays behind


@pytest.mark.parametrize("name", quick(["sd3"], FAMILIES))
def test_guidance_under_model_offload(name: str, tokenizer: CLIPTokenizer) -> None:
    """The whole denoiser comes when it runs first and goes when another component does."""
    pipe = tiny.make(name, tokenizer)
    plain, guided = drawn(pipe, guided=False), drawn(pipe)
    _, hook = accelerate.cpu_offload_with_hook(denoiser_of(pipe), CPU)
    torch.testing.assert_close(drawn(pipe), guided, atol=0, rtol=0)
    hook.offload()
    assert torch.equal(drawn(pipe, guided=False), plain)
