"""A folder as reports read it: its plan, and the pictures with the scores of the metrics that looked at them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from PIL import Image

from ..errors import BenchError
from .cases import Case
from .metrics.base import Metric, Score
from .plan import Plan
from .results import Results, results
from .store import Store


@dataclass(frozen=True)
class KeptMetric:
    """A metric as a folder has it: what it saw is kept under `fingerprint`, of which a folder's name has 16 signs."""

    metric: Metric
    fingerprint: str

    @property
    def name(self) -> str:
        return self.metric.name

    @property
    def scores(self) -> Sequence[Score]:
        return self.metric.scores

    def look(self, images: Sequence[Image.Image], cases: Sequence[Case]) -> list[dict[str, Any]]:
        return self.metric.look(images, cases)

    def score(self, case: Case, seen: Mapping[str, Any]) -> dict[str, float]:
        return self.metric.score(case, seen)


@dataclass(frozen=True)
class Folder:
    """A run that can be reported; `cautions` say what a reader must know of its metrics."""

    path: Path
    plan: Plan
    metrics: tuple[KeptMetric, ...]
    results: Results
    date: str
    cautions: tuple[str, ...] = ()


def metric_called(name: str) -> Metric:
    """Return the metric of that name with its default settings; no model is loaded by that."""
    from .metrics import metric

    return metric(name)


def open_folder(
    path: Path,
    names: Iterable[str] | None = None,
    *,
    fingerprints: Mapping[str, str] | None = None,
    allow_partial: bool = False,
) -> Folder:
    """Return what a folder holds, scored by the metrics `names`, by default all that looked at pictures of its plan.

    `fingerprints` {name: fingerprint} say which of several definitions of a metric is meant. Raises `BenchError` where there is
    no run, a metric that is asked for has not looked, or pictures are missing and `allow_partial` is not set.
    """
    store = Store(path)
    plan = store.plan()
    found = kept_fingerprints(store, plan)
    chosen, cautions = [], []
    for name in _in_order(found) if names is None else names:
        if name not in found:
            looked = f"; there is {', '.join(found)}" if found else ""
            raise BenchError(f'"{name}" has not looked at the pictures of {path}{looked}; unbleed bench score lets it')
        metric = metric_called(name)
        fingerprint = (fingerprints or {}).get(name) or _latest(metric, found[name], cautions)
        chosen.append(KeptMetric(metric, fingerprint))
    begun = datetime.fromtimestamp(store.plan_file.stat().st_mtime, tz=timezone.utc)
    rows = results(store, plan, chosen, allow_partial=allow_partial)
    return Folder(path, plan, tuple(chosen), rows, begun.date().isoformat(), tuple(cautions))


def kept_fingerprints(store: Store, plan: Plan) -> dict[str, list[str]]:
    """Return {metric: the fingerprints under which a folder keeps what it saw in pictures of the plan}, the latest first."""
    pictures = {job.key for job in plan.jobs()}
    found: dict[str, list[tuple[float, str]]] = {}
    for folder in (store.folder / "metrics").glob("*-*"):
        name, _, fingerprint = folder.name.rpartition("-")
        if any(key.partition(".")[0] in pictures for key in store.seen(name, fingerprint).read()):
            latest = max(file.stat().st_mtime for file in folder.iterdir())
            found.setdefault(name, []).append((latest, fingerprint))
    return {name: [fingerprint for _, fingerprint in sorted(of, reverse=True)] for name, of in sorted(found.items())}


def _in_order(names: Iterable[str]) -> list[str]:
    """Return the oracle before all others: where it can judge at all, it knows best."""
    return sorted(names, key=lambda name: (name != "oracle", name))


def _latest(metric: Metric, fingerprints: Sequence[str], cautions: list[str]) -> str:
    """Return the fingerprint of today's metric where a folder has several, else the latest, and say so."""
    if len(fingerprints) == 1:
        return fingerprints[0]
    today = metric.fingerprint[:16]
    if today in fingerprints:
        return today
    cautions.append(
        f"{len(fingerprints)} versions of {metric.name} looked at these pictures, none of them that of today ({today}); the "
        f"figures are those of the latest ({fingerprints[0]})."
    )
    return fingerprints[0]
