"""Guidance as a block of modular pipelines: the same latents as around the pipelines that are not modular."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from diffusers.guiders import ClassifierFreeGuidance
from diffusers.modular_pipelines import (
    Flux2AutoBlocks,
    Flux2KleinAutoBlocks,
    FluxAutoBlocks,
    QwenImageAutoBlocks,
    StableDiffusion3AutoBlocks,
    StableDiffusionXLAutoBlocks,
    ZImageAutoBlocks,
)
from torch import Tensor
from transformers import CLIPTokenizer

import unbleed
from helpers import tiny
from helpers.families import OPTIONS, draw
from unbleed.errors import ModelError
from unbleed.modular import add_guidance

PROMPTS = ["a red cat and a blue bench", "a dog and a yellow car with an apple"]
METHOD = unbleed.methods.SynGen(include_entities=True, step_size=5.0, stop=1.0)
BLOCKS: dict[str, Callable[[], Any]] = {
    "flux": FluxAutoBlocks,
    "sdxl": StableDiffusionXLAutoBlocks,
    "z-image": ZImageAutoBlocks,
    "klein": Flux2KleinAutoBlocks,
    "flux2": Flux2AutoBlocks,
    "qwen": QwenImageAutoBlocks,
    "sd3": StableDiffusion3AutoBlocks,
}
PLAIN: dict[str, dict[str, Any]] = {  # without negative prompts, of which a block knows nothing
    "z-image": {"guidance_scale": 0.0},
    "klein": {"guidance_scale": 1.0},
    "qwen": {"true_cfg_scale": 1.0, "negative_prompt": None},
    "sd3": {"guidance_scale": 1.0},
}


def seeds() -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in (0, 1)]


def drawn(pipe: Any, **more: Any) -> Tensor:
    options = {"height": 128, "width": 160, "num_inference_steps": 3, "generator": seeds(), **more}
    return pipe(prompt=list(PROMPTS), output="latents", **options)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in BLOCKS if name not in ("flux", "sdxl")])
def test_a_block_of_a_newer_family_gives_the_latents_of_the_hooks(name: str, pipes: Callable[[str], Any]) -> None:
    base, blocks = pipes(name), BLOCKS[name]()
    guidance = add_guidance(blocks, METHOD)
    pipe = blocks.init_pipeline()
    parts = {key: value for key, value in base.components.items() if value is not None}
    pipe.update_components(**{key: value for key, value in parts.items() if key in pipe._component_specs})
    if "guider" in pipe._component_specs:
        pipe.update_components(guider=ClassifierFreeGuidance(enabled=False))
    for block in below(pipe._blocks):
        for setting in ("prompt_template_encode", "prompt_template_encode_start_idx"):
            if hasattr(block, setting):
                setattr(block, setting, getattr(base, setting))
        if hasattr(block, "DEFAULT_SYSTEM_MESSAGE"):
            block.DEFAULT_SYSTEM_MESSAGE = base.system_message
    pipe.set_progress_bar_config(disable=True)
    options = {**OPTIONS[name], **PLAIN.get(name, {})}
    own = {key: value for key, value in options.items() if key in ("max_sequence_length", "text_encoder_out_layers")}
    found = drawn(pipe, **own)
    with unbleed.guide(base, METHOD) as run:
        expected = draw(base, name, PROMPTS, **PLAIN.get(name, {}))
    assert guidance.run.entities == run.entities
    assert guidance.run.tokens == run.tokens
    for ours, theirs in zip(guidance.run.steps, run.steps, strict=True):
        assert ours.loss == pytest.approx(theirs.loss, abs=1e-4)
    # packed or not, and klein's after its normalization: the same values
    ours, theirs = (latents.flatten(1).sort(dim=1).values for latents in (found, expected))
    torch.testing.assert_close(ours, theirs, atol=1e-3, rtol=1e-3)


def below(blocks: Any) -> list[Any]:
    inner = getattr(blocks, "sub_blocks", None) or {}
    return [blocks, *(one for block in inner.values() for one in below(block))]


@pytest.mark.parametrize("name", ["flux", "sdxl"])
def test_a_block_gives_the_latents_of_the_hooks(name: str, tokenizer: CLIPTokenizer) -> None:
    base = tiny.make(name, tokenizer)
    blocks = BLOCKS[name]()
    guidance = add_guidance(blocks, METHOD)
    pipe = blocks.init_pipeline()
    pipe.update_components(**{key: value for key, value in base.components.items() if value is not None})
    pipe.set_progress_bar_config(disable=True)
    found = drawn(pipe, **({"max_sequence_length": 24} if name == "flux" else {}))
    assert [[str(e) for e in own] for own in guidance.run.entities] == [
        ["red cat", "blue bench"],
        ["dog", "yellow car", "apple"],
    ]
    assert [step.step for step in guidance.run.steps if step.image == 0] == [0, 1, 2]
    options = {"height": 128, "width": 160, "num_inference_steps": 3, "generator": seeds(), "output_type": "latent"}
    more = {"max_sequence_length": 24} if name == "flux" else {"guidance_scale": 7.5}
    with unbleed.guide(base, METHOD):
        expected = base(PROMPTS, **options, **more).images
    if name == "flux":
        expected = base._unpack_latents(expected, 128, 160, base.vae_scale_factor)
    assert found.shape == expected.shape
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_a_block_cannot_change_the_denoiser() -> None:
    with pytest.raises(ModelError, match="composable makes edits inside the denoiser, which a block cannot"):
        add_guidance(FluxAutoBlocks(), "composable")


def test_blocks_without_a_loop_are_refused() -> None:
    with pytest.raises(ModelError, match="has no denoising loop"):
        add_guidance(object())


def test_families_without_a_block_are_refused(tokenizer: CLIPTokenizer) -> None:
    """Their modular loops call the denoiser in ways of their own: they are not to be guessed at."""
    block = add_guidance(FluxAutoBlocks(), METHOD)
    base = tiny.make("pixart", tokenizer)
    with pytest.raises(ModelError, match="there is no block for PixArtTransformer2DModel yet"):
        block(base, None, 0, torch.tensor(1.0))
