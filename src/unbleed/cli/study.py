"""`unbleed study causes`: studies of how a model generates images."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from . import app
from .bench import ExecutorName, Limit, RayAddress, Threads, Workers, executor_for, initial_threads
from .common import print_json, quiet_libraries
from .options import AsJson, Model, Scale, Steps, named
from .progress import showing_progress

study = typer.Typer(help="Study how a model generates images.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(study, name="study")


@study.command()
def causes(
    suite: Annotated[str, typer.Option(help="A suite's name; see unbleed bench suites.")] = "emoji-pairs",
    limit: Limit = None,
    seeds: Annotated[int, typer.Option(help="Images per prompt.")] = 4,
    resolution: Annotated[int | None, typer.Option(help="Side of the maps' grid [the model's default].")] = None,
    model: Model = "emoji",
    steps: Steps = None,
    guidance_scale: Scale = None,
    executor: ExecutorName = "serial",
    workers: Workers = None,
    threads: Threads = None,
    ray_address: RayAddress = None,
    out: Annotated[Path, typer.Option(parser=named, help="Folder; rows that are there already are kept.")] = Path("causes"),
    json: AsJson = False,
) -> None:
    """Which of intensity, spread and overlap of the unguided maps predicts that an entity goes missing?

    Writes causes.md, causes.csv and causes.svg. An interrupted study resumes.
    """
    quiet_libraries()
    from ..bench.extras import extra
    from ..bench.studies.missing_entities import build
    from ..bench.studies.missing_entities_report import write
    from ..bench.studies.missing_entities_run import plan_study, run_study, study_store
    from ..bench.suites import suite as suite_called
    from ..emoji.oracle import Oracle

    extra("matplotlib")  # fail now rather than after sampling
    plan_file = study_store(out).plan_file
    plan = plan_study(
        out,
        suite_called(suite).head(limit),
        model=model,
        seeds=seeds,
        resolution=resolution,
        steps=steps,
        guidance_scale=guidance_scale,
        threads=initial_threads(plan_file, executor, workers, threads),
    )
    with showing_progress("pictures") as advance:
        rows = run_study(
            out,
            plan,
            detector=Oracle.load(),
            executor=executor_for(executor, plan, workers, ray_address),
            on_progress=lambda done, total: advance(suite, done, total),
        )
    begun = datetime.fromtimestamp(plan_file.stat().st_mtime, tz=UTC)
    built = build(plan, rows, date=begun.date().isoformat())
    files = {kind: str(path) for kind, path in write(built, out).items()}
    if json:
        print_json({**built.to_json(), "files": files})
    else:
        for path in files.values():
            typer.echo(path)
