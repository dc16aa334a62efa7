"""What guidance will cost, told beforehand: against what a run then does, on tiny models of every family."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel
from transformers import CLIPTokenizer

import unbleed
from helpers import tiny
from helpers.families import OPTIONS, PROMPTS, SIZES, every_family, make
from unbleed.attention import family_of
from unbleed.attention.families import denoiser_of
from unbleed.errors import ModelError, PromptError


class Around:
    """As much of a pipeline as an estimate looks at."""

    vae_scale_factor = 8

    def __init__(self, unet: Any) -> None:
        self.unet = unet

    def __call__(self, num_inference_steps: int = 50, guidance_scale: float = 7.5, negative_prompt: str = "") -> None: ...


@pytest.mark.slow
def test_stable_diffusion_has_the_known_figures() -> None:
    with torch.device("meta"):
        pipe = Around(UNet2DConditionModel(sample_size=64, cross_attention_dim=768).half())
    found = unbleed.estimate(pipe, unbleed.methods.AttendAndExcite(thresholds={}))
    assert 1.04 < found.evaluation < 1.1  # half a forward, and its backward with the fused kernel's second look
    assert found.evaluations == found.evaluations_without_refinement == 25
    assert 1.25 < found.ratio < 1.29
    assert found.weight_bytes == 2 * 859_520_964
    assert 0.30 < found.activation_bytes / 2**30 < 0.36
    assert found.activation_bytes_checkpointed < 0.25 * found.activation_bytes
    larger = unbleed.estimate(pipe, unbleed.methods.AttendAndExcite(thresholds={}), (768, 512))
    assert 1.4 < larger.activation_bytes / found.activation_bytes < 1.6
    assert unbleed.estimate(pipe, "none").ratio == 1


@pytest.mark.parametrize("name", ["nag", "composable"])
def test_forwards_that_edits_add_are_counted(name: str) -> None:
    """As many as a run was seen to take (docs/methods/measured.json, of a prompt of two entities)."""
    seen = json.loads((Path(__file__).parents[2] / "docs/methods/measured.json").read_text())[name]
    found = unbleed.estimate(unbleed.load("emoji"), name, steps=seen["steps"])
    assert found.ratio == seen["forwards"] / seen["unguided_forwards"]
    assert f"and {found.added:g} forwards that are added" in str(found)


@every_family
def test_every_family_can_be_estimated(name: str, tokenizer: CLIPTokenizer) -> None:
    pipe = make(name, tokenizer)
    height, width = SIZES.get(name, (128, 160))
    method = unbleed.methods.SynGen(include_entities=True, stop=0.5)
    found = unbleed.estimate(pipe, method, (height, width), steps=4)
    assert found.evaluations == 2
    assert 0 < found.evaluation < 5
    assert found.activation_bytes > 0
    with unbleed.guide(pipe, method) as run:
        options: dict[str, Any] = {
            **OPTIONS[name],
            "height": height,
            "width": width,
            "num_inference_steps": 4,
            "output_type": "latent",
        }
        pipe(prompt=PROMPTS[0], generator=torch.Generator().manual_seed(0), **options)
    assert len(run.steps) == found.evaluations


@pytest.mark.parametrize("name", ["sdxl", "sd3"])
def test_all_that_a_loss_looks_at_is_counted(name: str, tokenizer: CLIPTokenizer) -> None:
    """Self-attention, whose matrices are not kept, and the look back of a loss that remembers."""
    pipe = tiny.make(name, tokenizer)
    text, own, back = (
        unbleed.estimate(pipe, method, (256, 320))
        for method in (unbleed.methods.AttendAndExcite(), unbleed.methods.SelfCross(), unbleed.methods.AStar())
    )
    assert text.evaluation < own.evaluation
    assert text.evaluation < back.evaluation
    layers = family_of(denoiser_of(pipe)).layers(denoiser_of(pipe), None, "all")
    places = 20 * 16 if name == "sd3" else layers.grid(32, 40)[0] * layers.grid(32, 40)[1]
    assert own.activation_bytes - text.activation_bytes < 4 * places**2 * 2 * len(layers.self_names)  # a matrix has 2 heads


def test_refinement_is_counted_to_its_limits(tokenizer: CLIPTokenizer) -> None:
    pipe = tiny.make("sdxl", tokenizer)
    method = unbleed.methods.AttendAndExcite(thresholds={0.0: 0.0, 0.4: 0.0}, max_refinements=3)
    found = unbleed.estimate(pipe, method, (128, 160), steps=5)
    assert (found.evaluations_without_refinement, found.evaluations) == (3, 9)
    assert found.ratio == pytest.approx(1 + 9 * found.evaluation / 10)


def test_what_cannot_be_estimated_is_told(tokenizer: CLIPTokenizer) -> None:
    pipe = tiny.make("sdxl", tokenizer)
    with pytest.raises(PromptError, match="height 100; this model's pictures have multiples of 8 from 64 to 1024"):
        unbleed.estimate(pipe, size=(100, 128))
    with pytest.raises(ModelError, match="has no denoiser under"):
        unbleed.estimate(object())
