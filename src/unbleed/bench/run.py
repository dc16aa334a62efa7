"""The runner: draw what a plan still misses, have it judged, keep it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..api import load
from ..errors import BenchError
from ..generation import check_writable, generate
from ..model_settings import settings_of
from .cases import Suite
from .contenders import Contender
from .plan import Plan, check_counts, machine, model_fingerprint, versions
from .store import Judge, Store

logger = logging.getLogger(__name__)

BATCH_SIZE = 8
TOLD = 10  # prompts that an error names

Report = Callable[[int, int], None]
"""Called with the jobs that are done and all jobs: once at the beginning, and after each job."""


@dataclass(frozen=True)
class Outcome:
    """What a run has come to."""

    out: Path
    pictures: int  # of the whole plan, all draws counted
    drawn: int  # by this run
    judged: int  # by this run
    seconds: float  # of this run


def run(
    out: Path,
    suite: Suite,
    contenders: Sequence[Contender],
    *,
    model: str,
    seeds: int,
    judge: Judge,
    batch_size: int | None = None,
    steps: int | None = None,
    guidance_scale: float | None = None,
    report: Report = lambda done, total: None,
) -> Outcome:
    """Draw and judge every picture of the suite that the folder `out` does not hold yet.

    Without `batch_size` the pictures are drawn in the batches of the folder's latest run, since a picture of another
    batch is another picture, and by eights in a new folder.

    A run that was stopped, by whatever means, goes on where it was when it is called again. A prompt that cannot be drawn
    does not stop the others; in the end they are named by a `BenchError`.
    """
    begun = time.perf_counter()
    check_counts(seeds, batch_size)
    check_writable(out)
    store = Store(out)
    plan = plan_for(
        store,
        suite,
        contenders,
        model=model,
        seeds=seeds,
        judge=judge,
        batch_size=batch_size,
        steps=steps,
        guidance_scale=guidance_scale,
    )
    jobs = plan.jobs()
    pipe: Any = None
    drawn = judged = 0
    failures: dict[str, str] = {}
    with store.writing():
        store.keep_plan(plan)
        work = store.missing(plan)
        finished = len(jobs) - len(work)
        report(finished, len(jobs))
        for number, job in enumerate(work, start=1):
            if not store.has_pictures(job):
                pipe = pipe or warm_pipeline(plan)  # only now, so that pictures on disk can be judged without it
                try:
                    pictures = list(generate(pipe, job.recipe, job.seeds, batch_size=len(job.seeds)))
                except MemoryError:
                    raise
                except Exception as error:  # whatever one prompt meets, hours of others must not be lost to it
                    logger.debug("%s", job.recipe, exc_info=True)
                    failures.setdefault(job.recipe.prompt, f"{job.recipe.method}: {error or type(error).__name__}")
                else:
                    store.keep_pictures(job, pictures, plan.machine)
                    drawn += len(pictures)
            if store.has_pictures(job):
                judged += store.judge(job, judge)
            report(finished + number, len(jobs))
    if failures:
        told = [f'"{prompt}" ({reason})' for prompt, reason in failures.items()]
        more = f" and {len(told) - TOLD} more" if len(told) > TOLD else ""
        raise BenchError(
            f"{len(told)} of {len(suite.cases)} prompts could not be drawn: {'; '.join(told[:TOLD])}{more}. "
            f"All others are in {out}; the same command tries these again"
        )
    return Outcome(out, sum(len(job.seeds) for job in jobs), drawn, judged, time.perf_counter() - begun)


def plan_for(
    store: Store,
    suite: Suite,
    contenders: Sequence[Contender],
    *,
    model: str,
    seeds: int,
    judge: Judge,
    batch_size: int | None = None,
    steps: int | None = None,
    guidance_scale: float | None = None,
) -> Plan:
    """Return the plan of a run on this machine; what is None is the model's, the batches those of the folder's latest run."""
    own = settings_of(model)
    return Plan(
        suite=suite,
        seeds=seeds,
        contenders=tuple(contenders),
        model=model,
        model_fingerprint=model_fingerprint(model),
        steps=own.steps if steps is None else steps,
        guidance_scale=own.guidance_scale if guidance_scale is None else guidance_scale,
        dtype="float16" if torch.cuda.is_available() else "float32",
        batch_size=min(seeds, batch_size or _batch_size_before(store)),
        judge=judge.fingerprint,
        versions=versions(),
        machine=machine(),
    )


def _batch_size_before(store: Store) -> int:
    return store.plan().batch_size if store.plan_file.exists() else BATCH_SIZE


def warm_pipeline(plan: Plan) -> Any:
    """Return the pipeline, warm: its first forward pays for memory and kernels, and no contender is to be charged with it."""
    pipe = load(plan.model, dtype=getattr(torch, plan.dtype), device=plan.machine["device"])
    pipe.set_progress_bar_config(disable=True)
    pipe("a picture", num_images_per_prompt=plan.batch_size, num_inference_steps=1)
    return pipe
