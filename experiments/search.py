"""Settings for an embedded model: every method gets the same number of trials on the same validation prompts and seeds.

A paper's step size suits the latents and the attention that it was found on. Here it is replaced by one that moves the latents
of this model by a few hundredths of their deviation in the first step (the root mean square over values, the median over
prompts), with guidance in the first 0.2 or 0.3 of the run: six trials. On a UNet all read the 16x16 maps, where the first
model finds its things. On a transformer, whose maps are all of one size, the best of the six is tried on every third of the
blocks too: three trials more. It gets smaller steps, because the smallest of the UNet's were the best on it for nearly all
methods. Methods without a loss have up to six trials of their own. What is found best by pictures all-correct is
printed as the model's `unbleed.json` wants it. The test suites are not touched.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from dataclasses import fields
from pathlib import Path
from statistics import fmean, median
from typing import Any

import torch

import unbleed
from unbleed.attention.families import denoiser_of
from unbleed.bench.api import run_suite
from unbleed.bench.plan.cases import Suite
from unbleed.bench.sampling.executors import ray
from unbleed.bench.suites import suite
from unbleed.guidance.velocity import is_flow
from unbleed.methods import PaperMethod
from unbleed.sampling import sampling_of
from unbleed.sizes import text_length

MOVES = {"unet": (0.025, 0.05, 0.1), "transformer": (0.00625, 0.0125, 0.025)}  # fractions of the latents' deviation
STOPS = (0.2, 0.3)
VELOCITY_STEPS, VELOCITY_LIMITS = (1.0, 3.0, 10.0), (0.3, 1.0)  # of what corrects the velocity, whose deviation is about 1
FIXED = {"resolution": 16, "include_entities": True}
THIRDS = ("down", "mid", "up")  # of a transformer's blocks
# What repeats updates is left to the papers' settings: it costs many evaluations, and the moves above take its place.
WITHOUT_REPEATS = {"thresholds": {}, "refinements": {}, "max_refinements": 0}
EDITS: dict[str, list[dict[str, Any]]] = {
    "best-of-n": [{"score": score, "ahead": steps} for score in ("focus", "excite", "binding") for steps in (1, 4)],
    "structure-diffusion": [{"mode": "values"}, {"mode": "keys"}],
    "dos": [{"strength": strength} for strength in (0.1, 0.2, 0.35, 0.5, 0.75, 1.0)],
    "amplify": [{"factor": factor, "blocks": blocks} for factor in (1.25, 1.5, 2.0) for blocks in (1, 2)],
    "nag": [{"scale": scale, "alpha": alpha} for scale in (2.0, 5.0, 8.0) for alpha in (0.125, 0.25)],
    "composable": [{"weight": weight} for weight in (0.4, 0.5, 0.6, 0.75, 1.0, 1.25)],
    "attention-regulation": [
        {"rate": rate, "stop": stop, "keep_ends": ends}
        for rate, stop, ends in (
            (100.0, 0.5, True),
            (100.0, 0.5, False),
            (20.0, 0.5, True),
            (20.0, 0.5, False),
            (20.0, 0.3, True),
            (20.0, 0.3, False),
        )
    ],
}


def trials(name: str, pipe: Any, prompts: Suite, fixed: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the settings of each trial of a method."""
    if name in EDITS:
        own = {} if not hasattr(pipe, "unet") else {key: fixed[key] for key in ("resolution",) if key in fixed}
        return [{**own, **trial} for trial in EDITS[name]]
    kind = unbleed.METHODS[name]
    if kind().parts().descent.update == "velocity" and is_flow(pipe.scheduler):
        return [{"step_size": step_size, "limit": limit} for step_size in VELOCITY_STEPS for limit in VELOCITY_LIMITS]
    known = {field.name for field in fields(kind)}
    fixed = fixed if is_flow(pipe.scheduler) else {**fixed, "update": "latents"}
    base = {key: value for key, value in {**WITHOUT_REPEATS, **fixed}.items() if key in known}
    if not hasattr(pipe, "unet"):
        base.pop("resolution", None)
    size = gradient_size(kind(**base), pipe, prompts)
    step_sizes = [float(f"{move / size:.2g}") for move in MOVES["unet" if hasattr(pipe, "unet") else "transformer"]]
    window = "pull_stop" if "pull_stop" in known else "stop"  # `stop` of `regions` ends its masks
    return [{**base, "step_size": step_size, window: stop} for step_size in step_sizes for stop in STOPS]


def gradient_size(method: PaperMethod, pipe: Any, prompts: Suite) -> float:
    """Return the root mean square of the gradient in the first guided step, the median over prompts."""
    own = sampling_of(pipe)
    denoiser: Any = denoiser_of(pipe)
    values = denoiser.config.in_channels * denoiser.config.sample_size**2

    def stop(running: Any, *_: Any) -> dict[str, Any]:
        running._interrupt = bool(run.steps)
        return {}

    texts = [case.prompt for case in prompts.cases]
    seeds = [torch.Generator().manual_seed(prompts.first_seed + at) for at in range(len(texts))]
    with unbleed.guide(pipe, method) as run:
        pipe(
            texts,
            num_inference_steps=own.steps,
            guidance_scale=own.guidance_scale,
            generator=seeds,
            **text_length(pipe),
            output_type="latent",
            callback_on_step_end=stop,
        )
    return median(step.gradient_norm for step in run.steps) / values**0.5


def tried(
    name: str, candidates: list[dict[str, Any]], out: Path, prompts: Suite, given: argparse.Namespace, drawing: dict[str, Any]
) -> list[tuple[float, dict[str, Any]]]:
    """Return the share of pictures all-correct for each of `candidates`, settings of the method `name`, and print it."""
    settings = {label(name, changes): changes for changes in candidates}
    rows = run_suite(out, prompts, list(settings), model=given.model, seeds=given.seeds, dtype=given.dtype, **drawing).images
    scores = {one: fmean(row.scores["all_correct"] for row in rows if row.method == one) for one in settings}
    for one, score in scores.items():
        print(f"{score:7.1%}  {one}", file=sys.stderr, flush=True)
    return [(scores[one], settings[one]) for one in settings]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="emoji", help="an embedded model or the folder of a model of the emoji world")
    parser.add_argument("--methods", help="names with commas [all]")
    parser.add_argument("--prompts", type=int, default=24)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--dtype", default="float32", help="float32 or bfloat16")
    parser.add_argument("--fixed", type=json.loads, default=FIXED, help="settings of all methods that know them, as JSON")
    parser.add_argument("--workers", type=int, help="draw in so many of Ray's workers, of one core each [here, with all cores]")
    parser.add_argument("--out", type=Path, default=Path("out/search"))
    given = parser.parse_args()
    for name in ("diffusers", "transformers"):
        logging.getLogger(name).setLevel(logging.ERROR)
    pipe = unbleed.load(given.model)
    pipe.set_progress_bar_config(disable=True)
    validation = suite("emoji-validation").head(given.prompts)
    names = given.methods.split(",") if given.methods else [name for name in unbleed.METHODS if name != "none"]
    drawing: dict[str, Any] = {"executor": ray(workers=given.workers, cpus=1), "threads": 1} if given.workers else {}
    best: dict[str, Any] = {}
    for name in names:
        found = tried(name, trials(name, pipe, validation, given.fixed), given.out / name, validation, given, drawing)
        if not hasattr(pipe, "unet") and name not in EDITS:
            chosen = max(found, key=lambda one: one[0])[1]
            thirds = [{**chosen, "layers": third} for third in THIRDS]
            found += tried(name, thirds, given.out / f"{name}-blocks", validation, given, drawing)
        best[name] = max(found, key=lambda one: one[0])[1]
    print(json.dumps(best, indent=2))


def label(name: str, changes: dict[str, Any]) -> str:
    return ":".join([f"{name}@paper", *(f"{key}={json.dumps(value)}" for key, value in changes.items())])


if __name__ == "__main__":
    main()
