"""`unbleed bench import`: pictures that came from elsewhere as a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .bench import bench
from .common import print_json, quiet_libraries
from .options import AsJson, named
from .progress import telling


@bench.command("import")
def import_(
    table: Annotated[
        Path,
        typer.Argument(
            parser=named, help="CSV with a row per picture: file, prompt, and perhaps method, seed, entities and group."
        ),
    ],
    out: Annotated[Path, typer.Option(parser=named, help="Folder of the run; what it holds already is not imported again.")],
    json: AsJson = False,
) -> None:
    """Make pictures that came from elsewhere a run, to be scored, reported, compared, exported and looked through."""
    quiet_libraries()
    from ..bench.exchange.imported import import_pictures

    with telling("pictures") as tell:
        done = import_pictures(table, out, report=lambda count, total: tell("imported", count, total))
    if json:
        methods = [contender.label for contender in done.plan.contenders]
        document = {"out": str(out), "suite": done.plan.suite.name, "prompts": len(done.plan.suite.cases), "methods": methods}
        print_json(document | {"pictures": done.pictures, "imported": done.new})
    else:
        typer.echo(str(out))
