"""`unbleed bench run`, `score`, `metrics`, `suites` and `download`: pictures of many prompts, drawn once, judged, kept."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console
from rich.table import Column, Table

from . import app
from .common import print_json, quiet_libraries
from .options import AsJson, Model, Precision, Scale, Steps, named
from .progress import telling

bench = typer.Typer(help="Compare methods on suites of prompts.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(bench, name="bench")

SuiteDir = Annotated[
    Path | None,
    typer.Option(
        parser=named, help="Folder of published prompt sets [UNBLEED_SUITES, else the user's cache].", show_default=False
    ),
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
    metrics: Annotated[
        str | None,
        typer.Option(help="Who looks: NAME or NAME:SETTING=VALUE, with commas [oracle where it knows the things, else none]."),
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(help="Pictures drawn at once [as before in this folder, else 8].", show_default=False)
    ] = None,
    steps: Steps = None,
    guidance_scale: Scale = None,
    dtype: Precision = None,
    executor: Annotated[Literal["serial", "ray"], typer.Option(help="Draw here, or in Ray's workers.")] = "serial",
    workers: Annotated[int | None, typer.Option(help="Of Ray [one per GPU, else one per core].", show_default=False)] = None,
    threads: Annotated[
        int | None, typer.Option(help="Cores of a process [as before in this folder, else all].", show_default=False)
    ] = None,
    ray_address: Annotated[str | None, typer.Option(help="A running cluster's [one is started here].")] = None,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Try again what could not be drawn.")] = False,
    out: Annotated[Path, typer.Option(parser=named, help="Folder; what it holds already is not drawn again.")] = Path("bench"),
    json: AsJson = False,
) -> None:
    """Draw the pictures of a suite with several methods and say what is in them. A run that was stopped goes on."""
    quiet_libraries()
    from ..bench.plan.variants import variants_from
    from ..bench.sampling.executors import serial
    from ..bench.sampling.runner import plan_for
    from ..bench.sampling.runner import run as run_bench
    from ..bench.storage.store import Store
    from ..bench.suites import suite as suite_called

    cases = suite_called(suite, suite_dir).head(limit)
    contenders = variants_from(methods.split(","), model)
    looking = _looking(metrics, cases, model)
    _ = [one.fingerprint for one in looking.values()]  # a model that is not there is named now, not after all pictures
    if executor == "ray" and threads is None and not os.path.exists(out / "run.json"):
        threads = _threads_of(workers)
    store = Store(out)
    plan = plan_for(
        store,
        cases,
        contenders,
        model=model,
        seeds=seeds,
        batch_size=batch_size,
        steps=steps,
        guidance_scale=guidance_scale,
        dtype=dtype,
        threads=threads,
    )
    draw = serial if executor == "serial" else _ray(plan, workers, ray_address)
    with telling("pictures") as tell:

        def report(progress: Any) -> None:
            for label, total in progress.total.items():
                failed = progress.failed[label]
                tell(label, progress.done[label] + failed, total, None, f"{failed} failed" if failed else "")

        outcome = run_bench(out, plan, executor=draw, retry_failed=retry_failed, report=report)
    judged = {label: _judge(store, plan, one) for label, one in looking.items()}
    if json:
        document = {"out": str(out), "suite": cases.name, "pictures": outcome.pictures, "drawn": outcome.drawn}
        print_json(document | {"judged": judged, "seconds": round(outcome.seconds, 1)})
    else:
        typer.echo(str(out))


@bench.command()
def score(
    folder: Annotated[Path, typer.Argument(parser=named, help="The folder of a run.", metavar="DIR")],
    metrics: Annotated[
        str,
        typer.Option(help="Who looks: NAME or NAME:SETTING=VALUE, with commas; unbleed bench metrics lists them."),
    ],
    json: AsJson = False,
) -> None:
    """Let metrics look at the pictures of a run. A pass that was stopped goes on."""
    quiet_libraries()
    from ..bench.metrics import metrics_from
    from ..bench.storage.store import Store

    store = Store(folder)
    plan, looking = store.plan(), metrics_from(metrics)
    judged = {label: _judge(store, plan, one) for label, one in looking.items()}
    if json:
        print_json({"out": str(folder), "judged": judged})
    else:
        typer.echo(str(folder))


def _looking(metrics: str | None, cases: Any, model: str) -> dict[str, Any]:
    """Return {label: metric} as asked for; by default the oracle, where every case is of its world."""
    from ..bench.metrics import metrics_from
    from ..emoji.sprites import NOUNS

    if metrics is None:
        known = all(case.entities and all(entity.noun in NOUNS for entity in case.entities) for case in cases.cases)
        metrics = "oracle" if known and model != "null" else "none"
    return {} if metrics in ("", "none") else metrics_from(metrics)


def _judge(store: Any, plan: Any, looking: Any) -> int:
    from ..bench.scoring.scorer import judge

    with telling("pictures") as tell:
        return judge(store, plan, looking, report=lambda done, total: tell(looking.name, done, total)).judged


def _threads_of(workers: int | None) -> int:
    import os

    return max(1, (os.cpu_count() or 1) // workers) if workers else 1


def _ray(plan: Any, workers: int | None, address: str | None) -> Any:
    import torch

    from ..bench.sampling.executors import ray

    gpus, threads = torch.cuda.device_count(), plan.machine["threads"]
    count = (gpus or max(1, plan.machine["cores"] // threads)) if workers is None else workers
    return ray(workers=count, cpus=threads, gpus=int(plan.machine["device"] == "cuda"), address=address)


@bench.command("metrics")
def list_metrics(json: AsJson = False) -> None:
    """List the metrics: what they say of a picture, and with which model."""
    quiet_libraries()
    from ..bench.metrics import metric_facts, metric_names

    listed = [metric_facts(name) for name in metric_names()]
    if json:
        print_json({"metrics": [one._asdict() for one in listed]})
        return
    table = Table(Column("metric", no_wrap=True), "about, and the model by default with its licence", box=None, pad_edge=False)
    for one in listed:  # ids of models are long: with a column of their own a narrow terminal would cut them
        table.add_row(one.name, f"{one.about}\n{one.model} ({one.licence or 'licence not known'})")
    Console(highlight=False).print(table)


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
    table = Table(*whole, "licence", "about", box=None, pad_edge=False)
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
