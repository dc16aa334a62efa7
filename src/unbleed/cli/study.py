"""`unbleed study causes`: questions about the model itself, answered with pictures of a suite."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from . import app
from .common import print_json, quiet_libraries
from .options import AsJson, Model, Scale, Steps, named
from .progress import telling

study = typer.Typer(help="Ask how a model draws.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(study, name="study")


@study.command()
def causes(
    suite: Annotated[str, typer.Option(help="A suite's name; unbleed bench suites lists them.")] = "emoji-pairs",
    limit: Annotated[int | None, typer.Option(help="Only so many prompts, picked at random but always the same.")] = None,
    seeds: Annotated[int, typer.Option(help="Pictures per prompt.")] = 4,
    resolution: Annotated[int | None, typer.Option(help="Side of the grid whose maps are read [the model's].")] = None,
    model: Model = "emoji",
    steps: Steps = None,
    guidance_scale: Scale = None,
    out: Annotated[Path, typer.Option(parser=named, help="Folder; what it holds already is not drawn again.")] = Path("causes"),
    json: AsJson = False,
) -> None:
    """Which of intensity, spread and overlap of the unguided maps predicts that an entity goes missing?

    Writes causes.md, causes.csv and causes.svg. A study that was stopped goes on.
    """
    quiet_libraries()
    from ..bench.extras import extra
    from ..bench.studies.missing_entities import build
    from ..bench.studies.missing_entities_report import write
    from ..bench.studies.missing_entities_run import draw, store_of
    from ..bench.suites import suite as suite_called
    from ..emoji.oracle import Oracle

    extra("matplotlib")  # now, rather than after the pictures
    cases = suite_called(suite).head(limit)
    with telling("pictures") as tell:
        plan, rows = draw(
            out,
            cases,
            model=model,
            seeds=seeds,
            judge=Oracle.load(),
            resolution=resolution,
            steps=steps,
            guidance_scale=guidance_scale,
            report=lambda done, total: tell(suite, done, total),
        )
    begun = datetime.fromtimestamp(store_of(out).plan_file.stat().st_mtime, tz=UTC)
    built = build(plan, rows, date=begun.date().isoformat())
    files = {kind: str(path) for kind, path in write(built, out).items()}
    if json:
        print_json({**built.to_json(), "files": files})
    else:
        for path in files.values():
            typer.echo(path)
