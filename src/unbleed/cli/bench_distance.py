"""`unbleed bench distance`: how far the pictures of each method are, as a whole, from reference pictures."""

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
from .progress import telling


@bench.command()
def distance(
    folder: Run,
    reference: Annotated[
        Path, typer.Option(parser=named, help="Folder of reference pictures, with all folders in it.", metavar="DIR")
    ],
    metric: Annotated[
        str, typer.Option(help="Which cmmd, if several looked, as cmmd:model=PATH; and where it runs, as cmmd:device=cuda.")
    ] = "cmmd",
    partial: Partial = False,
    json: AsJson = False,
) -> None:
    """Say how far each method's pictures are from reference pictures (CMMD); cmmd must have looked at them."""
    quiet_libraries()
    from ..bench.analysis.distances import distances
    from ..bench.reporting.number_format import number, signed

    with telling("pictures") as tell:
        found = distances(
            folder, reference, label=metric, allow_partial=partial, report=lambda done, total: tell("reference", done, total)
        )
    if json:
        print_json({"out": str(folder), "reference_folder": str(reference), **found.to_json()})
        return

    def error(of: float | None) -> str:
        return "" if of is None else f" ± {number(of)}"

    whole = [Column(title, no_wrap=True) for title in ("method", "pictures", "CMMD", f"more than {found.baseline}")]
    table = Table(*whole, box=None, pad_edge=False)
    for row in found.rows:
        apart = "" if row.difference is None else signed(row.difference) + error(row.difference_error)
        table.add_row(row.method, str(row.pictures), number(row.distance) + error(row.error), apart)
    Console(highlight=False).print(table)
    if any(row.error is not None for row in found.rows):
        typer.echo(f"± one standard error over {found.prompts} prompts, for the {found.reference} reference pictures as given")
    for caution in found.cautions:
        typer.echo(caution)
