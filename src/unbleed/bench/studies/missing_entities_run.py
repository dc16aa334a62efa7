"""Sampling for the study of missing entities: unguided images with their attention maps, reduced to one row per image."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypedDict

import torch
from PIL import Image

from ...emoji.findings import Finding
from ...errors import BenchError
from ...files import check_writable, understanding
from ...generation import draw
from ...schema import SchemaError, check, parse
from ..plan.cases import Suite
from ..plan.jobs import Job, JobResult
from ..plan.plan import Plan
from ..plan.variants import variants_from
from ..sampling.executors import Executor, serial
from ..sampling.runner import plan_for, without
from ..sampling.workers import PipelineWorker
from ..storage.store import Store
from ..storage.table import Table
from .missing_entities import QUANTITIES, quantities_of


class Measured(TypedDict):
    """A row of a study: each quantity by step, and the things found in the image."""

    grid: tuple[int, int]
    intensity: list[float]
    spread: list[float]
    overlap: list[float]
    finding: Finding


class Detector(Protocol):
    """Finds things in images, like the oracle. Detectors with equal fingerprints give equal findings."""

    @property
    def fingerprint(self) -> str: ...

    def look(self, images: list[Image.Image]) -> list[Finding]: ...


@dataclass(frozen=True)
class StudyResult(JobResult):
    """Result of a job of a study: its row as JSON values. The image itself is not kept."""

    measured: dict[str, Any] = field(default_factory=dict)


@dataclass
class StudyWorker(PipelineWorker):
    """Samples images with their maps, and measures both."""

    detector: Detector = field(kw_only=True)

    def sample(self, jobs: Sequence[Job]) -> list[JobResult]:
        pictures = draw(self.pipe, [job.recipe for job in jobs], record_maps=True)
        findings = self.detector.look([picture.image for picture in pictures])
        results = list[JobResult]()
        for job, picture, finding in zip(jobs, pictures, findings, strict=True):
            assert picture.attention is not None
            maps = torch.stack(picture.attention.maps)  # (step, token, height, width)
            quantities = quantities_of(maps, picture.tokens)
            if not all(values.isfinite().all() for values in quantities.values()):
                raise BenchError(
                    f'the maps of "{job.prompt}" contain NaN or inf: {self.model} does not work in {job.setup.dtype} here; '
                    "use another model or machine"
                )
            row = {"grid": list(maps.shape[-2:])} | {q.name: quantities[q.name].tolist() for q in QUANTITIES}
            results.append(StudyResult(job, None, measured=row | {"finding": finding.to_json()}))
        return results


def study_store(out: Path) -> Store:
    """Return the store of a study, whose plan is `study.json`."""
    return Store(out, plan_file="study.json")


def study_rows(out: Path) -> Table:
    """Return the table of a study: one row per image with its measurements as JSON text."""
    return Table(out / "study", {"key": "string", "prompt": "string", "seed": "int64", "measured": "string"})


def plan_study(
    out: Path,
    suite: Suite,
    *,
    model: str,
    seeds: int,
    resolution: int | None = None,
    steps: int | None = None,
    guidance_scale: float | None = None,
    threads: int | None = None,
) -> Plan:
    """Return the plan of a study. `resolution` is the side of the maps' grid; None means the model's default layers.

    Raises `BenchError` if a prompt has fewer than two entities, or the run has too few steps for thirds.
    """
    single = [case.prompt for case in suite.cases if len(case.entities) < 2]
    if single:
        raise BenchError(
            f'{suite.name} has "{single[0]}" with fewer than two entities, so there is no overlap; expected two entities or '
            "more, as in emoji-pairs"
        )
    variants = variants_from(["none" if resolution is None else f"none:resolution={resolution}"], model)
    options = {"model": model, "seeds": seeds, "steps": steps, "guidance_scale": guidance_scale, "threads": threads}
    plan = plan_for(study_store(out), suite, variants, **options)
    if plan.steps < 3:
        raise BenchError(f"a run of {plan.steps} steps has no thirds to compare; use 3 steps or more")
    return plan


def run_study(
    out: Path,
    plan: Plan,
    *,
    detector: Detector,
    executor: Executor = serial,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[list[dict[str, Any]]]:
    """Return the rows of a study as (prompt, seed), sampling the images whose rows are not in the folder `out` yet.

    A row's key is the key of its job and the detector's fingerprint. An interrupted study resumes. Raises `BenchError` for the
    first image that fails.
    """
    check_writable(out)
    store, table = study_store(out), study_rows(out)
    device, threads = plan.machine["device"], plan.machine.get("threads")
    make = functools.partial(StudyWorker, plan.model, plan.dtype, device, plan.batch_size, threads, detector=detector)
    with store.writing():
        table.mend()
        store.keep_plan(plan)
        known = table.read()
        total = sum(1 for _ in plan.jobs())
        skipped = {job.key for job in plan.jobs() if row_key(job, detector) in known}
        done = len(skipped)
        on_progress(done, total)
        for results in executor(make, without(plan.batches(), skipped)) if done < total else ():
            for result in results:
                if result.error is not None:
                    raise BenchError(result.error.splitlines()[0])
            table.append(
                {
                    "key": row_key(result.job, detector),
                    "prompt": result.job.prompt,
                    "seed": result.job.seed,
                    "measured": json.dumps(result.measured),
                }
                for result in results
                if isinstance(result, StudyResult)
            )
            done += len(results)
            on_progress(done, total)
        table.compact()
    return _read(plan, table, detector)


def row_key(job: Job, detector: Detector) -> str:
    return f"{job.key}.{detector.fingerprint}"


def _read(plan: Plan, table: Table, detector: Detector) -> list[list[dict[str, Any]]]:
    """Return the rows as (prompt, seed); raise `BenchError` for an invalid one."""
    measured = table.read("measured")
    lengths: set[int] = set()

    def row_of(job: Job) -> dict[str, Any]:
        key = row_key(job, detector)
        name, remedy = f"{table.folder}, row {key}, measured", "remove that folder and run again"
        with understanding(name, error=BenchError, remedy=remedy):
            row = parse(measured[key][0] or "null")
            check(row, Measured)
            lengths.update(len(row[quantity.name]) for quantity in QUANTITIES)
            if len(lengths) > 1:
                raise SchemaError(
                    f"has values for {max(lengths)} and for {min(lengths)} steps; expected equal numbers in all rows"
                )
        return row

    (variant,) = plan.contenders
    return [[row_of(job) for (job,) in plan.jobs_of(case, variant)] for case in plan.suite.cases]
