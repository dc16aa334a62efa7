"""The pictures of a study of causes: drawn unguided with their maps, measured, judged, and each row kept as it comes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, TypedDict

import torch
from PIL import Image

from ...emoji.findings import Finding
from ...errors import BenchError
from ...files import check_writable, understanding
from ...generation import draw as draw_pictures
from ...schema import SchemaError, check, parse
from ..plan.cases import Suite
from ..plan.jobs import Job
from ..plan.plan import Plan
from ..plan.variants import variants_from
from ..sampling.runner import plan_for
from ..sampling.workers import loaded, warm
from ..storage.store import Store
from ..storage.table import Table
from .missing_entities import QUANTITIES, measure


class Measured(TypedDict):
    """A row of a study; of each quantity a value per step."""

    grid: tuple[int, int]
    intensity: list[float]
    spread: list[float]
    overlap: list[float]
    finding: Finding


class Judge(Protocol):
    """Whoever says what is in a picture. Two judges of one fingerprint say the same."""

    @property
    def fingerprint(self) -> str: ...

    def look(self, images: list[Image.Image]) -> list[Finding]: ...


def store_of(out: Path) -> Store:
    """Return the store of a study, whose plan is `study.json`."""
    return Store(out, plan_file="study.json")


def rows_of(out: Path) -> Table:
    """Return the rows of a study: what the judge saw in each picture and what was measured in its maps, as JSON text."""
    return Table(out / "study", {"key": "string", "prompt": "string", "seed": "int64", "measured": "string"})


def draw(
    out: Path,
    suite: Suite,
    *,
    model: str,
    seeds: int,
    judge: Judge,
    resolution: int | None = None,
    steps: int | None = None,
    guidance_scale: float | None = None,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[Plan, list[list[dict[str, Any]]]]:
    """Return the plan, and the row of every picture as (prompt, seed), drawing those that the folder `out` does not hold.

    A row belongs to a job of the plan, whose key is the hash of all that its picture and maps depend on, and to the judge's
    fingerprint. The pictures themselves are not kept. `resolution` is the side of the grid whose layers are read, None for
    those that are read on this kind of model.

    Raises `BenchError` when a prompt has fewer than two entities, or the run too few steps to have thirds.
    """
    check_writable(out)
    alone = [case.prompt for case in suite.cases if len(case.entities) < 2]
    if alone:
        raise BenchError(
            f'{suite.name} has "{alone[0]}", with one entity, whose map nothing can overlap; expected two entities or more, as '
            "in emoji-pairs"
        )
    store, rows = store_of(out), rows_of(out)
    (unguided,) = variants_from(["none" if resolution is None else f"none:resolution={resolution}"], model)
    plan = plan_for(store, suite, [unguided], model=model, seeds=seeds, steps=steps, guidance_scale=guidance_scale)
    if plan.steps < 3:
        raise BenchError(f"a run of {plan.steps} steps has no thirds to compare; take 3 or more")
    pipe: Any = None
    with store.writing():
        rows.mend()
        store.keep_plan(plan)
        known = rows.read()
        batches = [[job for job in batch if f"{job.key}.{judge.fingerprint}" not in known] for batch in plan.batches()]
        total = sum(1 for _ in plan.jobs())
        done = total - sum(map(len, batches))
        report(done, total)
        for batch in filter(None, batches):
            # only now, so that a finished study can be read without it
            pipe = pipe or warm(loaded(plan.model, plan.dtype, plan.machine["device"]), plan.batch_size)
            pictures = draw_pictures(pipe, [job.recipe for job in batch], record_maps=True)
            found = []
            for job, picture in zip(batch, pictures, strict=True):
                assert picture.attention is not None
                maps = torch.stack(picture.attention.maps)  # (step, token, height, width)
                of = measure(maps, picture.tokens)
                if not all(values.isfinite().all() for values in of.values()):
                    raise BenchError(
                        f'the maps of "{job.prompt}" hold values that are no numbers: {model} does not work in {plan.dtype} '
                        "here; take another model or machine"
                    )
                found.append({"grid": list(maps.shape[-2:])} | {q.name: of[q.name].tolist() for q in QUANTITIES})
            findings = judge.look([picture.image for picture in pictures])
            rows.append(
                {
                    "key": f"{job.key}.{judge.fingerprint}",
                    "prompt": job.prompt,
                    "seed": job.seed,
                    "measured": json.dumps(one | {"finding": finding.to_json()}),
                }
                for job, one, finding in zip(batch, found, findings, strict=True)
            )
            done += len(batch)
            report(done, total)
        rows.compact()
    measured = rows.read("measured")
    of_cases = [[job for (job,) in plan.jobs_of(case, unguided)] for case in suite.cases]

    def row_of(job: Job) -> dict[str, Any]:
        key = f"{job.key}.{judge.fingerprint}"
        place, remedy = f"{rows.folder}, row {key}, measured", "remove that folder and run again"
        with understanding(place, error=BenchError, remedy=remedy):
            row = parse(measured[key][0] or "null")
            check(row, Measured)
            lengths.update(len(row[quantity.name]) for quantity in QUANTITIES)
            if len(lengths) > 1:
                raise SchemaError(f"has values of {max(lengths)} and of {min(lengths)} steps; expected as many in every row")
        return row

    lengths: set[int] = set()
    return plan, [[row_of(job) for job in jobs] for jobs in of_cases]
