"""`unbleed bench export` and `unbleed bench gallery`: the images of a run as a data set and as a web page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .bench import bench
from .bench_report import Metrics, Partial, Run, names_in
from .common import print_json, quiet_libraries
from .options import AsJson, named
from .progress import showing_progress


@bench.command()
def export(
    folder: Run,
    partial: Partial = False,
    metrics: Metrics = None,
    out: Annotated[Path, typer.Option(parser=named, help="Folder of the data set.")] = Path("export"),
    json: AsJson = False,
) -> None:
    """Write the images of a run and their scores as Parquet, for datasets.load_dataset."""
    quiet_libraries()
    from ..bench.exchange.dataset import export as export_run
    from ..bench.scoring.run_folder import open_folder
    from ..files import check_writable

    check_writable(out)
    run = open_folder(folder, names_in(metrics), allow_partial=partial)
    _print(out, export_run(run, out), len(run.results.images), json)


@bench.command()
def gallery(
    folder: Run,
    partial: Partial = False,
    metrics: Metrics = None,
    out: Annotated[Path, typer.Option(parser=named, help="Folder of the page.")] = Path("gallery"),
    json: AsJson = False,
) -> None:
    """Write a web page with all images of a run; open its index.html in a browser."""
    quiet_libraries()
    from ..bench.reporting.gallery import gallery as write_gallery
    from ..bench.scoring.run_folder import open_folder
    from ..files import check_writable

    check_writable(out)
    run = open_folder(folder, names_in(metrics), allow_partial=partial)
    with showing_progress("pictures") as advance:
        files = write_gallery(run, out, on_progress=lambda done, total: advance("thumbnails", done, total))
    _print(out, files, len(run.results.images), json)


def _print(out: Path, files: list[Path], images: int, json: bool) -> None:
    if json:
        print_json({"out": str(out), "pictures": images, "files": [str(path) for path in files]})
    else:
        typer.echo(str(out))
