"""The velocity update on a joint-attention model: does the loss fall, what does a step cost, and how good are the pictures?

python experiments/velocity.py descent    # FOCUS's loss in the next step: velocity corrected, left alone, with the sign turned
python experiments/velocity.py cost       # rows of forwards, gradients and operations, beside the update of the latents
python experiments/velocity.py quality    # all-correct pictures: SynGen by latents and by velocity, and FOCUS

The model is `--model emoji-mmdit`, or the folder of one that `unbleed emoji train --model mmdit` has made, such as a smoke run.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

import unbleed
from unbleed.attention.families import denoiser_of
from unbleed.bench.api import run_suite
from unbleed.bench.suites import suite
from unbleed.guidance import evaluator
from unbleed.sampling import sampling_of
from unbleed.sizes import text_length

SMALL = {"direction": "unit", "limit": 0.1}  # of the velocity, whose deviation is about 1: the same size for every prompt
SYNGEN = {"latents": "syngen:update=latents", "velocity": "syngen:update=velocity:step_size=1:limit=0.3"}


def draw(pipe: Any, prompts: list[str], first_seed: int, **more: Any) -> Any:
    options = {"guidance_scale": sampling_of(pipe).guidance_scale, "output_type": "latent", **more}
    seeds = [torch.Generator().manual_seed(first_seed + at) for at in range(len(prompts))]
    return pipe(prompts, generator=seeds, **text_length(pipe), **options)


def next_losses(pipe: Any, method: Any, prompts: list[str], first_seed: int, steps: int, at: int) -> list[float]:
    """Return each image's loss in the step after step `at`, the only one that is guided before it."""

    def stop(running: Any, step: int, *_: Any) -> dict[str, Any]:
        running._interrupt = step > at
        return {}

    sign = -1 if method.name.startswith("-") else 1
    with unbleed.guide(pipe, method) as run:
        draw(pipe, prompts, first_seed, num_inference_steps=steps, callback_on_step_end=stop)
    return [sign * step.loss for step in run.steps if step.step == at + 1]


def descent(pipe: Any, count: int, steps: int) -> None:
    prompts = suite("emoji-validation").head(count)
    texts = [case.prompt for case in prompts.cases]
    print(
        "| step | corrected | plain | sign turned | images whose loss falls | and rises with the sign turned |\n|" + "---|" * 6
    )
    for at in (0, steps // 6, steps // 3):
        window = {"start": at / steps, "stop": (at + 2) / steps}
        rule = unbleed.Descent(update="velocity", **SMALL)
        method, still = (
            unbleed.Method(unbleed.losses.FocusLoss(), unbleed.Schedule(step_size=size, **window), descent=rule)
            for size in (1.0, 0.0)
        )
        low, plain, high = (next_losses(pipe, m, texts, prompts.first_seed, steps, at) for m in (method, still, -1 * method))
        falls = sum(a < b for a, b in zip(low, plain, strict=True))
        rises = sum(a > b for a, b in zip(high, plain, strict=True))
        of = len(plain)
        print(f"| {at} | {fmean(low):.4f} | {fmean(plain):.4f} | {fmean(high):.4f} | {falls} of {of} | {rises} of {of} |")


@contextmanager
def counting(pipe: Any) -> Iterator[dict[str, int]]:
    """Count the rows of all forwards of the denoiser's first block, and the gradients that are taken."""
    counts = {"rows": 0, "gradients": 0}
    block = denoiser_of(pipe).get_submodule("transformer_blocks.0")
    differentiate = evaluator.gradient_through

    def rows(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        counts["rows"] += len(kwargs["hidden_states"] if "hidden_states" in kwargs else args[0])

    def gradient(*args: Any, **kwargs: Any) -> Any:
        counts["gradients"] += 1
        return differentiate(*args, **kwargs)

    handle = block.register_forward_pre_hook(rows, with_kwargs=True)
    evaluator.gradient_through = gradient
    try:
        yield counts
    finally:
        evaluator.gradient_through = differentiate
        handle.remove()


def cost(pipe: Any, steps: int) -> None:
    prompt, base = ["a red cat and a blue bench"], 0.0
    print("| method | guided steps | rows of forwards a step | gradients a guided step | operations |\n|" + "---|" * 5)
    for name, label in {"none": "none", **SYNGEN}.items():
        with counting(pipe) as counts, unbleed.guide(pipe, label) as run, FlopCounterMode(display=False) as flops:
            draw(pipe, prompt, 0, num_inference_steps=steps)
        base = base or flops.get_total_flops()
        guided = len(run.steps)
        gradients = counts["gradients"] / guided if guided else 0
        print(f"| {name} | {guided} | {counts['rows'] / steps:.2f} | {gradients:.2f} | {flops.get_total_flops() / base:.3f} |")


def quality(model: str, count: int, seeds: int, out: Path) -> None:
    prompts = suite("emoji-pairs").head(count)
    labels = ["none", *SYNGEN.values(), "focus"]
    rows = run_suite(out, prompts, labels, model=model, seeds=seeds).images
    for label in labels:
        own = [row for row in rows if row.method == label]
        right, seconds = fmean(row.scores["all_correct"] for row in own), fmean(row.seconds or 0 for row in own)
        print(f"{label:50} {right:6.1%} of {len(own)} all correct, {seconds:.2f} s a picture")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("descent", "cost", "quality"))
    parser.add_argument("--model", default="emoji-mmdit")
    parser.add_argument("--prompts", type=int, default=24)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--steps", type=int, help="of descent and cost [the model's]")
    parser.add_argument("--out", type=Path, default=Path("out/velocity"))
    given = parser.parse_args()
    for name in ("diffusers", "transformers"):
        logging.getLogger(name).setLevel(logging.ERROR)
    if given.part == "quality":
        return quality(given.model, given.prompts, given.seeds, given.out)
    pipe = unbleed.load(given.model)
    pipe.set_progress_bar_config(disable=True)
    steps = given.steps or sampling_of(pipe).steps
    return descent(pipe, given.prompts, steps) if given.part == "descent" else cost(pipe, steps)


if __name__ == "__main__":
    main()
