"""Honest misuse of the methods and families of today: one clear line, and nothing left in the pipeline."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import diffusers as d
import pytest
import torch
from PIL import Image
from torch import Tensor
from transformers import CLIPTokenizer

import unbleed
from helpers import families
from helpers.families import OPTIONS, draw
from unbleed.errors import MethodError, ModelError, UnbleedWarning
from unbleed.modular import add_guidance

PROMPT = "a red cat and a blue bench"
METHODS = ("focus", "amplify", "nag", "best-of-n:ahead=1:candidates=2")
every_method = pytest.mark.parametrize("label", METHODS)


def test_a_setting_that_no_recipe_can_hold() -> None:
    with pytest.raises(MethodError, match=r"^negative of nag is '\\udc80'; expected Unicode text$"):
        unbleed.method("nag", negative="\udc80")
    with pytest.raises(MethodError, match=r"^negative of nag is 5; expected Unicode text$"):
        unbleed.method("nag", negative=5)


@pytest.mark.parametrize("label", ["focus +", "+ focus", "focus + + nag", "2*"])
def test_a_label_without_a_name(label: str) -> None:
    with pytest.raises(MethodError, match="lacks the name of a method; expected NAME, or a sum as in"):
        unbleed.method(label)


def test_blocks_are_guided_once() -> None:
    blocks = d.FluxAutoBlocks()
    add_guidance(blocks, "syngen")
    add_guidance(d.FluxAutoBlocks(), "syngen")  # the objects of the class share their parts
    with pytest.raises(ModelError, match="these FluxAutoBlocks have guidance already; make new ones"):
        add_guidance(blocks, "conform")


def test_a_choice_of_noise_that_an_image_makes_idle_is_said(pipes: Callable[[str], Any]) -> None:
    pipe = d.StableDiffusion3Img2ImgPipeline(**pipes("sd3").components)
    pipe.set_progress_bar_config(disable=True)
    picture = Image.linear_gradient("L").resize((160, 128)).convert("RGB")

    def drawn() -> Tensor:
        seeded = torch.Generator().manual_seed(0)
        given = {"strength": 0.3, "num_inference_steps": 5, "generator": seeded, "output_type": "latent", **OPTIONS["sd3"]}
        return pipe(prompt=PROMPT, image=picture, **given).images  # type: ignore[union-attr]

    plain = drawn()
    with (
        unbleed.guide(pipe, "best-of-n"),
        pytest.warns(UnbleedWarning, match="this run begins with an image, so best-of-n does not choose among first noises"),
    ):
        assert torch.equal(drawn(), plain)


def test_one_step_is_too_few_to_look_ahead(pipes: Callable[[str], Any]) -> None:
    far = pytest.raises(ModelError, match=r"looks 1 step ahead, and this run has 1; set ahead to 0 or less, or take more steps")
    with far, unbleed.guide(pipes("sd3"), "best-of-n:ahead=1"):
        draw(pipes("sd3"), "sd3", PROMPT, seeds=(0,), num_inference_steps=1)


@every_method
def test_an_exception_of_the_users_own_leaves_nothing(label: str, pipes: Callable[[str], Any]) -> None:
    def fail(pipe: Any, step: int, timestep: Any, values: dict[str, Any]) -> dict[str, Any]:
        raise RuntimeError("stop here")

    plain = draw(pipes("sd3"), "sd3", PROMPT, seeds=(0,))
    with pytest.raises(RuntimeError, match="stop here"), unbleed.guide(pipes("sd3"), label):
        draw(pipes("sd3"), "sd3", PROMPT, seeds=(0,), callback_on_step_end=fail)
    assert torch.equal(draw(pipes("sd3"), "sd3", PROMPT, seeds=(0,)), plain)


@every_method
def test_a_call_in_another_thread_is_refused(label: str, pipes: Callable[[str], Any]) -> None:
    said: list[str] = []

    def work() -> None:
        try:
            draw(pipes("sd3"), "sd3", PROMPT, seeds=(0,))
        except ModelError as error:
            said.append(str(error))

    with unbleed.guide(pipes("sd3"), label):
        other = threading.Thread(target=work)
        other.start()
        other.join()
    assert len(said) == 1
    assert "is being guided in another thread" in said[0]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(dtype: torch.dtype, tokenizer: CLIPTokenizer) -> None:
    pipe = families.make("sd3", tokenizer).to(dtype)
    plain = draw(pipe, "sd3", PROMPT, seeds=(0,))
    for label in METHODS:
        with unbleed.guide(pipe, label) as run:
            found = draw(pipe, "sd3", PROMPT, seeds=(0,))
        assert found.dtype == dtype
        assert bool(found.isfinite().all())
        assert run.noises or not torch.equal(found, plain), label


@pytest.mark.parametrize("label", ["focus + nag", "focus + amplify", "syngen + nag"])
def test_checkpointing_changes_nothing(label: str, tokenizer: CLIPTokenizer) -> None:
    pipe, found = families.make("sd3", tokenizer), []
    for checkpointing in (False, True):
        with unbleed.guide(pipe, label, checkpointing=checkpointing):
            found.append(draw(pipe, "sd3", PROMPT, seeds=(0,), num_inference_steps=2))
    torch.testing.assert_close(found[0], found[1])
