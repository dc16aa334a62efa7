"""Metrics whose outputs are stored in a run's folder, recreated from their stored settings without their models."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image

from ...errors import BenchError
from ..metrics import metric, read_label
from ..metrics.base import Metric
from ..plan.cases import Case
from ..plan.plan import Plan
from ..storage.store import Store
from .metric_config import kept_settings, settings_of


@dataclass(frozen=True)
class KeptMetric(Metric):
    """A metric under the fingerprint of its stored outputs. Folder names hold 16 digits of a fingerprint.

    `caution` tells the reader of a report if there was a choice between several versions.
    """

    metric: Metric
    fingerprint: str
    caution: str = ""

    def __post_init__(self) -> None:
        for name in ("name", "scores", "rank", "output_type"):
            object.__setattr__(self, name, getattr(self.metric, name))

    def run(self, images: Sequence[Image.Image], cases: Sequence[Case]) -> list[dict[str, Any]]:
        return self.metric.run(images, cases)

    def score(self, case: Case, output: Mapping[str, Any]) -> dict[str, float]:
        return self.metric.score(case, output)

    def explain(self, case: Case, output: Mapping[str, Any]) -> list[str]:
        return self.metric.explain(case, output)


def kept_fingerprints(store: Store, plan: Plan) -> dict[str, list[str]]:
    """Return {metric name: fingerprints with stored outputs for images of the plan, the latest first}."""
    keys = {job.key for job in plan.jobs()}
    found: dict[str, list[tuple[float, str]]] = {}
    for folder in (store.folder / "metrics").glob("*-*"):
        name, _, fingerprint = folder.name.rpartition("-")
        if any(key.partition(".")[0] in keys for key in store.outputs(name, fingerprint).read()):
            latest = max(file.lstat().st_mtime for file in folder.iterdir())
            found.setdefault(name, []).append((latest, fingerprint))
    return {name: [fingerprint for _, fingerprint in sorted(of, reverse=True)] for name, of in sorted(found.items())}


def by_rank(names: Iterable[str]) -> list[str]:
    """Return metric names in the order of reports: by rank, then by name."""
    return sorted(names, key=lambda name: (metric(name).rank, name))


def kept_metric(store: Store, label: str, found: Mapping[str, Sequence[str]], fingerprint: str | None = None) -> KeptMetric:
    """Return the metric that a label names, with its stored settings.

    `found` are the fingerprints in the folder (`kept_fingerprints`); `fingerprint` picks one. Raises `BenchError` if the
    metric has no stored outputs.
    """
    fitting = fingerprints_of(store, label, found)
    if not fitting:
        stored = f"; there is {', '.join(_described(store, found))}" if found else ""
        raise BenchError(f'"{label}" has not been run on the images of {store.folder}{stored}; run it with unbleed bench score')
    name = label.partition(":")[0]
    chosen, caution = (fingerprint, "") if fingerprint else _latest(store, name, fitting)
    return KeptMetric(metric(name, **kept_settings(store.outputs(name, chosen).folder)), chosen, caution)


def fingerprints_of(store: Store, label: str, found: Mapping[str, Sequence[str]]) -> list[str]:
    """Return those of the fingerprints in a folder that a label fits: its name and, if it has any, its settings."""
    name, wanted = read_label(label)
    if not wanted:
        return list(found.get(name, ()))
    expected = settings_of(metric(name, **wanted))  # raises for invalid settings; omits the device

    def fits(fingerprint: str) -> bool:
        kept = settings_of(metric(name, **kept_settings(store.outputs(name, fingerprint).folder)))
        return all(kept.get(setting) == expected.get(setting) for setting in wanted)

    return [fingerprint for fingerprint in found.get(name, ()) if fits(fingerprint)]


def _described(store: Store, found: Mapping[str, Sequence[str]]) -> list[str]:
    """Return the labels of all metrics with stored outputs."""
    labels = []
    for name, fingerprints in found.items():
        for fingerprint in fingerprints:
            settings = kept_settings(store.outputs(name, fingerprint).folder)
            labels.append(":".join([name, *(f"{key}={_written(value)}" for key, value in settings.items())]))
    return list(dict.fromkeys(labels))


def _written(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _latest(store: Store, name: str, fingerprints: Sequence[str]) -> tuple[str, str]:
    """Return the current metric's fingerprint if it is among several, else the latest, and a caution in that case."""
    if len(fingerprints) == 1:
        return fingerprints[0], ""
    current = _current(store, name, fingerprints)
    if current in fingerprints:
        return current, ""
    none = f", none of them the current one ({current})" if current else ""
    return fingerprints[0], (
        f"{len(fingerprints)} versions of {name} were run on these images{none}; the figures are those of the latest "
        f"({fingerprints[0]}: {_described(store, {name: fingerprints[:1]})[0]})."
    )


def _current(store: Store, name: str, fingerprints: Sequence[str]) -> str:
    """Return the fingerprint of the metric with its defaults; "" if that was never run or its model is not available."""
    if all(kept_settings(store.outputs(name, fingerprint).folder) for fingerprint in fingerprints):
        return ""
    try:
        return metric(name).fingerprint[:16]
    except BenchError:
        return ""
