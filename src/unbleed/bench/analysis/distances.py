"""Distance of each method's images from reference images (`metrics.cmmd`), and differences to the baseline's distance.

All methods share prompts and reference, so the error of a difference is computed from differences: the jackknife leaves a
prompt out of both methods at once. With fewer than `MIN_PROMPTS` prompts there is no error, nor if it would be 0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, cast

from ...errors import BenchError
from ..metrics import read_label
from ..metrics.cmmd import Cmmd, Distance, Features, distance, features_of, mean_of_pairs
from ..scoring.kept_metrics import kept_fingerprints, kept_metric
from ..scoring.results import ImageRow, results
from ..storage.store import Store
from .bootstrap import MIN_PROMPTS, few_prompts


@dataclass(frozen=True)
class DistanceRow:
    """The distance of a method and its difference to the baseline's (None for the baseline), with standard errors or None."""

    method: str
    pictures: int
    distance: float
    error: float | None
    difference: float | None
    difference_error: float | None


@dataclass(frozen=True)
class Distances:
    """The distances of a run's methods. Field names are the keys of `unbleed bench distance --json`."""

    rows: tuple[DistanceRow, ...]
    baseline: str
    prompts: int
    reference: int  # images
    metric: str  # its fingerprint
    model: str
    cautions: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def distances(
    folder: Path,
    reference: Path,
    *,
    label: str = "cmmd",
    allow_partial: bool = False,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Distances:
    """Return the distances of a run's methods from the images in `reference`.

    `label` picks one of several versions of cmmd, and the device that embeds the reference. Raises `BenchError` if cmmd was
    not run, if its model has changed since, or if there are too few images.
    """
    store = Store(folder)
    plan = store.plan()
    name, settings = read_label(label)
    if name != "cmmd":
        raise BenchError(f'"{label}" does not measure a distance; expected cmmd, or cmmd:SETTING=VALUE')
    kept = kept_metric(store, label, kept_fingerprints(store, plan))
    cmmd = replace(cast(Cmmd, kept.metric), device=settings.get("device", "cpu"))
    if cmmd.fingerprint[:16] != kept.fingerprint[:16]:
        raise BenchError(
            f"{cmmd.model} has changed since cmmd was run on {folder}; run it again: "
            f"unbleed bench score {folder} --metrics {label}"
        )
    images = results(store, plan, [kept], allow_partial=allow_partial).images
    single = [variant.label for variant in plan.contenders if variant.draws == 1]
    cautions = [kept.caution] if kept.caution else []
    if several := [variant.label for variant in plan.contenders if variant.draws > 1]:
        cautions.append(f"{', '.join(several)} left out: a distance between sets of images does not rank single draws.")
    cautions += few_prompts(len({row.prompt for row in images}))
    if not single or not images:
        raise BenchError(f"{folder} has no complete prompt to measure; finish the run first")
    others = cmmd.reference(reference, on_progress=on_progress)
    of_reference = mean_of_pairs(others)
    measured = {method: _distance(images, method, others, of_reference) for method in single}
    base = "none" if "none" in measured else single[0]
    return Distances(
        rows=tuple(_row(images, method, measured, base) for method in single),
        baseline=base,
        prompts=len({row.prompt for row in images}),
        reference=len(others),
        metric=kept.fingerprint,
        model=cmmd.model,
        cautions=tuple(cautions),
    )


def _of(images: Sequence[ImageRow], method: str) -> list[ImageRow]:
    """Return the images of a method, each once; some suites repeat a prompt."""
    return list({(row.prompt, row.seed): row for row in images if row.method == method}.values())


def _distance(images: Sequence[ImageRow], method: str, reference: Features, of_reference: float) -> Distance:
    own = _of(images, method)
    features = features_of([row.outputs["cmmd"] for row in own])
    return distance(features, reference, [row.case for row in own], of_reference=of_reference)


def _row(images: Sequence[ImageRow], method: str, measured: Mapping[str, Distance], base: str) -> DistanceRow:
    own, difference = measured[method], measured[method] - measured[base]
    to_baseline = (None, None) if method == base else (difference.value, standard_error(difference))
    return DistanceRow(method, len(_of(images, method)), own.value, standard_error(own), *to_baseline)


def standard_error(distance: Distance) -> float | None:
    """Return the standard error of a distance; None if its prompts are too few or all equal."""
    return distance.error if len(distance.left_out) >= MIN_PROMPTS and distance.error > 0 else None
