"""`unbleed bench report`: the figures of a run, with intervals, as a page and as tables."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated

import typer

from .bench import bench
from .common import AsJson, print_json, quiet_libraries


@bench.command()
def report(
    folder: Annotated[Path, typer.Argument(help="The folder of a run.", metavar="DIR")],
    partial: Annotated[
        bool, typer.Option("--partial", help="Report the prompts that are finished, though others are not.")
    ] = False,
    draws: Annotated[int, typer.Option(min=100, max=100_000, help="Draws of the bootstrap.")] = 10_000,
    json: AsJson = False,
) -> None:
    """Compare the methods of a run: report.html, report.md, rows.csv and pictures.csv, written into its folder."""
    quiet_libraries()
    from ..bench.comparison import build
    from ..bench.report import write
    from ..bench.store import Store
    from ..errors import BenchError

    if not (folder / "run.json").is_file():
        raise BenchError(f"{folder} holds no run; expected a folder that unbleed bench run wrote")
    store = Store(folder)
    plan = store.plan()
    missing = len(store.missing(plan))
    if missing and not partial:
        raise BenchError(
            f"{missing} of {len(plan.jobs())} batches of {folder} are not drawn and judged yet; finish them with the same "
            "unbleed bench run, or take --partial to report the prompts that are finished"
        )
    begun = datetime.fromtimestamp((folder / "run.json").stat().st_mtime, tz=timezone.utc)
    built = build(plan, store.pictures(plan, allow_partial=partial), draws=draws, date=begun.date().isoformat())
    files = {kind: str(path) for kind, path in write(built, folder).items()}
    if json:
        print_json({**built.to_json(), "files": files})
    else:
        for path in files.values():
            typer.echo(path)
