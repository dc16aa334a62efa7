"""Precision, casting, estimates: faults that users met, each with the right value as a test."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionPipeline
from torch import Tensor, nn
from transformers import CLIPTokenizer

import unbleed
from helpers import tiny
from helpers.families import OPTIONS, SIZES
from helpers.marks import quick
from unbleed.errors import PromptError
from unbleed.generation import draw
from unbleed.guidance.evaluator import Evaluator
from unbleed.guidance.noise import fresh_noise
from unbleed.guidance.update import Evaluation
from unbleed.methods import METHODS
from unbleed.recipes import Recipe

ROOT = Path(__file__).parents[2]
PROMPT = "a red cat and a blue bench"


@pytest.fixture(scope="module")
def emoji() -> Any:
    pipe = unbleed.load("emoji", device="cpu")
    pipe.set_progress_bar_config(disable=True)
    return pipe


def latents(pipe: Any, method: Any, *, steps: int = 1, **options: Any) -> Tensor:
    with unbleed.guide(pipe, method, **options):
        generator = torch.Generator().manual_seed(0)
        return pipe(PROMPT, num_inference_steps=steps, output_type="latent", generator=generator).images


# ------------------------------------------------------------------------------------------- E6: layerwise casting


def casted(pipe: Any) -> nn.Module:
    return pipe.unet if hasattr(pipe, "unet") else pipe.transformer


def guided(pipe: Any, name: str, *, checkpointing: bool = False) -> tuple[Tensor, float]:
    """Return latents and the norm of the first gradient."""
    height, width = SIZES.get(name, (128, 128))
    with unbleed.guide(pipe, unbleed.methods.SynGen(include_entities=True, stop=1.0), checkpointing=checkpointing) as run:
        options = {**OPTIONS.get(name, {}), "height": height, "width": width, "num_inference_steps": 1, "output_type": "latent"}
        found = pipe(PROMPT, generator=torch.Generator().manual_seed(0), **options).images
    return found, run.steps[0].gradient_norm


@pytest.mark.parametrize("name", ["sd", *tiny.FAMILIES])
def test_E6_float8_layerwise_casting_is_guided(
    name: str, tokenizer: CLIPTokenizer, make_tiny_sd: Callable[..., StableDiffusionPipeline]
) -> None:
    """As weights that were rounded to float8 once and stay in float32, to the bit."""
    pipe: Any = make_tiny_sd() if name == "sd" else tiny.make(name, tokenizer)
    casted(pipe).enable_layerwise_casting(storage_dtype=torch.float8_e4m3fn, compute_dtype=torch.float32)
    weights = {key: value.float() for key, value in casted(pipe).state_dict().items()}
    own = {key: value.dtype for key, value in casted(pipe).named_parameters()}
    assert torch.float8_e4m3fn in own.values()
    found, gradient = guided(pipe, name)
    assert {key: value.dtype for key, value in casted(pipe).named_parameters()} == own
    assert all(weight.requires_grad for weight in casted(pipe).parameters() if weight.dtype == torch.float32)
    assert not torch.__future__.get_overwrite_module_params_on_conversion()
    again, same = guided(pipe, name, checkpointing=True)

    plain: Any = make_tiny_sd() if name == "sd" else tiny.make(name, tokenizer)
    casted(plain).load_state_dict(weights)
    expected, norm = guided(plain, name)
    assert norm > 0
    assert torch.equal(found, expected)
    assert gradient == norm
    torch.testing.assert_close(again, expected)
    assert same == pytest.approx(norm, rel=1e-4)


# --------------------------------------------------------------------------------------- B11: dtypes set elsewhere


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    own = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(own)


def test_B11_fresh_noise_does_not_follow_the_default_dtype() -> None:
    noise = torch.randn(4, 8, 8, generator=torch.Generator().manual_seed(3))
    expected = fresh_noise(noise, 1)
    with default_dtype(torch.float64):
        found = fresh_noise(noise, 1)
    assert found.dtype == torch.float32
    assert torch.equal(found, expected)


SHORT = {  # where a method's own settings take dozens of evaluations
    "initno": "initno:rounds=2:noise_steps=1:last_noise_steps=1:max_refinements=0",
    "self-cross": "self-cross:max_refinements=0",
    "attend-and-excite": "attend-and-excite:max_refinements=0",
    "best-of-n": "best-of-n:ahead=0",
}


@pytest.mark.parametrize(
    "name", quick(["none", "regions", "syngen", "conform"], [SHORT.get(name, name) for name in METHODS if name != "amplify"])
)
def test_B11_no_method_follows_the_default_dtype(name: str, emoji: Any) -> None:
    expected = latents(emoji, name)
    with default_dtype(torch.float64):
        found = latents(emoji, name)
    assert torch.equal(found, expected)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", ["attention-regulation:iterations=2", "structure-diffusion", "composable", "conform"])
def test_B11_methods_work_under_autocast(name: str, dtype: torch.dtype, emoji: Any) -> None:
    """What a method changes is what it changes in float32, to the digits of half precision."""
    expected, plain = latents(emoji, name), latents(emoji, "none")
    with torch.autocast("cpu", dtype):
        found, own = latents(emoji, name), latents(emoji, "none")
    change, half = (expected - plain).float(), (found - own).float()
    assert change.norm() > 0
    assert (half - change).norm() < (0.6 if dtype == torch.bfloat16 else 0.1) * change.norm()


def first_evaluation(pipe: Any, monkeypatch: pytest.MonkeyPatch) -> Evaluation:
    found: list[Evaluation] = []
    measure = Evaluator.measure

    def watched(self: Evaluator, *args: Any) -> Evaluation:
        found.append(measure(self, *args))
        return found[-1]

    with monkeypatch.context() as patch:
        patch.setattr(Evaluator, "measure", watched)
        latents(pipe, "overlap-cc")
    return found[0]


def test_B11_small_gradients_come_through_float16_autocast(emoji: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Clustering compactness, of all losses the one with the smallest gradients; the loss itself is reckoned in float32."""
    exact = first_evaluation(emoji, monkeypatch)
    with torch.autocast("cpu", torch.float16):
        half = first_evaluation(emoji, monkeypatch)
    assert half.loss.dtype == torch.float32
    assert half.loss.item() == pytest.approx(exact.loss.item(), rel=1e-2)
    assert (half.gradient - exact.gradient).norm() < 0.25 * exact.gradient.norm()  # 0.34 as it comes


# ------------------------------------------------------------------------------------------ E10, I10: the estimate


def test_E10_a_size_that_can_be_drawn_can_be_estimated(emoji: Any) -> None:
    found = unbleed.estimate(emoji, "syngen", (136, 72), steps=10)
    (picture,) = draw(emoji, [Recipe(PROMPT, method="syngen", steps=1, height=136, width=72)])
    assert picture.image.size == (72, 136)
    assert 0 < found.evaluation < 3


@pytest.mark.parametrize(("side", "name"), [(100, "height"), (0, "height"), (-64, "height"), (520, "height")])
def test_E10_pictures_and_estimates_refuse_the_same_sizes(side: int, name: str, emoji: Any) -> None:
    expected = f"{name} {side}; this model's pictures have multiples of 8 from 64 to 512, which is four times its own 128"
    with pytest.raises(PromptError) as estimated:
        unbleed.estimate(emoji, "syngen", (side, 128))
    assert str(estimated.value) == expected
    if side == 520:
        with pytest.raises(PromptError) as drawn:
            draw(emoji, [Recipe(PROMPT, height=side)])
        assert str(drawn.value) == expected


def test_E10_packed_latents_take_two_at_a_time(tokenizer: CLIPTokenizer) -> None:
    """diffusers' pipeline of FLUX would draw 128 pixels of 136."""
    pipe = tiny.make("flux", tokenizer)
    with pytest.raises(PromptError, match=r"width 136; this model's pictures have multiples of 16 from 64 to 4096"):
        draw(pipe, [Recipe(PROMPT, height=128, width=136)])
    with pytest.raises(PromptError, match=r"width 136; this model's pictures have multiples of 16 from 64 to 4096"):
        unbleed.estimate(pipe, "syngen", (128, 136))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": (0, 0)}, "height 0; this model's pictures have multiples of 8 from 64 to 512"),
        ({"size": (64.5, 64)}, "height 64.5; this model's pictures have multiples of 8"),
        ({"size": (128,)}, r"size is \(128,\); expected a pair of pixels, \(height, width\)"),
        ({"size": 128}, r"size is 128; expected a pair of pixels, \(height, width\)"),
        ({"steps": 0}, "0 steps; expected 1 to 1000"),
        ({"forwards_per_step": 0}, "0 forwards per step; expected 2 with classifier-free guidance, 1 without"),
    ],
)
def test_I10_an_estimate_refuses_what_is_wrong(options: dict[str, Any], message: str, emoji: Any) -> None:
    with pytest.raises(PromptError, match=message):
        unbleed.estimate(emoji, "syngen", **options)


def test_I10_an_estimate_prints_as_a_sentence() -> None:
    found = unbleed.estimation.Estimate(100.0, 1.08, 25, 25, 354_334_802, 64_424_509, 1_719_041_928)
    assert str(found) == (
        "1.27 times the unguided run: 25 evaluations of 1.08 forwards each, beside 100 forwards; 0.33 GiB kept for the "
        "gradient, 61.4 MiB with checkpointing; weights 1.60 GiB"
    )
    refined = unbleed.estimation.Estimate(100.0, 1.0, 85, 25, 2**30, 2**30, 2**30)
    assert str(refined).startswith("1.25 to 1.85 times the unguided run: 25 to 85 evaluations of 1.00 forwards each")
    edits = unbleed.estimation.Estimate(100.0, 1.0, 0, 0, 2**30, 2**30, 2**30)
    assert str(edits) == "1.00 times the unguided run: no evaluations with a gradient; weights 1.00 GiB"
    assert repr(edits) == f"<Estimate: {edits}>"


# --------------------------------------------------------------------------------------------- figures of a GPU


def land(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "benchmarks" / "gpu_check.py"), "land", *arguments]
    return subprocess.run(command, capture_output=True, text=True)


def test_gpu_figures_of_a_cpu_are_refused(tmp_path: Path) -> None:
    file, page = tmp_path / "gpu.json", ROOT / "docs" / "performance.md"
    before = page.read_bytes()
    file.write_text(json.dumps({"device": {"kind": "cpu", "name": "2 CPU threads"}, "measured": {}, "left_out": {}}))
    done = land(str(file))
    assert done.returncode == 1
    assert done.stderr == (
        f"{file} was measured on a CPU (2 CPU threads); performance.md takes figures of a GPU alone: run `make gpu` on one\n"
    )
    assert page.read_bytes() == before


def test_gpu_figures_come_into_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    gpu_check = importlib.import_module("gpu_check")
    way = {"none": 1.0, "unbleed": 1.5, "diffusers": 3.0}
    peaks = {name: int(seconds * 2**30) for name, seconds in way.items()}
    run = {"side": 512, "steps": 20, "versions": {"torch": "2.13.0", "diffusers": "0.42.1"}}
    found = {
        "device": {"kind": "cuda", "name": "NVIDIA Test", "memory_GiB": 80.0},
        "measured": {
            "contract": {"tests": 14, "failed": []},
            "batch 8": {**run, "rival": {"batch 8": {**way, "peak_bytes_above_the_loaded_pipeline": peaks}}},
        },
        "left_out": {"offload": "no time was left"},
    }
    file, page = tmp_path / "gpu.json", tmp_path / "performance.md"
    file.write_text(json.dumps(found))
    page.write_text((ROOT / "docs" / "performance.md").read_text())
    gpu_check.land(file, page)
    gpu_check.land(file, page)  # again, in place of itself
    text = page.read_text()
    assert (
        text.count("NVIDIA Test, 80 GiB, torch 2.13.0, diffusers 0.42.1, float16. 512x512 pixels, 20 steps, half of them") == 1
    )
    assert "| 8 | `unbleed.guide` | 1.50 | 1.50 | 1,536 MiB |" in text
    assert "Contract tests in float16 and bfloat16 (`tests/guidance/test_half_precision.py`): 14, all passed." in text
    assert "Left out: offload (no time was left)." in text
    assert "No figures yet" not in text
    assert "## Against diffusers' own pipeline" in text
