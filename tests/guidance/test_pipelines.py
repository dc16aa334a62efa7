"""Guidance in the pipelines around text-to-image: image-to-image, inpainting, ControlNet, adapters; tiny random models."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import diffusers as d
import pytest
import torch
from diffusers import StableDiffusionPipeline
from peft import LoraConfig
from torch import Tensor, nn
from transformers import CLIPTokenizer, CLIPVisionConfig, CLIPVisionModelWithProjection

import unbleed
from helpers import tiny
from helpers.marks import quick
from unbleed.attention.families import denoiser_of

PROMPTS = ["a red cat and a blue bench", "a dog and a yellow car with an apple"]
METHOD = unbleed.methods.SynGen(include_entities=True, step_size=5.0, stop=1.0)
PICTURES = torch.rand(2, 3, 128, 160, generator=torch.Generator().manual_seed(0))
MASKS = torch.zeros(2, 1, 128, 160)
MASKS[:, :, 32:96, 32:96] = 1
SIZE = {"height": 128, "width": 160}
FROM = {"image": PICTURES, "strength": 0.6, "num_inference_steps": 5}
INTO = {"image": PICTURES, "mask_image": MASKS, "strength": 0.6, "num_inference_steps": 5, **SIZE}

CASES: list[tuple[str, str, dict[str, Any]]] = [
    ("sd", "StableDiffusionImg2ImgPipeline", FROM),
    ("sd", "StableDiffusionInpaintPipeline", INTO),
    ("sd-9", "StableDiffusionInpaintPipeline", INTO),
    ("sd", "StableDiffusionControlNetPipeline", {"image": PICTURES}),
    ("sd", "StableDiffusionControlNetImg2ImgPipeline", {**FROM, "control_image": PICTURES}),
    ("sdxl", "StableDiffusionXLImg2ImgPipeline", FROM),
    ("sdxl", "StableDiffusionXLInpaintPipeline", INTO),
    ("sdxl-9", "StableDiffusionXLInpaintPipeline", INTO),
    ("sdxl", "StableDiffusionXLControlNetPipeline", {"image": PICTURES}),
    ("sd3", "StableDiffusion3Img2ImgPipeline", {**FROM, **SIZE}),
    ("sd3", "StableDiffusion3InpaintPipeline", INTO),
    ("sd3", "StableDiffusion3ControlNetPipeline", {"control_image": PICTURES, **SIZE}),
    ("flux", "FluxImg2ImgPipeline", {**FROM, **SIZE}),
    ("flux", "FluxInpaintPipeline", INTO),
    ("flux", "FluxControlNetPipeline", {"control_image": PICTURES, **SIZE}),
    ("flux-fill", "FluxFillPipeline", {"image": PICTURES, "mask_image": MASKS, **SIZE}),
    ("qwen", "QwenImageImg2ImgPipeline", {**FROM, **SIZE}),
    ("qwen", "QwenImageInpaintPipeline", INTO),
]
FEW = [case for case in CASES if case[0] in ("sd", "sd3") and "ControlNet" not in case[1]]


def randomised(module: nn.Module) -> Any:
    """Return a ControlNet whose outputs are not zero, as those of a new one are."""
    torch.manual_seed(1)
    for weight in module.parameters():
        nn.init.normal_(weight, std=0.05)
    return module.eval()


def control_of(pipe: Any) -> Any:
    denoiser = denoiser_of(pipe)
    if isinstance(denoiser, d.UNet2DConditionModel):
        return randomised(d.ControlNetModel.from_unet(denoiser))
    if isinstance(denoiser, d.FluxTransformer2DModel):
        heads = {"attention_head_dim": 16, "num_attention_heads": 2}
        return randomised(d.FluxControlNetModel.from_transformer(denoiser, num_layers=1, num_single_layers=1, **heads))
    return randomised(
        d.SD3ControlNetModel(
            sample_size=32,
            patch_size=2,
            in_channels=16,
            out_channels=16,
            num_layers=2,
            attention_head_dim=8,
            num_attention_heads=2,
            joint_attention_dim=32,
            caption_projection_dim=16,
            pooled_projection_dim=32,
            pos_embed_max_size=32,
        )
    )


@pytest.fixture(scope="session")
def built(tokenizer: CLIPTokenizer, make_tiny_sd: Callable[..., StableDiffusionPipeline]) -> Callable[[str, str], Any]:
    """Return the pipeline of a class around the tiny models of a family."""

    def build(family: str, kind: str) -> Any:
        name, _, form = family.partition("-")
        if name == "sd":
            base: Any = make_tiny_sd(**({"in_channels": 9} if form else {}))
        elif form == "9":
            torch.manual_seed(0)
            base = tiny.sdxl(tokenizer, in_channels=9)
        elif form == "fill":
            torch.manual_seed(0)
            base = tiny.flux(tokenizer, in_channels=4 * (2 * tiny.CHANNELS + 64), out_channels=4 * tiny.CHANNELS)
        else:
            base = tiny.make(name, tokenizer)
        cls = getattr(d, kind)
        named = inspect.signature(cls.__init__).parameters
        more = {"controlnet": control_of(base)} if "controlnet" in named else {}
        off = {"requires_safety_checker": False, "add_watermarker": False}
        more |= {key: value for key, value in off.items() if key in named}
        pipe = cls(**{key: value for key, value in base.components.items() if key in named}, **more)
        pipe.set_progress_bar_config(disable=True)
        if name == "qwen":
            pipe.prompt_template_encode = base.prompt_template_encode
            pipe.prompt_template_encode_start_idx = base.prompt_template_encode_start_idx
        return pipe

    return build


def draw(pipe: Any, **given: Any) -> Tensor:
    torch.manual_seed(2)  # some encode their picture with noise that no generator is asked for
    known = inspect.signature(pipe.__call__).parameters
    more = {"max_sequence_length": 24, "true_cfg_scale": 2.0} if "max_sequence_length" in known else {}
    options = {"num_inference_steps": 3, "output_type": "latent", **more, **given}
    options |= {"negative_prompt": ["a bird", "a bird"]} if "negative_prompt" in known else {}
    options = {key: value for key, value in options.items() if key in known}
    return pipe(prompt=PROMPTS, generator=[torch.Generator().manual_seed(seed) for seed in (0, 1)], **options).images


@pytest.mark.filterwarnings("ignore:.FluxPosEmbed. is deprecated:FutureWarning")  # by diffusers' own ControlNet
@pytest.mark.parametrize(("family", "kind", "given"), CASES, ids=[f"{family}-{kind}" for family, kind, _ in CASES])
def test_guidance_in_every_pipeline(family: str, kind: str, given: dict[str, Any], built: Callable[[str, str], Any]) -> None:
    pipe = built(family, kind)
    plain = draw(pipe, **given)
    assert torch.equal(draw(pipe, **given), plain)
    with unbleed.guide(pipe, METHOD) as run:
        guided = draw(pipe, **given)
    assert run.prompts == PROMPTS
    assert [[str(e) for e in own] for own in run.entities] == [["red cat", "blue bench"], ["dog", "yellow car", "apple"]]
    assert [step.step for step in run.steps if step.image == 0] == [0, 1, 2]
    assert len({step.timestep for step in run.steps}) == 3
    assert guided.isfinite().all()
    assert all((guided[i] - plain[i]).abs().max() > 1e-3 for i in range(2))
    assert torch.equal(draw(pipe, **given), plain)


@pytest.mark.filterwarnings("ignore:.FluxPosEmbed. is deprecated:FutureWarning")
@pytest.mark.parametrize(
    ("family", "kind", "given"), quick(FEW, CASES, names=3), ids=[f"{family}-{kind}" for family, kind, _ in CASES]
)
def test_regions_in_every_pipeline(family: str, kind: str, given: dict[str, Any], built: Callable[[str, str], Any]) -> None:
    """One entity's region is the middle, which is what is painted anew; those of the second prompt are found."""
    pipe, middle = built(family, kind), {"red cat": (0.2, 0.25, 0.6, 0.75)}
    plain = draw(pipe, **given)
    with unbleed.guide(pipe, unbleed.methods.Regions(step_size=2.0, pull_stop=1.0), regions=[middle, {}]) as run:
        guided = draw(pipe, **given)
    assert {record.image for record in run.regions} == {0, 1}
    first = run.regions[0].masks[0]
    assert first.float().mean().item() == pytest.approx(0.2, abs=0.02)
    assert {step.step for step in run.steps} == {0, 1, 2}  # of three steps the first is pulled too
    assert guided.isfinite().all()
    assert all((guided[i] - plain[i]).abs().max() > 1e-4 for i in range(2))
    assert torch.equal(draw(pipe, **given), plain)


def test_latents_that_are_scaled_twice_a_step_are_read_before_both(built: Callable[[str, str], Any]) -> None:
    """ControlNet's guess mode scales them for the denoiser and again for the ControlNet, with Euler not by 1."""
    pipe = built("sdxl", "StableDiffusionXLControlNetPipeline")
    pipe.scheduler = d.EulerDiscreteScheduler.from_config(pipe.scheduler.config)
    given = {"image": PICTURES, "guess_mode": True}
    plain = draw(pipe, **given)
    with unbleed.guide(pipe, unbleed.methods.SynGen(include_entities=True, step_size=0.0, stop=1.0)) as run:
        still = draw(pipe, **given)
    assert len(run.steps) == 6
    torch.testing.assert_close(still, plain, atol=1e-4, rtol=1e-4)


# ---------------------------------------------------------------------------------------------------------- adapters


def test_lora_shapes_what_is_read(make_tiny_sd: Callable[..., StableDiffusionPipeline]) -> None:
    pipe = make_tiny_sd()
    with unbleed.guide(pipe, "none", record_maps=True) as run:
        draw(pipe, **SIZE)
    pipe.unet.add_adapter(LoraConfig(r=2, init_lora_weights=False, target_modules=["to_q", "to_k"]))
    plain = draw(pipe, **SIZE)
    with unbleed.guide(pipe, METHOD, record_maps=True) as adapted:
        guided = draw(pipe, **SIZE)
    assert (adapted.maps[0].maps - run.maps[0].maps).abs().max() > 1e-3
    assert not torch.equal(guided, plain)
    assert torch.equal(draw(pipe, **SIZE), plain)


def test_ip_adapter_adds_pictures_and_the_text_is_read(make_tiny_sd: Callable[..., StableDiffusionPipeline]) -> None:
    pipe = make_tiny_sd()
    torch.manual_seed(3)
    vision = CLIPVisionConfig(
        hidden_size=16,
        intermediate_size=16,
        projection_dim=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        image_size=32,
        patch_size=16,
    )
    pipe.register_modules(image_encoder=CLIPVisionModelWithProjection(vision).eval())
    width = pipe.unet.config.cross_attention_dim
    layers = [key for key in pipe.unet.attn_processors if key.endswith("attn2.processor")]
    hidden = {}
    for key in layers:
        hidden[key] = pipe.unet.get_submodule(key.removesuffix(".processor")).to_k.out_features
    state = {
        "image_proj": {
            "proj.weight": torch.randn(4 * width, 16) * 0.1,
            "proj.bias": torch.zeros(4 * width),
            "norm.weight": torch.ones(width),
            "norm.bias": torch.zeros(width),
        },
        "ip_adapter": {
            f"{2 * number + 1}.{part}.weight": torch.randn(hidden[key], width) * 0.3
            for number, key in enumerate(layers)
            for part in ("to_k_ip", "to_v_ip")
        },
    }
    pipe.unet._load_ip_adapter_weights([state])
    given = {**SIZE, "ip_adapter_image_embeds": [torch.randn(4, 1, 16, generator=torch.Generator().manual_seed(4))]}
    plain = draw(pipe, **given)
    with unbleed.guide(pipe, METHOD, record_maps=True) as run:
        guided = draw(pipe, **given)
    assert [step.step for step in run.steps if step.image == 0] == [0, 1, 2]
    torch.testing.assert_close(run.maps[0].maps.sum(dim=1), torch.ones_like(run.maps[0].maps[:, 0]))
    assert not torch.equal(guided, plain)
    assert torch.equal(draw(pipe, **given), plain)
