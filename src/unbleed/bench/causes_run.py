"""The pictures of a study of causes: drawn unguided with their maps, measured, judged, and each row kept as it comes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..errors import BenchError
from ..generation import check_writable, generate
from .cases import Suite
from .causes import QUANTITIES, measure
from .contenders import contenders_from
from .plan import Plan, check_counts
from .run import Report, plan_for, warm_pipeline
from .store import Judge, Store


def store_of(out: Path) -> Store:
    """Return the store of a study: `study.json` is its plan, `study.jsonl` its rows."""
    return Store(out, plan_file="study.json", rows_file="study.jsonl")


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
    report: Report = lambda done, total: None,
) -> tuple[Plan, list[list[dict[str, Any]]]]:
    """Return the plan, and the row of every picture as (prompt, seed), drawing those that the folder `out` does not hold.

    A row belongs to a job of the plan, whose key is the hash of all that its pictures and maps depend on, and to the judge's
    fingerprint. The pictures themselves are not kept. `resolution` is the side of the grid whose layers are read, None for
    those that are read on this kind of model.

    Raises `BenchError` when a prompt has fewer than two entities, or the run too few steps to have thirds.
    """
    check_counts(seeds, None)
    check_writable(out)
    alone = [case.prompt for case in suite.cases if len(case.entities) < 2]
    if alone:
        raise BenchError(
            f'{suite.name} has "{alone[0]}", with one entity, whose map nothing can overlap; expected two entities or more, as '
            "in emoji-pairs"
        )
    store = store_of(out)
    unguided = contenders_from(["none" if resolution is None else f"none:resolution={resolution}"], model)
    plan = plan_for(store, suite, unguided, model=model, seeds=seeds, judge=judge, steps=steps, guidance_scale=guidance_scale)
    jobs = plan.jobs()
    if plan.steps < 3:
        raise BenchError(f"a run of {plan.steps} steps has no thirds to compare; take 3 or more")
    pipe: Any = None
    with store.writing():
        store.keep_plan(plan)
        work = store.missing(plan)
        finished = len(jobs) - len(work)
        report(finished, len(jobs))
        for number, job in enumerate(work, start=1):
            pipe = pipe or warm_pipeline(plan)  # only now, so that a finished study can be read without it
            pictures = list(generate(pipe, job.recipe, job.seeds, batch_size=len(job.seeds), record_maps=True))
            maps = [picture.maps for picture in pictures if picture.maps is not None]
            measured = [measure(own, picture.tokens) for own, picture in zip(maps, pictures, strict=True)]
            if not all(values.isfinite().all() for of in measured for values in of.values()):
                raise BenchError(
                    f'the maps of "{job.recipe.prompt}" hold values that are no numbers: {model} does not work in {plan.dtype} '
                    "here; take another model or machine"
                )
            store.keep_rows(
                job,
                judge.fingerprint,
                judge.look([picture.image for picture in pictures]),
                grid=[list(own.shape[-2:]) for own in maps],
                **{quantity.name: [of[quantity.name].tolist() for of in measured] for quantity in QUANTITIES},
            )
            report(finished + number, len(jobs))
    of_cases = [[store.rows_of(job, plan.judge) for job in plan.jobs_of(case)] for case in suite.cases]
    return plan, [[rows[seed] for rows in of_jobs for seed in sorted(rows)] for of_jobs in of_cases]
