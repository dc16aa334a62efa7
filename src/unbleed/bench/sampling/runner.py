"""The runner: sample the images of a plan that are not in its folder yet."""

from __future__ import annotations

import functools
import os
import time
import warnings
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...errors import BenchError, UnbleedWarning
from ...files import check_writable
from ...recipes import Recipe
from ...sampling import Sampling, sampling_named
from ..plan.cases import Suite
from ..plan.environment import NULL_MODEL, machine, model_fingerprint, versions
from ..plan.jobs import Batch
from ..plan.plan import Plan, check_counts
from ..plan.variants import Variant
from ..storage.store import Store
from .executors import Executor, serial
from .workers import Worker, worker_for

BATCH_SIZE = 8
NAMED_PROMPTS = 10  # prompts that an error names


@dataclass(frozen=True)
class Progress:
    """Images done, failed and planned, {label of the first variant of a setup: count}."""

    done: Mapping[str, int]
    failed: Mapping[str, int]
    total: Mapping[str, int]


OnProgress = Callable[[Progress], None]
"""Called once at the beginning, and after each batch."""


@dataclass(frozen=True)
class RunSummary:
    """Counts of a finished run."""

    out: Path
    pictures: int  # images of the whole plan, including all draws
    sampled: int  # by this run
    failed: int  # of the whole plan
    seconds: float  # of this run


def run(
    out: Path,
    plan: Plan,
    *,
    executor: Executor = serial,
    make: Callable[[], Worker] | None = None,
    retry_failed: bool = False,
    on_progress: OnProgress = lambda progress: None,
) -> RunSummary:
    """Sample every image of the plan that is not in the folder `out` yet.

    A run that was stopped or killed resumes when this is called again. An image that fails is stored with its error and does
    not stop the others; `retry_failed` tries it again.

    Raises `BenchError` at the end, naming the prompts that failed.
    """
    begun = time.perf_counter()
    check_writable(out)
    store = Store(out)
    make = make or functools.partial(
        worker_for, plan.model, plan.dtype, plan.machine["device"], plan.batch_size, plan.machine.get("threads")
    )
    labels = {setup.digest: label for label, setup in reversed(plan.setups.items())}  # the first of those that share it
    with store.writing():
        store.pictures.mend()
        store.keep_plan(plan)
        done, errors, missing = store.state()
        damaged = store.damaged(done & {job.key for job in plan.jobs()})
        done -= damaged
        for keys, what in ((missing, "missing"), (damaged, "damaged or replaced")):
            if keys:
                warnings.warn(
                    f"{len(keys)} images of {out} are {what}; those of this plan are sampled again",
                    UnbleedWarning,
                    stacklevel=2,
                )
        total, finished, failed, work = Counter[str](), Counter[str](), Counter[str](), 0
        for job in plan.jobs():
            label = labels[job.setup.digest]
            total[label] += 1
            finished[label] += job.key in done
            failed[label] += job.key in errors and not retry_failed
            work += job.key not in done and (retry_failed or job.key not in errors)
        skipped = done if retry_failed else done | errors.keys()
        on_progress(Progress(finished, failed, total))
        sampled = 0
        for results in executor(make, without(plan.batches(), skipped)) if work else ():
            store.keep(results)
            for result in results:
                (failed if result.png is None else finished)[labels[result.job.setup.digest]] += 1
                sampled += result.png is not None
            on_progress(Progress(finished, failed, total))
        store.pictures.compact()
    summary = RunSummary(out, total.total(), sampled, failed.total(), time.perf_counter() - begun)
    if summary.failed:
        raise BenchError(_failed_prompts(store, plan))
    return summary


def without(batches: Iterable[Batch], skipped: Collection[str]) -> Iterator[Batch]:
    """Yield the batches without the jobs whose keys are in `skipped`; empty batches are dropped."""
    for batch in batches:
        if rest := tuple(job for job in batch if job.key not in skipped):
            yield rest


def _failed_prompts(store: Store, plan: Plan) -> str:
    errors = store.state().errors
    failed: dict[str, str] = {}
    for job in plan.jobs():
        if job.key in errors:
            failed.setdefault(job.prompt, f'"{_short(job.prompt)}" ({job.setup.method}: {errors[job.key].splitlines()[0]})')
    named = "; ".join([*failed.values()][:NAMED_PROMPTS])
    more = f" and {len(failed) - NAMED_PROMPTS} more" if len(failed) > NAMED_PROMPTS else ""
    return (
        f"{len(failed)} of {len(plan.suite.cases)} prompts failed: {named}{more}. All other images are in {store.folder}; the "
        "same command with --retry-failed tries these again"
    )


def _short(prompt: str, length: int = 80) -> str:
    words = " ".join(prompt.split())
    return words if len(words) <= length else words[: length - 1] + "…"


def plan_for(
    store: Store,
    suite: Suite,
    variants: Sequence[Variant],
    *,
    model: str,
    seeds: int,
    batch_size: int | None = None,
    steps: int | None = None,
    guidance_scale: float | None = None,
    dtype: str | None = None,
    threads: int | None = None,
) -> Plan:
    """Return the plan of a run on this machine.

    `dtype` defaults to float16 on a GPU and float32 on a CPU, `steps` and `guidance_scale` to what suits the model.
    `batch_size` and `threads` default to those of the folder's latest run, because other values change the last bits of an
    image; in a new folder to 8 and to all cores.

    Raises `BenchError` for counts out of range.
    """
    check_counts(seeds, batch_size)
    if threads is not None and threads < 1:
        raise BenchError(f"{threads} threads; expected at least 1")
    before = store.plan() if os.path.exists(store.plan_file) else None
    before = None if before and before.imported else before  # an import has no batches and threads
    fingerprint = model_fingerprint(model)
    if steps is None or guidance_scale is None:
        own = Sampling() if model == NULL_MODEL else sampling_named(model)
        steps = own.steps if steps is None else steps
        guidance_scale = own.guidance_scale if guidance_scale is None else guidance_scale
    Recipe("a picture", steps=steps, guidance_scale=guidance_scale)  # raises for invalid values before anything is written
    found = machine(threads or (before.machine.get("threads") if before else None))
    return Plan(
        suite=suite,
        seeds=seeds,
        contenders=tuple(variants),
        model=model,
        model_fingerprint=fingerprint,
        steps=steps,
        guidance_scale=guidance_scale,
        dtype=dtype or ("float16" if found["device"] == "cuda" and model != NULL_MODEL else "float32"),
        batch_size=batch_size or (before.batch_size if before else BATCH_SIZE),
        versions=versions(),
        machine=found,
    )
