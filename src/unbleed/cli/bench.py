"""`unbleed bench run`, `suites` and `download`: pictures of many prompts, drawn once, judged, kept."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Column, Table

from . import app
from .common import AsJson, Model, print_json, quiet_libraries
from .draw import Scale, Steps
from .progress import telling

bench = typer.Typer(help="Compare methods on suites of prompts.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(bench, name="bench")

SuiteDir = Annotated[
    Path | None,
    typer.Option(help="Folder of published prompt sets [UNBLEED_SUITES, else the user's cache].", show_default=False),
]


@bench.command()
def run(
    suite: Annotated[str, typer.Argument(help="A suite's name (unbleed bench suites lists them), or a .txt, .csv or .jsonl.")],
    methods: Annotated[
        str,
        typer.Option(
            help="NAME (settings for the model), NAME@paper (its paper's), NAME:SETTING=VALUE or best-of-N, with commas."
        ),
    ] = "none,attend-and-excite,syngen",
    seeds: Annotated[int, typer.Option(help="Pictures per prompt and method.")] = 4,
    limit: Annotated[int | None, typer.Option(help="Only so many prompts, picked at random but always the same.")] = None,
    suite_dir: SuiteDir = None,
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

    cases = suite_called(suite, suite_dir).head(limit)
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
def suites(suite_dir: SuiteDir = None, json: AsJson = False) -> None:
    """List the suites of prompts: those made here by a rule, and published ones, present or to be fetched."""
    from dataclasses import asdict

    from ..bench.suites import listing, suite_folder

    listed = listing(suite_dir)
    if json:
        print_json({"folder": str(suite_folder(suite_dir)), "suites": [asdict(one) for one in listed]})
        return
    whole = [Column(title, no_wrap=True) for title in ("suite", "prompts", "state")]
    table = Table(*whole, "licence", Column("about", overflow="fold"), box=None, pad_edge=False)
    for one in listed:
        table.add_row(one.name, str(one.prompts), one.state, one.licence, one.about)
    Console(highlight=False).print(table)


@bench.command()
def download(
    names: Annotated[list[str], typer.Argument(help="Published suites; unbleed bench suites lists them.")],
    suite_dir: SuiteDir = None,
    json: AsJson = False,
) -> None:
    """Fetch the prompts of published suites from where their authors keep them, and check them."""
    from ..bench.suites import download as fetch

    files = {}
    for name in names:
        files[name] = str(fetch(name, suite_dir))
        if not json:
            typer.echo(files[name])
    if json:
        print_json({"files": files})
