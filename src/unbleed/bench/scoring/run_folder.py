"""The folder of a run, opened for reports: its plan, and its images with their scores."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from ..plan.plan import Plan
from ..storage.store import Store
from .kept_metrics import KeptMetric, by_rank, kept_fingerprints, kept_metric
from .results import Results, results


@dataclass(frozen=True)
class RunFolder:
    """A run that can be reported."""

    path: Path
    plan: Plan
    metrics: tuple[KeptMetric, ...]
    results: Results
    date: str

    @property
    def cautions(self) -> tuple[str, ...]:
        """What a reader must know about the metrics, in sentences."""
        return tuple(kept.caution for kept in self.metrics if kept.caution)


def open_folder(
    path: Path,
    names: Iterable[str] | None = None,
    *,
    fingerprints: Mapping[str, str] | None = None,
    allow_partial: bool = False,
    methods: Collection[str] | None = None,
) -> RunFolder:
    """Return the contents of a run's folder, scored by the metrics `names`, by default all that were run on its plan.

    NAME:SETTING=VALUE picks one of several versions of a metric, as does `fingerprints` {name: fingerprint}. `methods` are
    the labels of the methods to read, by default all; images of others may be missing.

    Raises `BenchError` if there is no run, if a metric was not run, or if images are missing and `allow_partial` is not set.
    """
    store = Store(path)
    plan = store.plan()
    if methods is not None:
        plan = replace(plan, contenders=tuple(c for c in plan.contenders if c.label in methods))
    found = kept_fingerprints(store, plan)
    labels = by_rank(found) if names is None else names
    metrics = tuple(kept_metric(store, label, found, (fingerprints or {}).get(label)) for label in labels)
    begun = datetime.fromtimestamp(store.plan_file.stat().st_mtime, tz=UTC)
    rows = results(store, plan, metrics, allow_partial=allow_partial)
    return RunFolder(path, plan, metrics, rows, begun.date().isoformat())
