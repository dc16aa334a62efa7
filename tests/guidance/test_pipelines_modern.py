"""Guidance in the pipelines of the newer families that begin with a picture, paint into one, or have reference pictures."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import diffusers as d
import pytest
import torch
from PIL import Image
from torch import Tensor
from transformers import CLIPTokenizer

import unbleed
from helpers import families, tiny_modern
from helpers.families import OPTIONS, PROMPTS, tokens_spell
from unbleed import generation
from unbleed.attention.table import FAMILIES
from unbleed.errors import ModelError
from unbleed.recipes import Recipe

METHOD = unbleed.methods.SynGen(include_entities=True, step_size=5.0, stop=1.0)
SIZE = {"height": 128, "width": 160}
PICTURE = Image.linear_gradient("L").resize((160, 128)).convert("RGB")
PIXELS = torch.rand(1, 3, 128, 160, generator=torch.Generator().manual_seed(0))
MASK = torch.zeros(1, 1, 128, 160)
MASK[:, :, 32:96, 32:96] = 1
FROM = {"image": PIXELS, "strength": 0.6, "num_inference_steps": 5}
INTO = {**FROM, "mask_image": MASK}

CASES: list[tuple[str, str, dict[str, Any]]] = [
    ("z-image", "ZImageImg2ImgPipeline", FROM),
    ("z-image", "ZImageInpaintPipeline", INTO),
    ("chroma", "ChromaImg2ImgPipeline", FROM),
    ("kolors", "KolorsImg2ImgPipeline", FROM),
    ("klein", "Flux2KleinInpaintPipeline", INTO),
    ("flux2", "Flux2Pipeline", {"image": PICTURE}),
    ("klein", "Flux2KleinPipeline", {"image": [PICTURE, PICTURE.resize((64, 96))]}),
    ("flux", "FluxKontextPipeline", {"image": PIXELS, "max_area": 128 * 160, "_auto_resize": False}),
    ("qwen", "QwenImageEditPipeline", {"image": PICTURE}),
    ("qwen", "QwenImageEditPlusPipeline", {"image": [PICTURE, PICTURE]}),
]
EDITS = ("QwenImageEditPipeline", "QwenImageEditPlusPipeline")
QUICK = ("ZImageImg2ImgPipeline", "FluxKontextPipeline", "QwenImageEditPipeline")
IDS = [kind for _, kind, _ in CASES]
every_pipeline = pytest.mark.parametrize(
    ("name", "kind", "given"),
    [case if case[1] in QUICK else pytest.param(*case, marks=pytest.mark.slow) for case in CASES],
    ids=IDS,
)


@pytest.fixture(scope="session")
def built(pipes: Callable[[str], Any]) -> Callable[[str, str], Any]:
    """Return the pipeline of a class around the tiny models of a family."""

    def build(name: str, kind: str) -> Any:
        base = pipes(name)
        if kind == "KolorsImg2ImgPipeline":  # diffusers exports it with sentencepiece only
            from diffusers.pipelines.kolors.pipeline_kolors_img2img import KolorsImg2ImgPipeline as cls
        else:
            cls: Any = getattr(d, kind)
        if kind in EDITS:
            torch.manual_seed(0)
            pipe = tiny_modern.qwen_edit(cls, base)
        else:
            named = inspect.signature(cls.__init__).parameters
            pipe = cls(**{key: value for key, value in base.components.items() if key in named})
        if hasattr(base, "system_message"):
            pipe.system_message = base.system_message
        pipe.set_progress_bar_config(disable=True)
        return pipe

    return build


def draw(pipe: Any, name: str, seed: int = 0, **given: Any) -> Tensor:
    torch.manual_seed(2)  # some encode their picture with noise that no generator is asked for
    known = inspect.signature(pipe.__call__).parameters
    options = {"num_inference_steps": 3, "output_type": "latent", **SIZE, **OPTIONS[name], **given}
    options = {key: value for key, value in options.items() if key in known}
    small = patch("diffusers.pipelines.qwenimage.pipeline_qwenimage_edit.calculate_dimensions", _small)
    also = patch("diffusers.pipelines.qwenimage.pipeline_qwenimage_edit_plus.calculate_dimensions", _small)
    with small, also:  # they enlarge their pictures to a million pixels
        return pipe(prompt=PROMPTS[0], generator=torch.Generator().manual_seed(seed), **options).images


def _small(area: int, ratio: float) -> Any:
    del area, ratio
    return (160, 128, None) if "edit_plus" not in inspect.stack()[1].filename else (160, 128)


@every_pipeline
def test_guidance_in_every_pipeline(name: str, kind: str, given: dict[str, Any], built: Callable[[str, str], Any]) -> None:
    """Also where reference pictures are in the sequence: the maps and the correction are of the picture itself."""
    pipe = built(name, kind)
    plain = draw(pipe, name, **given)
    with unbleed.guide(pipe, METHOD, record_maps=True) as run:
        guided = draw(pipe, name, **given)
    assert [[str(e) for e in own] for own in run.entities] == [["red cat", "blue bench"]]
    assert tokens_spell(run, ["cat", "bench"])
    assert [step.step for step in run.steps] == [0, 1, 2]
    assert run.maps[0].maps.shape[-2:] == (8, 10)
    assert guided.isfinite().all()
    assert (guided - plain).abs().max() > 1e-3
    assert torch.equal(draw(pipe, name, **given), plain)


REFERENCES = [case for case in CASES if case[1] in ("FluxKontextPipeline", "Flux2KleinPipeline", "QwenImageEditPipeline")]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "kind", "given"), REFERENCES, ids=[kind for _, kind, _ in REFERENCES])
def test_regions_with_reference_pictures(name: str, kind: str, given: dict[str, Any], built: Callable[[str, str], Any]) -> None:
    pipe = built(name, kind)
    plain = draw(pipe, name, **given)
    method = unbleed.methods.Regions(step_size=2.0, pull_stop=1.0, candidates=1)
    with unbleed.guide(pipe, method, regions={"red cat": "left", "blue bench": "right"}):
        guided = draw(pipe, name, **given)
    assert guided.isfinite().all()
    assert (guided - plain).abs().max() > 1e-4
    assert torch.equal(draw(pipe, name, **given), plain)


def test_kept_keys_of_reference_pictures_are_refused(tokenizer: CLIPTokenizer) -> None:
    own = families.make("klein", tokenizer)  # not the shared one: the pipeline puts its own processors on the transformer
    pipe = d.Flux2KleinKVPipeline(**own.components)
    pipe.set_progress_bar_config(disable=True)
    with pytest.raises(ModelError, match=r"^the keys of reference pictures are kept"), unbleed.guide(pipe, METHOD):
        draw(pipe, "klein", image=PICTURE)


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("z-image", {"x": [[None]]}, "ZImageOmniPipeline"),
        ("qwen-image", {"additional_t_cond": 0}, "QwenImageLayered"),
        ("qwen-image-2.1", {"img_shapes": [[(1, 2, 2), (1, 4, 4)]]}, "without `image`"),
    ],
)
def test_calls_that_cannot_be_followed_are_refused(name: str, arguments: dict[str, Any], message: str) -> None:
    family = next(family for family in FAMILIES if family.name == name)
    assert message in str(family.refuses(arguments))


def test_a_recipe_is_sampled_by_what_its_pipeline_takes(pipes: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """FLUX.2's first argument is a picture, klein has no negative prompts, Qwen-Image has a scale of its own for them."""
    recipe = Recipe(PROMPTS[0], method="none", steps=1, guidance_scale=3.0, width=160, height=128, negative_prompt="a bird")
    with pytest.raises(unbleed.PromptError, match="Flux2KleinPipeline takes no negative prompt; leave it out"):
        generation.draw(pipes("klein"), [recipe])
    seen: dict[str, Any] = {}
    pipe = pipes("qwen")
    own = type(pipe).__call__

    def keep(self: Any, *args: Any, **kwargs: Any) -> Any:
        seen.update(kwargs)
        return own(self, *args, **kwargs)

    monkeypatch.setattr(type(pipe), "__call__", functools.wraps(own)(keep))
    (found,) = generation.draw(pipe, [recipe])
    assert found.image.size == (160, 128)
    assert (seen["prompt"], seen["true_cfg_scale"], seen["negative_prompt"]) == ([PROMPTS[0]], 3.0, ["a bird"])
