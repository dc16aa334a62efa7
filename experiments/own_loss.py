"""Whether guidance lowers what it means to lower: every method's own loss at the end of its window, guided and unguided.

On the embedded model, prompts of the validation suite, four different prompts to a batch, the method's settings for the
model. The loss is read behind the last update of the window, at that update's noise level. The unguided run evaluates it
at the same level, and one before for losses that remember it, and never moves the latents. No step behind that is run.
Methods without a loss (edits alone) are named and left out. Some losses are 0 where they are content: pairs whose unguided loss
is there already, which nothing can lower, are counted apart, and count as not lower.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from dataclasses import replace
from typing import Any

import torch

import unbleed
from unbleed.bench.suites import suite
from unbleed.guidance import Method
from unbleed.model_settings import method_of
from unbleed.sampling import sampling_named

BATCH = 4
ZERO = 5e-5


def last_losses(pipe: Any, parts: Method, prompts: list[str], seeds: list[int]) -> list[float]:
    """Return the loss of each image at the end of the guided window."""
    own = sampling_named("emoji")
    last = last_step(parts)

    def stop(running: Any, step: int, *_: Any) -> dict[str, Any]:
        running._interrupt = step >= last
        return {}

    with unbleed.guide(pipe, parts) as run:
        pipe(
            prompts,
            num_inference_steps=own.steps,
            guidance_scale=own.guidance_scale,
            generator=[torch.Generator().manual_seed(seed) for seed in seeds],
            output_type="latent",
            callback_on_step_end=stop,
        )
    return [step.losses[-1] for image in range(len(prompts)) for step in run.steps if (step.image, step.step) == (image, last)]


def last_step(parts: Method) -> int:
    steps = sampling_named("emoji").steps
    return max(i for i in range(steps) if parts.schedule.guides(i, steps))


def unguided(parts: Method) -> Method:
    """Return the method that evaluates the loss of `parts` at its last two guided steps and changes nothing."""
    start = max(last_step(parts) - 1, 0) / sampling_named("emoji").steps
    still = replace(parts.schedule, start=start, step_size=0.0, refine={})
    return replace(parts, schedule=still, refinement=None, noise=None, edits=())


def measured_behind(parts: Method) -> Method:
    """Return the method that measures its loss once more behind its last update."""
    share = last_step(parts) / sampling_named("emoji").steps
    schedule = replace(parts.schedule, refine={**parts.schedule.refine, share: unbleed.Refinement(most=1)})
    return replace(parts, schedule=schedule, refinement=None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--methods", help="names with commas [all that have a loss]")
    parser.add_argument("--prompts", type=int, default=16)
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    for name in ("diffusers", "transformers"):
        logging.getLogger(name).setLevel(logging.ERROR)
    pipe = unbleed.load("emoji")
    pipe.set_progress_bar_config(disable=True)
    validation = suite("emoji-validation").head(given.prompts)
    pairs = [(case.prompt, validation.first_seed + seed) for seed in range(given.seeds) for case in validation.cases]
    found = []
    for name in given.methods.split(",") if given.methods else unbleed.METHODS:
        parts = method_of(name, "emoji").parts()
        if parts.loss is None:
            print(f"{name}: no loss", file=sys.stderr)
            continue
        before: list[float] = []
        after: list[float] = []
        for first in range(0, len(pairs), BATCH):
            texts, seeds = zip(*pairs[first : first + BATCH], strict=True)
            before += last_losses(pipe, unguided(parts), list(texts), list(seeds))
            after += last_losses(pipe, measured_behind(parts), list(texts), list(seeds))
        lower = sum(a < b for a, b in zip(after, before, strict=True)) / len(after)
        zero = sum(abs(b) < ZERO for b in before)
        row = {"method": name, "pairs": len(after), "lower": lower, "unguided_zero": zero}
        row |= {"unguided": sum(before) / len(before), "guided": sum(after) / len(after)}
        found.append(row)
        print(f"{name}: {lower:.0%} of {len(after)} lower, {zero} were at 0 unguided", file=sys.stderr, flush=True)
    if given.json:
        print(json.dumps(found, indent=2))
        return
    print(f"{'method':22}{'pairs':>8}{'lower':>8}{'at 0':>8}{'unguided':>12}{'guided':>12}")
    for row in found:
        counts = f"{row['pairs']:8}{row['lower']:8.0%}{row['unguided_zero']:8}"
        print(f"{row['method']:22}{counts}{row['unguided']:12.4f}{row['guided']:12.4f}")


if __name__ == "__main__":
    main()
