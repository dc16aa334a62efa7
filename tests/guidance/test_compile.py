"""Denoisers compiled in every documented way: guidance works as with those that are not, and compiles nothing again."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionPipeline
from torch import Tensor
from transformers import CLIPTokenizer

import unbleed
from helpers import tiny
from helpers.marks import quick
from unbleed.errors import ModelError, UnbleedWarning

PROMPTS = ["a red cat and a blue bench", "a dog and a yellow car"]
METHOD = unbleed.methods.SynGen(include_entities=True, step_size=5.0, stop=1.0)
SMALL = {  # two levels, so that little is traced
    "block_out_channels": (8, 8),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
}

pytestmark = pytest.mark.filterwarnings("ignore")  # torch's own


def drawn(pipe: Any, method: Any = None) -> Tensor:
    generators = [torch.Generator().manual_seed(seed) for seed in (0, 1)]
    options = {"height": 128, "width": 128, "num_inference_steps": 2, "generator": generators, "output_type": "latent"}
    if method is None:
        return pipe(PROMPTS, **options).images
    with unbleed.guide(pipe, method):
        return pipe(PROMPTS, **options).images


def as_module(pipe: Any, name: str, **options: Any) -> None:
    setattr(pipe, name, torch.compile(getattr(pipe, name), backend="eager", **options))


def in_place(pipe: Any, name: str, **options: Any) -> None:
    getattr(pipe, name).compile(backend="eager", **options)


def by_block(pipe: Any, name: str, **options: Any) -> None:
    getattr(pipe, name).compile_repeated_blocks(backend="eager", **options)


Compile = Callable[..., None]


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    yield
    torch._dynamo.reset()


def graphs() -> int:
    return torch._dynamo.utils.counters["stats"]["unique_graphs"]


@pytest.fixture(scope="module")
def make_small_sd(make_tiny_sd: Callable[..., StableDiffusionPipeline]) -> Callable[[], StableDiffusionPipeline]:
    return lambda: make_tiny_sd(**SMALL)


def check_is_guided(make: Callable[[], Any], compiled: Compile, **options: Any) -> None:
    pipe = make()
    guided, plain = drawn(pipe, METHOD), drawn(pipe)
    assert not torch.equal(guided, plain)
    compiled(pipe, "unet" if hasattr(pipe, "unet") else "transformer", **options)
    torch.testing.assert_close(drawn(pipe), plain, atol=1e-4, rtol=1e-4)
    known = graphs()
    assert known > 0
    torch.testing.assert_close(drawn(pipe, METHOD), guided, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(drawn(pipe), plain, atol=1e-4, rtol=1e-4)
    assert graphs() == known  # neither the guidance was compiled nor the pipeline's own forward again


@pytest.mark.parametrize("compiled", quick([in_place], [as_module, in_place, by_block]))
def test_E12_a_compiled_unet_is_guided_and_stays_compiled(
    compiled: Compile, make_small_sd: Callable[[], StableDiffusionPipeline]
) -> None:
    """With `fullgraph=True`, which lets nothing of the guidance into the graph."""
    check_is_guided(make_small_sd, compiled, fullgraph=True)


@pytest.mark.parametrize("compiled", [as_module, in_place, by_block])
@pytest.mark.slow
def test_E12_a_compiled_transformer_is_guided_and_stays_compiled(compiled: Compile, tokenizer: CLIPTokenizer) -> None:
    check_is_guided(lambda: tiny.make("flux", tokenizer), compiled, fullgraph=True)


@pytest.mark.slow
def test_E12_without_fullgraph_nothing_more_is_compiled(make_small_sd: Callable[[], StableDiffusionPipeline]) -> None:
    check_is_guided(make_small_sd, in_place)


@pytest.mark.parametrize(
    ("label", "compiled"),
    [("attention-regulation:iterations=1", as_module), ("structure-diffusion", in_place), ("composable", in_place)],
)
@pytest.mark.slow
def test_E12_edits_act_in_a_compiled_unet(
    label: str, compiled: Compile, make_small_sd: Callable[[], StableDiffusionPipeline]
) -> None:
    """Dynamo skips hooks that are added to a module after it was compiled, so where they edit layers it runs uncompiled."""
    pipe = make_small_sd()
    guided, plain = drawn(pipe, label), drawn(pipe)
    assert not torch.equal(guided, plain)
    compiled(pipe, "unet", fullgraph=True)
    torch.testing.assert_close(drawn(pipe), plain, atol=1e-4, rtol=1e-4)
    known = graphs()
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        torch.testing.assert_close(drawn(pipe, label), guided, atol=1e-4, rtol=1e-4)
    told = [str(one.message) for one in warned if issubclass(one.category, UnbleedWarning) and "compiled" in str(one.message)]
    if label == "composable":
        assert not told
    else:
        assert graphs() == known
        assert told == [
            f"{label.split(':')[0]} changes layers inside the denoiser while it runs, so the compiled denoiser runs uncompiled "
            "inside this `with` block; a method that lowers a loss leaves the pipeline's own forwards compiled"
        ]
    torch.testing.assert_close(drawn(pipe), plain, atol=1e-4, rtol=1e-4)


def test_E12_compiled_inside_the_block_is_refused(make_small_sd: Callable[[], StableDiffusionPipeline]) -> None:
    pipe = make_small_sd()
    with unbleed.guide(pipe, METHOD):
        pipe.unet.compile(backend="eager")
        with pytest.raises(ModelError, match=r"the denoiser was compiled inside the `with` block.*before unbleed\.guide"):
            pipe(PROMPTS)


@pytest.mark.slow
def test_E12_an_interrupt_leaves_a_compiled_unet_as_it_was(make_small_sd: Callable[[], StableDiffusionPipeline]) -> None:
    pipe = make_small_sd()
    pipe.unet.compile(backend="eager")
    own = pipe.unet._compiled_call_impl

    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), unbleed.guide(pipe, METHOD):
        pipe(PROMPTS, height=128, width=128, num_inference_steps=2, output_type="latent", callback_on_step_end=stop)
    assert pipe.unet._compiled_call_impl is own
    assert not any(module._forward_pre_hooks or module._forward_hooks for module in pipe.unet.modules())
