"""`unbleed rate`: a page on which people compare pictures of a run without knowing whose they are, and its report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from . import app
from .common import print_json, quiet_libraries
from .options import AsJson, named


class _ServeByDefault(TyperGroup):
    """`unbleed rate RUN` is `unbleed rate serve RUN`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in (*self.commands, "--help"):
            args = ["serve", *args]
        return super().parse_args(ctx, args)


rate = typer.Typer(
    cls=_ServeByDefault,
    help="Let people compare the pictures of a run, without knowing whose they are. `unbleed rate RUN` serves the page.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.add_typer(rate, name="rate")

Run = Annotated[Path, typer.Argument(parser=named, help="The folder of a run.", metavar="RUN")]
StudyFolder = Annotated[Path | None, typer.Option("--study", parser=named, help="Folder of the study [RUN/rating].")]


@rate.command()
def serve(
    run: Run,
    methods: Annotated[str | None, typer.Option(help="Methods of the run with commas; begins a study.")] = None,
    question: Annotated[str | None, typer.Option(help="What is asked [prompt].", metavar="prompt|looks|TEXT")] = None,
    pairs: Annotated[int | None, typer.Option(min=1, help="Pairs that each rater sees [all].")] = None,
    repeats: Annotated[int | None, typer.Option(min=0, help="Pairs that each rater sees twice [a tenth].")] = None,
    catches: Annotated[int | None, typer.Option(min=0, help="Pairs with a known answer [a tenth].")] = None,
    break_every: Annotated[int | None, typer.Option(min=1, max=2000, help="Pairs after which a break is offered [40].")] = None,
    raters: Annotated[int | None, typer.Option(min=1, max=1000, help="How many people can join [100].")] = None,
    seed: Annotated[int | None, typer.Option(help="Of order and sides [0].")] = None,
    partial: Annotated[bool | None, typer.Option("--partial", help="Take the prompts that are finished.")] = None,
    study: StudyFolder = None,
    host: Annotated[str, typer.Option(help="Address to serve at; only this machine reaches the default.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = 8427,
    json: AsJson = False,
) -> None:
    """Serve the rating page of a study until Ctrl-C: with --methods a new study, without it the one that was begun."""
    from ..errors import RatingError
    from ..rating.answers import open_log
    from ..rating.server import RatingServer
    from ..rating.study import check_images, read_study

    folder = study or run / "rating"
    asked = {
        "question": question,
        "pairs": pairs,
        "repeats": repeats,
        "catches": catches,
        "break_every": break_every,
        "raters": raters,
        "seed": seed,
        "partial": partial,
    }
    given = {name: value for name, value in asked.items() if value is not None}
    if methods is not None:
        _begin(run, folder, methods, given)
    elif given:
        names = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        raise RatingError(f"{names} can be chosen only when a study begins; add --methods, or leave it out to go on")
    plan = read_study(folder)
    check_images(folder, plan)
    with open_log(folder, plan) as log, RatingServer(folder, log, host=host, port=port) as server:
        if json:
            print_json({"url": server.url, "study": str(folder), "pairs": len(plan.pairs), "trials": plan.trials_per_rater})
        else:
            typer.echo(f"{server.url}  {plan.trials_per_rater} pairs per rater; answers go to {log.path}; Ctrl-C ends")
        typer.get_text_stream("stdout").flush()
        server.serve_forever()


def _begin(run: Path, folder: Path, methods: str, given: dict[str, Any]) -> None:
    quiet_libraries()
    from ..rating.create import create
    from .progress import showing_progress

    with showing_progress("pairs") as advance:
        create(run, folder, methods.split(","), report=lambda done, total: advance("copied", done, total), **given)


@rate.command()
def report(
    run: Run,
    study: StudyFolder = None,
    max_missed: Annotated[
        int | None, typer.Option(min=0, help="Leave out raters who answered more catch pairs wrong [nobody].")
    ] = None,
    out: Annotated[Path | None, typer.Option(parser=named, help="Folder of the report [that of the study].")] = None,
    json: AsJson = False,
) -> None:
    """Say what came of a study: report.html, report.md and CSV files. It may still be served."""
    quiet_libraries()
    from ..bench.storage.owned_files import OwnFiles
    from ..files import check_writable
    from ..rating.answers import read_raters
    from ..rating.report import to_json, write
    from ..rating.study import read_study
    from ..rating.summary import build

    folder = study or run / "rating"
    plan = read_study(folder)
    summary = build(plan, read_raters(folder, plan), max_missed=max_missed)
    if out is not None:
        check_writable(out)
    files = write(summary, folder, out or folder, own=None if out is None else OwnFiles(out))
    if json:
        print_json({**to_json(summary), "files": {name: str(path) for name, path in files.items()}})
    else:
        for path in files.values():
            typer.echo(path)
