"""All of a benchmark in one call, for scripts: draw what is missing, have it looked at, and give the rows."""

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
from .scoring.scorer import judge
from .storage.store import Store


def measure(
    out: Path,
    suite: Suite,
    labels: Sequence[str],
    *,
    model: str,
    metrics: Sequence[Metric] | None = None,
    executor: Executor = serial,
    **options: Any,
) -> Results:
    """Return the rows of a suite's pictures with the methods `labels`, in the order of prompts, methods and seeds.

    `metrics` look at them, by default the oracle; `executor` draws them; `options` are those of `plan_for`. What the
    folder holds is not done again.
    """
    store, looking = Store(out), [metric("oracle")] if metrics is None else list(metrics)
    plan = plan_for(store, suite, variants_from(labels, model), model=model, **options)
    run(out, plan, executor=executor)
    for one in looking:
        judge(store, plan, one)
    return results(store, plan, looking)
