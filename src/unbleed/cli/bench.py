"""`unbleed bench run`, `score`, `metrics`, `suites` and `download`: sample the images of a suite and score them."""

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
from .progress import showing_progress

bench = typer.Typer(help="Compare methods on suites of prompts.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(bench, name="bench")

SuiteDir = Annotated[
    Path | None,
    typer.Option(
        parser=named, help="Folder of published prompt sets [UNBLEED_SUITES, else the user's cache].", show_default=False
    ),
]
ExecutorName = Annotated[Literal["serial", "ray"], typer.Option("--executor", help="Sample in this process or in Ray workers.")]
Workers = Annotated[
    int | None, typer.Option(help="Number of Ray workers [one per GPU, else one per core].", show_default=False)
]
Threads = Annotated[
    int | None,
    typer.Option(help="Cores per process [those of the folder's latest run, else all].", show_default=False),
]
RayAddress = Annotated[str | None, typer.Option(help="Address of a running Ray cluster [start one here].")]
Limit = Annotated[int | None, typer.Option(help="Use only this many prompts, picked at random with a fixed seed.")]


@bench.command()
def run(
    suite: Annotated[str, typer.Argument(help="A suite's name (see unbleed bench suites), or a .txt, .csv or .jsonl file.")],
    methods: Annotated[
        str,
        typer.Option(
            help="NAME (settings for the model), NAME@paper (its paper's), NAME:SETTING=VALUE or best-of-N:judge=METRIC, "
            "comma-separated."
        ),
    ] = "none,attend-and-excite,syngen",
    seeds: Annotated[int, typer.Option(help="Images per prompt and method.")] = 4,
    limit: Limit = None,
    suite_dir: SuiteDir = None,
    model: Model = "emoji",
    metrics: Annotated[
        str | None,
        typer.Option(help="Metrics to run: NAME or NAME:SETTING=VALUE, comma-separated [oracle for emoji suites, else none]."),
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(help="Images sampled at once [that of the folder's latest run, else 8].", show_default=False)
    ] = None,
    steps: Steps = None,
    guidance_scale: Scale = None,
    dtype: Precision = None,
    executor: ExecutorName = "serial",
    workers: Workers = None,
    threads: Threads = None,
    ray_address: RayAddress = None,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Try images again that failed before.")] = False,
    out: Annotated[Path, typer.Option(parser=named, help="Folder; images that are there already are kept.")] = Path("bench"),
    json: AsJson = False,
) -> None:
    """Sample the images of a suite with several methods and score them. An interrupted run resumes."""
    quiet_libraries()
    from ..bench.plan.variants import variants_from
    from ..bench.sampling.runner import plan_for
    from ..bench.sampling.runner import run as run_bench
    from ..bench.storage.store import Store
    from ..bench.suites import suite as suite_called

    cases = suite_called(suite, suite_dir).head(limit)
    variants = variants_from(methods.split(","), model)
    chosen = _metrics(metrics, cases, model)
    _ = [metric.fingerprint for metric in chosen.values()]  # report a missing model now, not after sampling
    store = Store(out)
    plan = plan_for(
        store,
        cases,
        variants,
        model=model,
        seeds=seeds,
        batch_size=batch_size,
        steps=steps,
        guidance_scale=guidance_scale,
        dtype=dtype,
        threads=initial_threads(store.plan_file, executor, workers, threads),
    )
    sampling = executor_for(executor, plan, workers, ray_address)
    with showing_progress("pictures") as advance:

        def show(progress: Any) -> None:
            for label, total in progress.total.items():
                failed = progress.failed[label]
                advance(label, progress.done[label] + failed, total, None, f"{failed} failed" if failed else "")

        summary = run_bench(out, plan, executor=sampling, retry_failed=retry_failed, on_progress=show)
    scored = {label: _run_metric(store, plan, metric) for label, metric in chosen.items()}
    if json:
        document = {"out": str(out), "suite": cases.name, "pictures": summary.pictures, "drawn": summary.sampled}
        print_json(document | {"judged": scored, "seconds": round(summary.seconds, 1)})
    else:
        typer.echo(str(out))


@bench.command()
def score(
    folder: Annotated[Path, typer.Argument(parser=named, help="The folder of a run.", metavar="DIR")],
    metrics: Annotated[
        str,
        typer.Option(help="Metrics to run: NAME or NAME:SETTING=VALUE, comma-separated; see unbleed bench metrics."),
    ],
    json: AsJson = False,
) -> None:
    """Run metrics on the images of a run. An interrupted pass resumes."""
    quiet_libraries()
    from ..bench.metrics import metrics_from
    from ..bench.storage.store import Store

    store = Store(folder)
    plan, chosen = store.plan(), metrics_from(metrics)
    scored = {label: _run_metric(store, plan, metric) for label, metric in chosen.items()}
    if json:
        print_json({"out": str(folder), "judged": scored})
    else:
        typer.echo(str(folder))


def _metrics(labels: str | None, cases: Any, model: str) -> dict[str, Any]:
    """Return {label: metric}; by default the oracle if it knows the nouns of every case."""
    from ..bench.metrics import metrics_from
    from ..emoji.sprites import NOUNS

    if labels is None:
        known = all(case.entities and all(entity.noun in NOUNS for entity in case.entities) for case in cases.cases)
        labels = "oracle" if known and model != "null" else "none"
    return {} if labels in ("", "none") else metrics_from(labels)


def _run_metric(store: Any, plan: Any, metric: Any) -> int:
    from ..bench.scoring.scorer import run_metric

    with showing_progress("pictures") as advance:
        return run_metric(store, plan, metric, on_progress=lambda done, total: advance(metric.name, done, total)).scored


def initial_threads(plan_file: Path, executor: str, workers: int | None, threads: int | None) -> int | None:
    """Return `threads`, or the cores per Ray worker in a new folder; None means those of the folder's latest run."""
    if executor == "serial" or threads is not None or os.path.exists(plan_file):
        return threads
    return max(1, (os.cpu_count() or 1) // workers) if workers else 1


def executor_for(name: str, plan: Any, workers: int | None, address: str | None) -> Any:
    """Return the executor called `name` for the threads and device of a plan."""
    from ..bench.sampling.executors import ray, serial

    if name == "serial":
        return serial
    import torch

    gpus, threads = torch.cuda.device_count(), plan.machine["threads"]
    count = (gpus or max(1, plan.machine["cores"] // threads)) if workers is None else workers
    return ray(workers=count, cpus=threads, gpus=int(plan.machine["device"] == "cuda"), address=address)


@bench.command("metrics")
def list_metrics(json: AsJson = False) -> None:
    """List the metrics, with their default models."""
    quiet_libraries()
    from ..bench.metrics import metric_facts, metric_names

    listed = [metric_facts(name) for name in metric_names()]
    if json:
        print_json({"metrics": [one._asdict() for one in listed]})
        return
    table = Table(Column("metric", no_wrap=True), "description, default model and its licence", box=None, pad_edge=False)
    for one in listed:  # model ids are too long for a column in a narrow terminal
        table.add_row(one.name, f"{one.about}\n{one.model} ({one.licence or 'licence unknown'})")
    Console(highlight=False).print(table)


@bench.command()
def suites(suite_dir: SuiteDir = None, json: AsJson = False) -> None:
    """List the suites of prompts: generated ones and published ones, which may need a download."""
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
    names: Annotated[list[str], typer.Argument(help="Published suites; see unbleed bench suites.")],
    suite_dir: SuiteDir = None,
    json: AsJson = False,
) -> None:
    """Download the prompts of published suites from their authors' repositories and check their hashes."""
    from ..bench.suites import download as fetch

    files = {}
    for name in names:
        files[name] = str(fetch(name, suite_dir))
        if not json:
            typer.echo(files[name])
    if json:
        print_json({"files": files})
