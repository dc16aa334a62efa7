"""The runner: draw what a plan still misses, wherever, and keep it."""

from __future__ import annotations

import functools
import os
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...errors import BenchError, UnbleedWarning
from ...files import check_writable
from ...model_settings import settings_of
from ...recipes import Recipe
from ..plan.cases import Suite
from ..plan.environment import NULL_MODEL, machine, model_fingerprint, versions
from ..plan.jobs import Batch
from ..plan.plan import Plan, check_counts
from ..plan.variants import Variant
from ..storage.store import Store
from .executors import Executor, serial
from .workers import Worker, worker_for

BATCH_SIZE = 8
TOLD = 10  # prompts that an error names


@dataclass(frozen=True)
class Progress:
    """How far a run is: pictures of each contender's setup that are there, that could not be drawn, and all of them."""

    done: Mapping[str, int]
    failed: Mapping[str, int]
    total: Mapping[str, int]


Report = Callable[[Progress], None]
"""Called once at the beginning, and after each batch."""


@dataclass(frozen=True)
class Outcome:
    """What a run has come to."""

    out: Path
    pictures: int  # of the whole plan, all draws counted
    drawn: int  # by this run
    failed: int  # of the whole plan
    seconds: float  # of this run


def run(
    out: Path,
    plan: Plan,
    *,
    executor: Executor = serial,
    make: Callable[[], Worker] | None = None,
    retry_failed: bool = False,
    report: Report = lambda progress: None,
) -> Outcome:
    """Draw every picture of the plan that the folder `out` does not hold yet.

    A run that was stopped, by whatever means, goes on where it was when it is called again. What cannot be drawn is kept with
    its reason and does not stop the others; `retry_failed` tries it again. In the end it is named by a `BenchError`.
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
        done, failures, gone = store.drawn()
        damaged = store.damaged(done & {job.key for job in plan.jobs()})
        done -= damaged
        for keys, what in ((gone, "gone"), (damaged, "damaged, or were replaced by others,")):
            if keys:
                warnings.warn(
                    f"{len(keys)} pictures of {out} are {what} and are drawn again where they are asked for",
                    UnbleedWarning,
                    stacklevel=2,
                )
        total, there, failed, work = Counter[str](), Counter[str](), Counter[str](), 0
        for job in plan.jobs():
            label = labels[job.setup.digest]
            total[label] += 1
            there[label] += job.key in done
            failed[label] += job.key in failures and not retry_failed
            work += job.key not in done and (retry_failed or job.key not in failures)
        settled = done if retry_failed else done | failures.keys()
        report(Progress(there, failed, total))
        drawn = 0
        for painted in executor(make, _without(plan.batches(), settled)) if work else ():
            store.keep(painted[0].job.setup, painted)
            for one in painted:
                (failed if one.png is None else there)[labels[one.job.setup.digest]] += 1
                drawn += one.png is not None
            report(Progress(there, failed, total))
        store.pictures.compact()
    outcome = Outcome(out, total.total(), drawn, failed.total(), time.perf_counter() - begun)
    if outcome.failed:
        raise BenchError(_failures(store, plan))
    return outcome


def _without(batches: Iterator[Batch], settled: set[str]) -> Iterator[Batch]:
    """Yield the batches without the jobs that are settled."""
    for batch in batches:
        if rest := tuple(job for job in batch if job.key not in settled):
            yield rest


def _failures(store: Store, plan: Plan) -> str:
    errors = store.drawn()[1]
    told: dict[str, str] = {}
    for job in plan.jobs():
        if job.key in errors:
            told.setdefault(job.prompt, f'"{_short(job.prompt)}" ({job.setup.method}: {errors[job.key].splitlines()[0]})')
    more = f" and {len(told) - TOLD} more" if len(told) > TOLD else ""
    return (
        f"{len(told)} of {len(plan.suite.cases)} prompts could not be drawn: {'; '.join([*told.values()][:TOLD])}{more}. All "
        f"others are in {store.folder}; the same command with --retry-failed tries these again"
    )


def _short(prompt: str, length: int = 80) -> str:
    words = " ".join(prompt.split())
    return words if len(words) <= length else words[: length - 1] + "…"


def plan_for(
    store: Store,
    suite: Suite,
    contenders: Sequence[Variant],
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

    Without `dtype`: float16 on a GPU, float32 on a CPU. Steps and scale that are None are the model's. Batches and threads that
    are None are those of the folder's latest run, since with others the last bits of a picture change; in a new folder eights,
    and all cores.
    """
    check_counts(seeds, batch_size)
    if threads is not None and threads < 1:
        raise BenchError(f"{threads} threads; expected at least 1")
    own, before = settings_of(model), store.plan() if os.path.exists(store.plan_file) else None
    before = None if before and before.imported else before  # it says nothing of batches and threads
    steps = own.steps if steps is None else steps
    guidance_scale = own.guidance_scale if guidance_scale is None else guidance_scale
    Recipe("a picture", steps=steps, guidance_scale=guidance_scale)  # says what is wrong with them, before anything is written
    found = machine(threads or (before.machine.get("threads") if before else None))
    return Plan(
        suite=suite,
        seeds=seeds,
        contenders=tuple(contenders),
        model=model,
        model_fingerprint=model_fingerprint(model),
        steps=steps,
        guidance_scale=guidance_scale,
        dtype=dtype or ("float16" if found["device"] == "cuda" and model != NULL_MODEL else "float32"),
        batch_size=batch_size or (before.batch_size if before else BATCH_SIZE),
        versions=versions(),
        machine=found,
    )
