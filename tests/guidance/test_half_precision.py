"""The engine's contract in float16 and bfloat16, for every family: on a GPU where there is one, else on the CPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionPipeline
from torch import Tensor
from transformers import CLIPTokenizer

import unbleed
from helpers import tiny
from helpers.families import OPTIONS, SIZES
from helpers.marks import quick

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
PROMPTS = ["a red cat and a blue bench", "a dog and a yellow car"]
METHOD = unbleed.methods.SynGen(include_entities=True, step_size=1.0, stop=1.0)


@pytest.fixture
def same_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw noise in float32 whatever its dtype: older PyTorch draws other numbers in half precision."""
    own = torch.randn
    monkeypatch.setattr(
        torch, "randn", lambda *size, dtype=None, **options: own(*size, dtype=torch.float32, **options).to(dtype)
    )


def drawn(pipe: Any, name: str, method: Any = None) -> tuple[Tensor, Any]:
    height, width = SIZES.get(name, (128, 128))
    options = {**OPTIONS.get(name, {}), "height": height, "width": width, "num_inference_steps": 2, "output_type": "latent"}
    generators = [torch.Generator().manual_seed(seed) for seed in (0, 1)]
    if method is None:
        return pipe(PROMPTS, generator=generators, **options).images, None
    with unbleed.guide(pipe, method) as run:
        return pipe(PROMPTS, generator=generators, **options).images, run


@pytest.mark.usefixtures("same_noise")
@pytest.mark.parametrize("dtype", quick([torch.bfloat16], [torch.float16, torch.bfloat16]))
@pytest.mark.parametrize("name", quick(["sd", "flux"], ["sd", *tiny.FAMILIES]))
def test_guidance_in_half_precision(
    name: str, dtype: torch.dtype, tokenizer: CLIPTokenizer, make_tiny_sd: Callable[..., StableDiffusionPipeline]
) -> None:
    """Every image is moved, by about the loss of float32; nothing is skipped; detached, pictures are the same to the bit."""
    pipe: Any = (make_tiny_sd() if name == "sd" else tiny.make(name, tokenizer)).to(DEVICE)
    _, exact = drawn(pipe, name, METHOD)
    pipe.to(dtype)
    plain, _ = drawn(pipe, name)
    found, run = drawn(pipe, name, METHOD)
    assert found.dtype == plain.dtype
    assert found.isfinite().all()
    assert not any(torch.equal(one, other) for one, other in zip(found, plain, strict=True))
    assert run.skipped == 0
    assert len(run.steps) == len(exact.steps)
    for step, own in zip(run.steps[:2], exact.steps, strict=False):  # the two images' first, on the same latents
        assert step.loss == pytest.approx(own.loss, abs=0.02, rel=0.1)
        assert step.gradient_norm == pytest.approx(own.gradient_norm, rel=0.5)
    assert torch.equal(drawn(pipe, name)[0], plain)
