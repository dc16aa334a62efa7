"""`unbleed bench run` and `unbleed bench suites`: pictures of many prompts, drawn once, judged, kept."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from . import app
from .common import AsJson, Model, print_json, quiet_libraries
from .draw import Scale, Steps
from .progress import telling

bench = typer.Typer(help="Compare methods on suites of prompts.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(bench, name="bench")


@bench.command()
def run(
    suite: Annotated[str, typer.Argument(help="A suite's name; unbleed bench suites lists them.")],
    methods: Annotated[
        str,
        typer.Option(
            help="NAME (settings for the model), NAME@paper (its paper's), NAME:SETTING=VALUE or best-of-N, with commas."
        ),
    ] = "none,attend-and-excite,syngen",
    seeds: Annotated[int, typer.Option(help="Pictures per prompt and method.")] = 4,
    limit: Annotated[int | None, typer.Option(help="Only so many prompts, picked at random but always the same.")] = None,
    model: Model = "emoji",
    batch_size: Annotated[
        int | None, typer.Option(help="Pictures drawn at once [as before in this folder, else 8].", show_default=False)
    ] = None,
    steps: Steps = None,
    guidance_scale: Scale = None,
    out: Annotated[Path, typer.Option(help="Folder; what it holds already is not drawn again.")] = Path("bench"),
    json: AsJson = False,
) -> None:
    """Draw the pictures of a suite with several methods and say what is in them. A run that was stopped goes on."""
    quiet_libraries()
    from ..bench.contenders import contenders_from
    from ..bench.run import run as run_bench
    from ..bench.suites import suite as suite_called
    from ..emoji.oracle import Oracle

    cases = suite_called(suite).head(limit)
    contenders = contenders_from(methods.split(","), model)
    with telling("batches") as tell:
        outcome = run_bench(
            out,
            cases,
            contenders,
            model=model,
            seeds=seeds,
            judge=Oracle.load(),
            batch_size=batch_size,
            steps=steps,
            guidance_scale=guidance_scale,
            report=lambda done, total: tell(suite, done, total),
        )
    if json:
        print_json(
            {
                "out": str(outcome.out),
                "suite": suite,
                "pictures": outcome.pictures,
                "drawn": outcome.drawn,
                "judged": outcome.judged,
                "seconds": round(outcome.seconds, 1),
            }
        )
    else:
        typer.echo(str(outcome.out))


@bench.command()
def suites(json: AsJson = False) -> None:
    """List the suites of prompts."""
    from ..bench.suites import suite, suite_names

    listed = [suite(name) for name in suite_names()]
    if json:
        print_json({"suites": [{"name": s.name, "prompts": len(s.cases), "about": s.about} for s in listed]})
        return
    table = Table("suite", "prompts", "about", box=None, pad_edge=False)
    for one in listed:
        table.add_row(one.name, str(len(one.cases)), one.about)
    Console(highlight=False).print(table)
