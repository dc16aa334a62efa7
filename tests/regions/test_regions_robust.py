"""Regions where runs are short, start from a picture, are called again, or leave no room."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from diffusers import AutoPipelineForImage2Image, HeunDiscreteScheduler, StableDiffusionInpaintPipeline
from PIL import Image
from torch import Tensor
from transformers import CLIPTokenizer

import unbleed
from helpers import tiny
from helpers.region_cases import PROMPT, draw, groups_of, random_maps
from unbleed.guidance import Run
from unbleed.regions.layout import layout

MASKS_ALONE = {"resolution": 16, "step_size": 0, "candidates": 1, "apart": 0, "emphasis": 0}


@pytest.fixture(scope="module")
def pipe() -> Any:
    pipe = unbleed.load("emoji")
    pipe.set_progress_bar_config(disable=True)
    return pipe


def records(run: Run) -> list[tuple[int, int, int]]:
    return [(record.call, record.image, record.step) for record in run.regions]


# --------------------------------------------------------------------------------------------------------- few steps


def test_a_run_of_one_step_is_masked_and_pulled(pipe: Any) -> None:
    with unbleed.guide(pipe, unbleed.methods.Regions(**MASKS_ALONE)) as run:
        masked = draw(pipe, steps=1)
    assert records(run) == [(0, 0, 0)]
    assert not torch.equal(masked, draw(pipe, steps=1))
    with unbleed.guide(pipe, unbleed.methods.Regions(resolution=16)) as run:
        draw(pipe, steps=1)
    assert [step.step for step in run.steps] == [0]


@pytest.mark.parametrize(("steps", "more"), [(4, 1), (8, 0)])
def test_few_steps_alone_take_one_more_part_of_a_forward(pipe: Any, steps: int, more: int) -> None:
    calls = []
    hook = pipe.unet.register_forward_pre_hook(lambda *_: calls.append(None))
    try:
        with unbleed.guide(pipe, unbleed.methods.Regions(**MASKS_ALONE)):
            draw(pipe, steps=steps)
    finally:
        hook.remove()
    assert len(calls) == steps + more


def test_regions_settle_once_a_step_was_masked(pipe: Any) -> None:
    for wait, expected in ((0.13, [(0, 0, 0), (0, 0, 1)]), (1.0, [(0, 0, 0)])):
        with unbleed.guide(pipe, unbleed.methods.Regions(**MASKS_ALONE, wait=wait)) as run:
            draw(pipe, steps=2)
        assert records(run) == expected


def test_inner_evaluations_of_a_step_are_not_listened_to(pipe: Any) -> None:
    own, pipe.scheduler = pipe.scheduler, HeunDiscreteScheduler.from_config(pipe.scheduler.config)
    try:
        with unbleed.guide(pipe, unbleed.methods.Regions(**MASKS_ALONE)) as run:
            draw(pipe, steps=4)
    finally:
        pipe.scheduler = own
    assert records(run) == [(0, 0, 0), (0, 0, 2)]


# ------------------------------------------------------------------------------------------------- ways to be called


def test_a_run_from_a_picture_keeps_its_noise(pipe: Any) -> None:
    other = AutoPipelineForImage2Image.from_pipe(pipe)
    other.set_progress_bar_config(disable=True)
    with unbleed.guide(other, unbleed.methods.Regions(resolution=16)) as run:
        draw(other, image=Image.new("RGB", (128, 128), (90, 120, 30)), strength=0.5)
    assert not run.noises
    assert records(run) == [(0, 0, 0), (0, 0, 1)]


@pytest.mark.parametrize("strength", [0.6, 1.0])
def test_inpainting_is_guided(strength: float, make_tiny_sd: Callable[..., Any]) -> None:
    parts = make_tiny_sd().components
    other = StableDiffusionInpaintPipeline(**parts, requires_safety_checker=False)
    other.set_progress_bar_config(disable=True)
    hole = Image.new("L", (256, 256), 0)
    hole.paste(255, (60, 60, 240, 240))
    picture = Image.new("RGB", (256, 256), (90, 120, 30))
    with unbleed.guide(other, "regions") as run:
        found = draw(other, image=picture, mask_image=hole, strength=strength, height=256, width=256, steps=3)
    assert found.isfinite().all()
    assert len(run.noises) == (strength == 1)
    assert run.regions


def test_calls_of_one_block_have_regions_of_their_own(pipe: Any) -> None:
    method = unbleed.methods.Regions(resolution=16)
    with unbleed.guide(pipe, method) as run:
        first = draw(pipe, steps=2)
        draw(pipe, [PROMPT, "a cat and a clock"], steps=2)
        wide = draw(pipe, "a cat and a clock", steps=2, height=128, width=192)
        last = draw(pipe, steps=2)
    assert torch.equal(first, last)
    assert wide.shape[-2:] == (first.shape[-2], first.shape[-1] * 3 // 2)
    shapes = [tuple(record.masks.shape) for record in run.regions if record.call == 2]
    assert set(shapes) == {(2, 16, 24)}


def test_a_second_run_on_the_same_prompt_may_have_another_size(pipe: Any) -> None:
    with unbleed.guide(pipe, unbleed.methods.Regions(resolution=16, settle=None)) as run, torch.no_grad():
        text = pipe.encode_prompt(PROMPT, "cpu", 1, False)[0]
        for side in (16, 32):
            pipe.scheduler.set_timesteps(2)
            x = torch.randn(1, pipe.unet.config.in_channels, side, side, generator=torch.Generator().manual_seed(1))
            for t in pipe.scheduler.timesteps:
                noise = pipe.unet(pipe.scheduler.scale_model_input(x, t), t, encoder_hidden_states=text).sample
                x = pipe.scheduler.step(noise, t, x).prev_sample
    assert x.isfinite().all()
    assert [step.step for step in run.steps] == [0, 0]


@pytest.mark.parametrize("wait", [0.13, 1.0])
def test_inference_mode_around_a_guided_call(pipe: Any, wait: float) -> None:
    method = unbleed.methods.Regions(resolution=16, pull_stop=1.0, candidates=1, wait=wait)
    with unbleed.guide(pipe, method):
        plain = draw(pipe)
    with torch.inference_mode(), unbleed.guide(pipe, method):
        inside = draw(pipe)
    torch.testing.assert_close(plain, inside.clone())


def test_a_later_call_of_a_step_may_leave_layers_out(tokenizer: CLIPTokenizer) -> None:
    """SD3's skipped layers: the denoiser runs a third time in a step, without layers that are read."""
    sd3 = tiny.make("sd3", tokenizer)
    skip = {"skip_guidance_layers": [1], "skip_layer_guidance_start": 0.0, "skip_layer_guidance_stop": 0.9}
    with unbleed.guide(sd3, "regions") as run:
        assert draw(sd3, height=64, width=64, **skip).isfinite().all()
    assert records(run) == [(0, 0, 0), (0, 0, 2)]


# ------------------------------------------------------------------------------------------------------------- room


@pytest.mark.parametrize("count", [2, 5, 8])
def test_every_entity_has_a_region_on_the_smallest_grids(count: int) -> None:
    for grid in ((2, 2), (4, 4), (2, 8)):
        found = layout(random_maps(1, 12, grid), groups_of(*[(0, [1 + e]) for e in range(count)], tokens=12))
        assert found.flatten(1).any(dim=1).all()


def test_a_region_to_be_found_lies_in_what_is_free_however_little_that_is() -> None:
    taken = torch.ones(1, 8, 8, dtype=torch.bool)
    taken[0, 0, 0] = False
    found: Tensor = layout(random_maps(1, 8, (8, 8)), groups_of((0, [1])), taken=taken)
    assert torch.equal(found, ~taken)


def test_no_room_for_an_entity_costs_one_line(pipe: Any) -> None:
    line = (
        'nothing is left for "red car": the regions that were given cover the whole picture; give "red car" a region too, or '
        "None to the entity that is everywhere"
    )
    with (
        pytest.raises(unbleed.PromptError, match=f"^{re.escape(line)}$"),
        unbleed.guide(pipe, unbleed.methods.Regions(**MASKS_ALONE), regions={"dog": (0, 0, 1, 1)}),
    ):
        draw(pipe, steps=1)


def test_a_lone_entity_is_pulled_to_the_region_that_it_was_given(pipe: Any) -> None:
    with unbleed.guide(pipe, unbleed.methods.Regions(resolution=16, binding=0), regions={"dog": "left"}) as run:
        draw(pipe, "a dog", steps=8)
    assert [(step.step, set(step.terms)) for step in run.steps] == [(1, {"pull"})]


# ------------------------------------------------------------------------------------------------------------- sums


def test_sums_that_cannot_be(pipe: Any) -> None:
    del pipe
    with pytest.raises(unbleed.MethodError, match=r"^two methods of regions \+ initno search for the first noise; keep one$"):
        unbleed.methods.Regions() + unbleed.methods.InitNO()
