"""A folder as reports read it: its plan, and the pictures with the scores of the metrics that looked at them."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from PIL import Image

from ...errors import BenchError
from ..metrics.base import Metric, Score, sees
from ..plan.cases import Case
from ..plan.plan import Plan
from ..storage.store import Store
from .metric_config import kept_settings, settings_of
from .results import Results, results


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

    @property
    def sees(self) -> Any:
        return sees(self.metric)

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


def metric_called(name: str, **settings: Any) -> Metric:
    """Return the metric of that name, by default with its default settings; no model is loaded by that."""
    from ..metrics import metric

    return metric(name, **settings)


def open_folder(
    path: Path,
    names: Iterable[str] | None = None,
    *,
    fingerprints: Mapping[str, str] | None = None,
    allow_partial: bool = False,
    methods: Collection[str] | None = None,
) -> Folder:
    """Return what a folder holds, scored by the metrics `names`, by default all that looked at pictures of its plan.

    Of several definitions of a metric, NAME:SETTING=VALUE means one that was so made, and `fingerprints` {name: fingerprint}
    say which it is. `methods` are labels of those to be read, by default all; pictures of others may be missing.

    Raises `BenchError` where there is no run, a metric that is asked for has not looked, or pictures are missing and
    `allow_partial` is not set.
    """
    store = Store(path)
    plan = store.plan()
    if methods is not None:
        plan = replace(plan, contenders=tuple(one for one in plan.contenders if one.label in methods))
    found = kept_fingerprints(store, plan)
    chosen, cautions = [], list[str]()
    for label in _in_order(found) if names is None else names:
        chosen.append(kept_metric(store, label, found, cautions, (fingerprints or {}).get(label)))
    begun = datetime.fromtimestamp(store.plan_file.stat().st_mtime, tz=UTC)
    rows = results(store, plan, chosen, allow_partial=allow_partial)
    return Folder(path, plan, tuple(chosen), rows, begun.date().isoformat(), tuple(cautions))


def kept_metric(
    store: Store, label: str, found: Mapping[str, Sequence[str]], cautions: list[str], fingerprint: str | None = None
) -> KeptMetric:
    """Return the metric that a label means, made with the settings with which it looked.

    `found` are the fingerprints in the folder (`kept_fingerprints`); a choice between several is told in `cautions`.
    """
    fitting = fingerprints_of(store, label, found)
    if not fitting:
        looked = f"; there is {', '.join(_described(store, found))}" if found else ""
        raise BenchError(f'"{label}" has not looked at the pictures of {store.folder}{looked}; unbleed bench score lets it')
    name = label.partition(":")[0]
    chosen = fingerprint or _latest(store, name, fitting, cautions)
    return KeptMetric(metric_called(name, **kept_settings(store.seen(name, chosen).folder)), chosen)


def fingerprints_of(store: Store, label: str, found: Mapping[str, Sequence[str]]) -> list[str]:
    """Return under which of the fingerprints in a folder the metric that a label means is kept."""
    from ..metrics import read_label

    name, wanted = read_label(label)
    if not wanted:
        return list(found.get(name, ()))
    asked = settings_of(metric_called(name, **wanted))  # says what is wrong with them; the device does not matter

    def fits(fingerprint: str) -> bool:
        kept = settings_of(metric_called(name, **kept_settings(store.seen(name, fingerprint).folder)))
        return all(kept.get(setting) == asked.get(setting) for setting in wanted)

    return [fingerprint for fingerprint in found.get(name, ()) if fits(fingerprint)]


def kept_fingerprints(store: Store, plan: Plan) -> dict[str, list[str]]:
    """Return {metric: the fingerprints under which a folder keeps what it saw in pictures of the plan}, the latest first."""
    pictures = {job.key for job in plan.jobs()}
    found: dict[str, list[tuple[float, str]]] = {}
    for folder in (store.folder / "metrics").glob("*-*"):
        name, _, fingerprint = folder.name.rpartition("-")
        if any(key.partition(".")[0] in pictures for key in store.seen(name, fingerprint).read()):
            latest = max(file.lstat().st_mtime for file in folder.iterdir())
            found.setdefault(name, []).append((latest, fingerprint))
    return {name: [fingerprint for _, fingerprint in sorted(of, reverse=True)] for name, of in sorted(found.items())}


def _in_order(names: Iterable[str]) -> list[str]:
    """Return the oracle before all others: where it can judge at all, it knows best."""
    return sorted(names, key=lambda name: (name != "oracle", name))


def _described(store: Store, found: Mapping[str, Sequence[str]]) -> list[str]:
    """Return labels of all that looked: of a metric with settings, those too."""
    labels = []
    for name, fingerprints in found.items():
        for fingerprint in fingerprints:
            settings = kept_settings(store.seen(name, fingerprint).folder)
            labels.append(":".join([name, *(f"{key}={_written(value)}" for key, value in settings.items())]))
    return list(dict.fromkeys(labels))


def _written(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _latest(store: Store, name: str, fingerprints: Sequence[str], cautions: list[str]) -> str:
    """Return the fingerprint of today's metric where a folder has several, else the latest, and say so."""
    if len(fingerprints) == 1:
        return fingerprints[0]
    today = _today(store, name, fingerprints)
    if today in fingerprints:
        return today
    none = f", none of them that of today ({today})" if today else ""
    cautions.append(
        f"{len(fingerprints)} versions of {name} looked at these pictures{none}; the figures are those of the latest "
        f"({fingerprints[0]}: {_described(store, {name: fingerprints[:1]})[0]})."
    )
    return fingerprints[0]


def _today(store: Store, name: str, fingerprints: Sequence[str]) -> str:
    """Return the fingerprint of the metric with its defaults; "" where it did not look, or its model is not to be had."""
    if all(kept_settings(store.seen(name, fingerprint).folder) for fingerprint in fingerprints):
        return ""
    try:
        return metric_called(name).fingerprint[:16]
    except BenchError:
        return ""
