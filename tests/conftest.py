"""Tiny random models of each family, made in memory: no downloads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from transformers import CLIPTokenizer

from helpers import families, tiny
from unbleed.emoji.networks import tokenizer as emoji_tokenizer


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> CLIPTokenizer:
    """A CLIP tokenizer of 32 positions that knows the emoji words and reads any other in pieces."""
    made = emoji_tokenizer(tmp_path_factory.mktemp("tokenizer"))
    made.model_max_length = 32  # the tiny models' own, whatever the emoji model has
    return made


@pytest.fixture(scope="session")
def made_pipes() -> dict[str, Any]:
    """The tiny pipelines made so far."""
    return {}


@pytest.fixture(scope="session")
def watched() -> dict[str, tuple[Any, dict[str, Any]]]:
    """The shared pipelines that the test has used so far, each with its state before."""
    return {}


@pytest.fixture(scope="session")
def pipes(
    tokenizer: CLIPTokenizer, made_pipes: dict[str, Any], watched: dict[str, tuple[Any, dict[str, Any]]]
) -> Callable[[str], Any]:
    """The tiny pipeline of each family, made once, for tests that leave it as it was."""

    def get(name: str) -> Any:
        if name not in made_pipes:
            made_pipes[name] = families.make(name, tokenizer)
        if name not in watched:
            watched[name] = made_pipes[name], families.state(made_pipes[name])
        return made_pipes[name]

    return get


@pytest.fixture(autouse=True)
def shared_pipes_stay_as_they_were(
    request: pytest.FixtureRequest, watched: dict[str, tuple[Any, dict[str, Any]]]
) -> Iterator[None]:
    """Fail the test that leaves a shared pipeline altered, not the ones after it."""
    watched.clear()
    for name in {"tiny_sd", "emoji_pipe"} & set(request.fixturenames):
        pipe = request.getfixturevalue(name)
        watched[name] = pipe, families.state(pipe)
    yield
    for name, (pipe, expected) in watched.items():
        found = families.state(pipe)
        changed = {key: (expected.get(key), found.get(key)) for key in expected | found if expected.get(key) != found.get(key)}
        assert not changed, f"the test changed the shared {name} pipeline: {changed}"


@pytest.fixture(scope="session")
def make_tiny_sd(tokenizer: CLIPTokenizer) -> Callable[..., StableDiffusionPipeline]:
    """A maker of tiny random Stable Diffusion pipelines, shaped as SD 1: text at three levels and in the middle.

    32x32 latents, so that the third level, which is read, has an 8x8 grid.
    """

    def make(**unet_changes: object) -> StableDiffusionPipeline:
        torch.manual_seed(0)
        sizes: dict[str, object] = {
            "sample_size": 32,
            "in_channels": 4,
            "out_channels": 4,
            "block_out_channels": (8, 8, 16, 16),
            "down_block_types": ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
            "up_block_types": ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
            "layers_per_block": 1,
            "attention_head_dim": 2,
            "cross_attention_dim": 16,
            "norm_num_groups": 4,
        }
        unet = UNet2DConditionModel(**(sizes | unet_changes))
        # random weights give maps that are flat to the eye of a loss; sharper queries give it something to climb
        for name, module in unet.named_modules():
            if name.endswith(("attn2.to_q", "attn2.to_k")):
                torch.nn.init.normal_(module.weight, std=0.5)
        pipe = StableDiffusionPipeline(
            text_encoder=tiny.clip_encoder(tokenizer),
            vae=tiny.kl(),
            tokenizer=tokenizer,
            unet=unet.eval(),
            scheduler=DDIMScheduler(
                beta_start=0.00085,
                beta_end=0.012,
                beta_schedule="scaled_linear",
                clip_sample=False,
                set_alpha_to_one=False,
                steps_offset=1,
            ),
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
        pipe.set_progress_bar_config(disable=True)
        return pipe

    return make


@pytest.fixture(scope="session")
def tiny_sd(make_tiny_sd: Callable[..., StableDiffusionPipeline]) -> StableDiffusionPipeline:
    """One tiny pipeline for all tests that leave it as it was, which is what `guide` promises."""
    return make_tiny_sd()


@pytest.fixture(scope="session")
def emoji_pipe() -> Any:
    """The embedded model, loaded once, for tests that leave it as it was."""
    import unbleed

    pipe = unbleed.load("emoji", device="cpu")
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"
