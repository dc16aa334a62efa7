"""`unbleed bench distance`: the distance of each method's images from reference images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Column, Table

from .bench import bench
from .bench_report import Partial, Run
from .common import print_json, quiet_libraries
from .options import AsJson, named
from .progress import showing_progress


@bench.command()
def distance(
    folder: Run,
    reference: Annotated[
        Path, typer.Option(parser=named, help="Folder of reference images, searched recursively.", metavar="DIR")
    ],
    metric: Annotated[
        str, typer.Option(help="The version of cmmd, if several were run, as in cmmd:model=PATH; and its device.")
    ] = "cmmd",
    partial: Partial = False,
    json: AsJson = False,
) -> None:
    """Print the distance (CMMD) of each method's images from reference images. Run the metric cmmd first."""
    quiet_libraries()
    from ..bench.analysis.distances import distances
    from ..bench.reporting.number_format import number, signed

    with showing_progress("pictures") as advance:
        found = distances(
            folder,
            reference,
            label=metric,
            allow_partial=partial,
            on_progress=lambda done, total: advance("reference", done, total),
        )
    if json:
        print_json({"out": str(folder), "reference_folder": str(reference), **found.to_json()})
        return

    def error(value: float | None) -> str:
        return "" if value is None else f" ± {number(value)}"

    whole = [Column(title, no_wrap=True) for title in ("method", "images", "CMMD", f"more than {found.baseline}")]
    table = Table(*whole, box=None, pad_edge=False)
    for row in found.rows:
        difference = "" if row.difference is None else signed(row.difference) + error(row.difference_error)
        table.add_row(row.method, str(row.pictures), number(row.distance) + error(row.error), difference)
    Console(highlight=False).print(table)
    if any(row.error is not None for row in found.rows):
        typer.echo(f"± is one standard error over {found.prompts} prompts, for {found.reference} fixed reference images")
    for caution in found.cautions:
        typer.echo(caution)
