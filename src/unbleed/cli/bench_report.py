"""`unbleed bench report` and `unbleed bench compare`: a report of one run or of two, as a web page and as tables."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from .bench import bench
from .common import print_json, quiet_libraries
from .options import AsJson, named

Partial = Annotated[bool, typer.Option("--partial", help="Use the prompts that are finished even if others are not.")]
Metrics = Annotated[
    str | None,
    typer.Option(help="Metrics, comma-separated; the first one ranks the methods [all that were run].", show_default=False),
]
Draws = Annotated[int, typer.Option(min=100, max=100_000, help="Bootstrap draws; fewer are made for very many images.")]
Run = Annotated[Path, typer.Argument(parser=named, help="The folder of a run.", metavar="DIR")]


Baseline = Annotated[
    str | None,
    typer.Option(help="The method that all others are compared with [none, else the first].", show_default=False),
]


@bench.command()
def report(
    folder: Run,
    partial: Partial = False,
    metrics: Metrics = None,
    baseline: Baseline = None,
    draws: Draws = 10_000,
    json: AsJson = False,
) -> None:
    """Compare the methods of a run: write report.html, .md and .tex and CSV files into its folder."""
    quiet_libraries()
    from ..bench.analysis.summary import build
    from ..bench.scoring.run_folder import open_folder
    from ..errors import BenchError

    run = open_folder(folder, names_in(metrics), allow_partial=partial)
    labels = [variant.label for variant in run.plan.contenders]
    if baseline not in (None, *labels):
        raise BenchError(f"{folder} has no method {baseline}; --baseline is one of {', '.join(labels)}")
    chosen = {"baseline": baseline} if baseline else {}
    built = build(run.plan, run.results, metrics=run.metrics, draws=draws, date=run.date, cautions=run.cautions, **chosen)
    _write(built, folder, json)


@bench.command()
def compare(
    first: Annotated[Path, typer.Argument(parser=named, help="The folder of a run.", metavar="A")],
    second: Annotated[Path, typer.Argument(parser=named, help="The folder of another run.", metavar="B")],
    partial: Partial = False,
    metrics: Metrics = None,
    draws: Draws = 10_000,
    out: Annotated[Path, typer.Option(parser=named, help="Folder of the report.")] = Path("comparison"),
    json: AsJson = False,
) -> None:
    """Compare the methods of two runs over the prompts and seeds that both have; the files are those of a report."""
    quiet_libraries()
    from ..bench.analysis.two_runs import compare as compare_runs
    from ..bench.analysis.two_runs import open_both
    from ..bench.storage.owned_files import OwnFiles
    from ..files import check_writable

    check_writable(out)
    own = OwnFiles(out)
    runs = open_both(first, second, names_in(metrics), allow_partial=partial)
    _write(compare_runs(*runs, draws=draws), out, json, own)


def names_in(metrics: str | None) -> list[str] | None:
    """Return the comma-separated names, each once; None stays None."""
    return None if metrics is None else list(dict.fromkeys(name.strip() for name in metrics.split(",")))


def _write(built: Any, folder: Path, json: bool, own: Any = None) -> None:
    from ..bench.reporting.writer import write

    files = {kind: str(path) for kind, path in write(built, folder, own=own).items()}
    if json:
        print_json({**built.to_json(), "files": files})
    else:
        for path in files.values():
            typer.echo(path)
