"""The method that is used where none is named."""

from __future__ import annotations

import inspect
import warnings
from typing import Any

import pytest
import torch

import unbleed
from unbleed.methods import DEFAULT_METHOD
from unbleed.modular import GuidanceBlock, add_guidance


def default_of(call: Any) -> Any:
    return inspect.signature(call).parameters["method"].default


def test_S4_the_default_is_the_method_that_wins_on_the_embedded_model() -> None:
    assert DEFAULT_METHOD == default_of(unbleed.guide) == default_of(unbleed.estimate) == "regions"
    # a block cannot change what is inside the denoiser
    assert default_of(add_guidance) == default_of(GuidanceBlock.__init__) == "syngen"


def test_S4_the_default_acts_on_prompts_without_modifiers(emoji_pipe: Any) -> None:
    def draw(prompt: str) -> torch.Tensor:
        seed = torch.Generator().manual_seed(1)
        return emoji_pipe(prompt, num_inference_steps=2, generator=seed, output_type="latent").images

    plain = draw("a cat and a dog")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with unbleed.guide(emoji_pipe) as run:
            assert not torch.equal(draw("a cat and a dog"), plain)
    assert len(run.regions[0].masks) == 2
    with (
        pytest.warns(unbleed.UnbleedWarning, match='"a cat" runs unguided: regions .*; it needs two entities; entities='),
        unbleed.guide(emoji_pipe),
    ):
        draw("a cat")


def test_S4_the_default_costs_what_its_estimate_says(emoji_pipe: Any) -> None:
    """Three pulls and six candidates of a first noise in 30 steps; without a step size and a choice, nothing."""
    found = unbleed.estimate(emoji_pipe, steps=30)
    assert (found.evaluations, found.readings) == (3, 6)
    assert found.reading == pytest.approx(found.evaluation / 2, rel=0.05)
    assert 1.18 < found.ratio < 1.20
    assert unbleed.estimate(emoji_pipe, "regions:step_size=0:candidates=1", steps=30).ratio == 1
