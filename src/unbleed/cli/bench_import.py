"""`unbleed bench import`: existing images as a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .bench import bench
from .common import print_json, quiet_libraries
from .options import AsJson, named
from .progress import showing_progress


@bench.command("import")
def import_(
    table: Annotated[
        Path,
        typer.Argument(
            parser=named, help="CSV with a row per image: file, prompt; optionally method, seed, entities and group."
        ),
    ],
    out: Annotated[Path, typer.Option(parser=named, help="Folder of the run; images that are there already are skipped.")],
    json: AsJson = False,
) -> None:
    """Import existing images as a run, which can be scored, reported, compared, exported and viewed."""
    quiet_libraries()
    from ..bench.exchange.imported import import_images

    with showing_progress("pictures") as advance:
        done = import_images(table, out, on_progress=lambda count, total: advance("imported", count, total))
    if json:
        methods = [variant.label for variant in done.plan.contenders]
        document = {"out": str(out), "suite": done.plan.suite.name, "prompts": len(done.plan.suite.cases), "methods": methods}
        print_json(document | {"pictures": done.images, "imported": done.new})
    else:
        typer.echo(str(out))
