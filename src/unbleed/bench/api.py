"""A whole benchmark in one call, for scripts: sample what is missing, run the metrics, return the results."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .metrics import Metric, metric
from .plan.cases import Suite
from .plan.variants import variants_from
from .sampling.executors import Executor, serial
from .sampling.runner import plan_for, run
from .scoring.results import Results, results
from .scoring.scorer import run_metric
from .storage.store import Store


def run_suite(
    out: Path,
    suite: Suite,
    labels: Sequence[str],
    *,
    model: str,
    metrics: Sequence[Metric] | None = None,
    executor: Executor = serial,
    **options: Any,
) -> Results:
    """Return the results of a suite for the methods `labels`, in the order of prompts, methods and seeds.

    Args:
        out: folder of the run; images and metric outputs that are there already are reused.
        suite: the prompts, such as `unbleed.bench.suites.suite("emoji-pairs")`.
        labels: labels of methods (see `unbleed.bench.plan.variants`).
        model: "emoji", a hub id or a pipeline folder.
        metrics: metrics to run, by default the oracle.
        executor: where images are sampled.
        options: those of `unbleed.bench.sampling.runner.plan_for`, such as `seeds` and `steps`.

    Raises:
        BenchError: if an image fails, or an option is invalid.
    """
    store, chosen = Store(out), [metric("oracle")] if metrics is None else list(metrics)
    plan = plan_for(store, suite, variants_from(labels, model), model=model, **options)
    run(out, plan, executor=executor)
    for one in chosen:
        run_metric(store, plan, one)
    return results(store, plan, chosen)
