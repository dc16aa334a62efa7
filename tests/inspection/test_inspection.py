"""What is found in a pipeline by calling it: on every tiny model, on one that has no row, on one that cannot be read."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import torch
from diffusers import AuraFlowPipeline, AuraFlowTransformer2DModel, FlowMatchEulerDiscreteScheduler
from torch import nn

import unbleed
from helpers import tiny
from helpers.families import FAMILIES, layout
from helpers.marks import quick
from unbleed.attention import family_of
from unbleed.attention.families import denoiser_of

NEGATIVES = {"flux": "none", "qwen": "none", "qwen21": "none", "flux2": "none"}  # by default


@pytest.fixture
def shallow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Text encoders of the tiny models are shallower than what FLUX.2 reads of its own by default."""
    from diffusers import Flux2KleinPipeline, Flux2Pipeline

    for kind, name in ((Flux2Pipeline, "_get_mistral_3_small_prompt_embeds"), (Flux2KleinPipeline, "_get_qwen3_prompt_embeds")):
        own = getattr(kind, name)
        monkeypatch.setattr(
            kind, name, staticmethod(lambda *a, own=own, **k: own(*a, **{**k, "hidden_states_layers": (0, 1, 2)}))
        )


def test_a_word_that_stands_elsewhere_is_found(pipes: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    from unbleed.attention import encoders

    family = replace(family_of(denoiser_of(pipes("z-image"))), encoders=encoders.plain)  # without the chat template
    monkeypatch.setattr("unbleed.inspection.pipeline.row_of", lambda _: family)
    (line,) = unbleed.inspect(pipes("z-image")).missing
    assert line.startswith('the row of z-image finds "bench" at (6,), but another word in its place changes the text at')


@pytest.mark.usefixtures("shallow")
@pytest.mark.parametrize("name", quick(("sdxl", "z-image"), FAMILIES))
def test_what_is_known_of_a_family_is_found_by_calling_it(name: str, pipes: Callable[[str], Any]) -> None:
    pipe = pipes(name)
    denoiser = denoiser_of(pipe)
    family, layers = family_of(denoiser), family_of(denoiser).layers(denoiser, None, "all")
    found = unbleed.inspect(pipe)
    assert found.missing == ()
    assert (found.denoiser, found.family, found.draft) == (type(denoiser).__name__, family.name, None)
    assert found.joint == (layers.joint is not None)
    assert found.negatives == NEGATIVES.get(name, family.negatives)
    assert [module.name for module in found.attention if module.read] == list(layers.names)
    assert found.text is not None
    if found.joint:
        read = next(module for module in found.attention if module.read)
        assert found.pixels is not None
        prompt = "a red cat and a blue bench"
        _, pixels, text = layout(name, pipe, read.queries, read.keys, prompt, found.pixels.length)
        assert (found.pixels.start, found.text.start) == (pixels.start, text)
    assert found.cost is not None
    assert found.cost.evaluation > 0
    json.dumps(found.document())
    text = str(found)
    assert text.endswith("nothing is missing: this model can be guided")
    assert f"text: positions {found.text.start} to {found.text.end - 1}, in" in text
    assert not [key for key in vars(pipe) if "unbleed" in key or key == "encode_prompt"]


def test_a_look_leaves_the_users_own_steps_and_noise(pipes: Callable[[str], Any]) -> None:
    scheduler = pipes("sd3").scheduler
    scheduler.set_timesteps(7)
    steps, noise = scheduler.timesteps, torch.get_rng_state()
    unbleed.inspect(pipes("sd3"))
    assert scheduler.timesteps is steps
    assert scheduler.num_inference_steps == 7
    assert "step" not in vars(scheduler)
    assert torch.equal(torch.get_rng_state(), noise)


def test_a_denoiser_without_a_row_is_described_and_a_row_begun(tokenizer: Any) -> None:
    t5 = tiny.t5_tokenizer()
    torch.manual_seed(0)
    text: Any = tiny.t5_encoder(t5)
    transformer = AuraFlowTransformer2DModel(
        sample_size=32,
        patch_size=2,
        in_channels=4,
        num_mmdit_layers=1,
        num_single_dit_layers=1,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=32,
        caption_projection_dim=16,
        out_channels=4,
        pos_embed_max_size=1024,
    )
    pipe = AuraFlowPipeline(
        tokenizer=t5,
        text_encoder=text,
        vae=tiny.kl(),
        transformer=transformer.eval(),
        scheduler=FlowMatchEulerDiscreteScheduler(),
    )
    pipe.set_progress_bar_config(disable=True)
    with pytest.raises(unbleed.ModelError, match="unbleed inspect says what is missing"), unbleed.guide(pipe):
        pass
    found = unbleed.inspect(pipe)
    assert found.family is None
    assert found.missing == ("there is no row for AuraFlowTransformer2DModel in unbleed/attention/table.py",)
    assert (found.joint, found.negatives, found.rows, found.calls) == (True, "first", 2, 1)
    assert found.text is not None
    assert found.pixels is not None
    assert found.pixels.length == 8 * 12  # 128x192 pixels
    assert found.text.length == 256
    assert found.text.start == 8  # eight registers stand before it
    assert 6 in found.word  # no start token
    assert found.draft is not None
    assert (
        "layers=blocks('joint_transformer_blocks', 'single_transformer_blocks', attention='attn', joint='text first')"
        in found.draft
    )
    assert "sample='hidden_states'" in found.draft
    assert "missing: there is no row" in str(found)


class Closed(nn.Module):
    """Attention without torch's function."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x @ x.mT).softmax(dim=-1) @ x


def test_attention_that_cannot_be_read_is_what_is_missing(tokenizer: Any) -> None:
    pipe = tiny.make("pixart", tokenizer)
    for block in pipe.transformer.transformer_blocks:
        block.attn1.processor = block.attn2.processor = lambda attn, x, *_, **__: Closed()(x)
    found = unbleed.inspect(pipe)
    assert found.attention == ()
    assert found.missing[0].startswith("no call of torch's scaled_dot_product_attention was seen")


def test_a_pipeline_that_cannot_be_called_costs_one_line(tokenizer: Any) -> None:
    pipe = tiny.make("pixart", tokenizer)
    pipe.text_encoder = None
    found = unbleed.inspect(pipe)
    (line,) = found.missing
    assert line.startswith("the pipeline could not be called: ")
    assert "\n" not in line
    with pytest.raises(unbleed.ModelError, match="has no part that could be a denoiser"):
        unbleed.inspect(object())


def test_a_row_that_does_not_fit_is_found(pipes: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    from unbleed.attention.family import blocks

    pipe = pipes("sd3")
    wrong = replace(family_of(denoiser_of(pipe)), layers=blocks("transformer_blocks", joint="text first"), negatives="apart")
    monkeypatch.setattr("unbleed.inspection.pipeline.row_of", lambda _: wrong)
    found = unbleed.inspect(pipe)
    assert len(found.missing) == 2
    assert 'says "text first", but text begins at 96 and pixels at 0' in found.missing[0]
    assert 'says negatives="apart", but they are first' in found.missing[1]
