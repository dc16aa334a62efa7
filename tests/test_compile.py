"""Denoisers that the user has compiled: guidance works as with those that are not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import CLIPTokenizer

import tiny
import unbleed

PROMPTS = ["a red cat and a blue bench", "a dog and a yellow car"]
METHOD = unbleed.SynGen(include_entities=True, step_size=5.0, stop=1.0)

pytestmark = pytest.mark.filterwarnings("ignore")  # torch's own


def drawn(pipe: Any, *, guided: bool = True) -> Tensor:
    generators = [torch.Generator().manual_seed(seed) for seed in (0, 1)]
    options = {"height": 128, "width": 128, "num_inference_steps": 2, "generator": generators, "output_type": "latent"}
    if not guided:
        return pipe(PROMPTS, **options).images
    with unbleed.guide(pipe, METHOD):
        return pipe(PROMPTS, **options).images


def as_module(pipe: Any, name: str) -> None:
    setattr(pipe, name, torch.compile(getattr(pipe, name), backend="eager"))


def in_place(pipe: Any, name: str) -> None:
    getattr(pipe, name).compile(backend="eager")


def by_block(pipe: Any, name: str) -> None:
    getattr(pipe, name).compile_repeated_blocks(backend="eager")


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    yield
    torch._dynamo.reset()


@pytest.mark.parametrize("compiled", [as_module, in_place, by_block])
@pytest.mark.parametrize("name", ["sdxl", "flux"])
def test_a_compiled_denoiser_is_guided(name: str, compiled: Callable[[Any, str], None], tokenizer: CLIPTokenizer) -> None:
    pipe = tiny.make(name, tokenizer)
    guided, plain = drawn(pipe), drawn(pipe, guided=False)
    compiled(pipe, "unet" if hasattr(pipe, "unet") else "transformer")
    torch.testing.assert_close(drawn(pipe, guided=False), plain, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(drawn(pipe), guided, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(drawn(pipe, guided=False), plain, atol=1e-4, rtol=1e-4)
