"""Steps and guidance scale where the user names none: what a model's makers ask for, else its pipeline's defaults."""

from __future__ import annotations

import inspect
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import LCMScheduler
from PIL import Image

from helpers.families import OPTIONS, SIZES, every_family_quickly
from unbleed.errors import ModelError, PromptError, UnbleedWarning
from unbleed.generation import draw
from unbleed.recipes import Recipe, as_png, recipe_in
from unbleed.sampling import Sampling, forwards_per_step, guidance_arguments, sampling_named, sampling_of

PROMPT = "a red cat and a blue bench"
FLOW = "FlowMatchEulerDiscreteScheduler"

# (folder, pipeline, its own configuration, denoiser, its configuration, scheduler, steps, guidance scale)
MODELS: list[tuple[str, str, dict[str, Any], str, dict[str, Any], str, int, float | None]] = [
    ("stable-diffusion-v1-5", "StableDiffusionPipeline", {}, "UNet2DConditionModel", {}, "DDIMScheduler", 50, 7.5),
    ("sd-turbo", "StableDiffusionPipeline", {}, "UNet2DConditionModel", {}, "EulerDiscreteScheduler", 4, 0.0),
    ("sdxl-base-1.0", "StableDiffusionXLPipeline", {}, "UNet2DConditionModel", {}, "EulerDiscreteScheduler", 50, 5.0),
    ("sdxl-turbo", "StableDiffusionXLPipeline", {}, "UNet2DConditionModel", {}, "EulerDiscreteScheduler", 4, 0.0),
    ("mine", "StableDiffusionXLPipeline", {}, "UNet2DConditionModel", {}, "LCMScheduler", 4, 1.0),
    ("sd3.5-medium", "StableDiffusion3Pipeline", {}, "SD3Transformer2DModel", {}, FLOW, 28, 7.0),
    ("stable-diffusion-3.5-large-turbo", "StableDiffusion3Pipeline", {}, "SD3Transformer2DModel", {}, FLOW, 4, 0.0),
    ("FLUX.1-dev", "FluxPipeline", {}, "FluxTransformer2DModel", {"guidance_embeds": True}, FLOW, 28, 3.5),
    ("renamed", "FluxPipeline", {}, "FluxTransformer2DModel", {"guidance_embeds": False}, FLOW, 4, 0.0),
    ("Chroma1-HD", "ChromaPipeline", {}, "ChromaTransformer2DModel", {}, FLOW, 35, 5.0),
    ("FLUX.2-dev", "Flux2Pipeline", {}, "Flux2Transformer2DModel", {}, FLOW, 50, 4.0),
    ("klein", "Flux2KleinPipeline", {"is_distilled": True}, "Flux2Transformer2DModel", {}, FLOW, 4, 1.0),
    ("klein-base", "Flux2KleinPipeline", {"is_distilled": False}, "Flux2Transformer2DModel", {}, FLOW, 50, 4.0),
    ("Z-Image-Turbo", "ZImagePipeline", {}, "ZImageTransformer2DModel", {}, FLOW, 9, 0.0),
    ("Z-Image", "ZImagePipeline", {}, "ZImageTransformer2DModel", {}, FLOW, 50, 5.0),
    ("Krea-2", "Krea2Pipeline", {}, "Krea2Transformer2DModel", {}, FLOW, 28, 4.5),
    ("Krea-2-Turbo", "Krea2Pipeline", {"is_distilled": True}, "Krea2Transformer2DModel", {}, FLOW, 8, 0.0),
    ("Qwen-Image", "QwenImagePipeline", {}, "QwenImageTransformer2DModel", {}, FLOW, 50, 4.0),
    ("Qwen-Image-2.1", "QwenImage21Pipeline", {}, "QwenImage21Transformer2DModel", {}, FLOW, 40, 1.0),
    ("HunyuanImage-2.1", "HunyuanImagePipeline", {}, "HunyuanImageTransformer2DModel", {}, FLOW, 50, None),
    ("H-Distilled", "HunyuanImagePipeline", {}, "HunyuanImageTransformer2DModel", {"guidance_embeds": True}, FLOW, 8, 3.25),
]


def folder_of(path: Path, model: tuple[Any, ...]) -> Path:
    """Write the configurations of a pipeline, without weights."""
    name, pipeline, own, denoiser, config, scheduler, *_ = model
    part = "unet" if denoiser.startswith("UNet") else "transformer"
    (path / name / part).mkdir(parents=True)
    index = {"_class_name": pipeline, part: ["diffusers", denoiser], "scheduler": ["diffusers", scheduler], **own}
    (path / name / "model_index.json").write_text(json.dumps(index))
    (path / name / part / "config.json").write_text(json.dumps({"_class_name": denoiser, **config}))
    return path / name


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model[0])
def test_a_model_that_is_not_loaded_has_its_makers_sampling(model: tuple[Any, ...], tmp_path: Path) -> None:
    assert sampling_named(str(folder_of(tmp_path, model))) == Sampling(*model[-2:])


def test_what_a_folder_says_itself_comes_first(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, MODELS[3])
    (folder / "unbleed.json").write_text('{"steps": 2}')
    assert sampling_named(str(folder)) == Sampling(2, 0.0)
    assert sampling_named("emoji") == Sampling(30, 3.0)
    with pytest.raises(ModelError, match="has no configuration that can be read"):
        sampling_named(str(tmp_path / "nothing"))


@pytest.mark.parametrize(
    ("name", "expected"),
    [("sd3", Sampling(28, 7.0)), ("flux", Sampling(28, 3.5)), ("qwen", Sampling(50, 4.0)), ("hunyuan", Sampling(50, None))],
)
def test_a_loaded_pipeline_has_the_same(name: str, expected: Sampling, pipes: Callable[[str], Any]) -> None:
    assert sampling_of(pipes(name)) == expected


def rows_per_image(pipe: Any, name: str, given: dict[str, Any]) -> int:
    """Return the rows that the denoiser gets in one step of a call on one image."""
    height, width = SIZES.get(name, (128, 160))
    own = ("negative_prompt", "true_cfg_scale", "guidance_scale")
    options = {key: value for key, value in OPTIONS[name].items() if key not in own}
    rows: list[int] = []
    denoiser = pipe.transformer if hasattr(pipe, "transformer") else pipe.unet

    def count(module: Any, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        rows.append(len(next(value for value in (*arguments, *named.values()) if isinstance(value, torch.Tensor | list))))

    handle = denoiser.register_forward_pre_hook(count, with_kwargs=True)
    try:
        pipe(
            prompt=[PROMPT], height=height, width=width, num_inference_steps=1, output_type="latent",
            generator=torch.Generator().manual_seed(0), **options, **given,
        )  # fmt: skip
    finally:
        handle.remove()
    return sum(rows)


@every_family_quickly
@pytest.mark.parametrize(("scale", "negative"), [(0.0, None), (4.0, None), (4.0, "a bird")])
def test_forwards_per_step_are_those_of_the_pipeline(
    name: str, scale: float, negative: str | None, pipes: Callable[[str], Any]
) -> None:
    pipe = pipes(name)
    takes = inspect.signature(type(pipe).__call__).parameters
    given = guidance_arguments(
        pipe, scale if "guidance_scale" in takes else None, negative if "negative_prompt" in takes else None
    )
    assert forwards_per_step(pipe, given) == rows_per_image(pipe, name, given)


@pytest.fixture(scope="module")
def few_steps(make_tiny_sd: Callable[..., Any]) -> Any:
    """A pipeline that suits four steps and a guidance scale of 1."""
    pipe = make_tiny_sd()
    pipe.scheduler = LCMScheduler.from_config(pipe.scheduler.config)
    return pipe


def test_the_sampling_that_was_chosen_is_in_the_recipe_and_replays(few_steps: Any) -> None:
    asked = Recipe(PROMPT, height=64, width=64)
    first = draw(few_steps, [asked])[0]
    assert (asked.steps, asked.guidance_scale) == (None, None)
    assert (first.recipe.steps, first.recipe.guidance_scale) == (4, 1.0)
    with Image.open(io.BytesIO(as_png(first.image, first.recipe))) as stored:
        again = recipe_in(stored.text, "it")  # type: ignore[attr-defined]
    assert again == first.recipe
    assert np.array_equal(np.asarray(draw(few_steps, [again])[0].image), np.asarray(first.image))


def test_a_recipe_of_earlier_keeps_its_numbers(few_steps: Any) -> None:
    kept = draw(few_steps, [Recipe(PROMPT, height=64, width=64, steps=2, guidance_scale=7.5)])[0].recipe
    assert (kept.steps, kept.guidance_scale) == (2, 7.5)


def test_a_strength_that_leaves_no_step_of_the_models_own(few_steps: Any, tmp_path: Path) -> None:
    Image.new("RGB", (64, 64)).save(tmp_path / "a.png")
    with pytest.raises(PromptError, match=r"strength 0.2 of 4 steps leaves none to run"):
        draw(few_steps, [Recipe(PROMPT, image=str(tmp_path / "a.png"), strength=0.2)])


def test_a_negative_prompt_without_effect_is_said(few_steps: Any) -> None:
    with pytest.warns(UnbleedWarning, match="the negative prompt has no effect: StableDiffusionPipeline runs without"):
        draw(few_steps, [Recipe(PROMPT, height=64, width=64, steps=1, negative_prompt="a bird")])


def test_a_scale_that_a_pipeline_does_not_take(pipes: Callable[[str], Any]) -> None:
    with pytest.raises(PromptError, match="HunyuanImagePipeline takes no guidance scale here; leave it out"):
        guidance_arguments(pipes("hunyuan"), 5.0)
    assert guidance_arguments(pipes("hunyuan"), None) == {}
    with pytest.raises(PromptError, match="takes no negative prompt"):
        guidance_arguments(pipes("klein"), 4.0, "a bird")
