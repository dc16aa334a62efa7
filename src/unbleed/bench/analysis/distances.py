"""How far the pictures of each method are, as a whole, from reference pictures (`metrics.cmmd`), and how much farther than the
baseline's.

All methods have the same prompts and the same reference, so the error of a difference is that of the differences: the jackknife
leaves one prompt out of both at a time. Below `MIN_PROMPTS` prompts there is no error, nor where it would be 0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, cast

from ...errors import BenchError
from ..metrics import read_label
from ..metrics.cmmd import Cmmd, Distance, Features, distance, features_of, mean_of_pairs
from ..scoring.results import PictureRow, results
from ..scoring.run_folder import kept_fingerprints, kept_metric
from ..storage.store import Store
from .bootstrap import MIN_PROMPTS, few_prompts


@dataclass(frozen=True)
class Row:
    """The distance of one method, and its difference to the baseline's, which has none; with standard errors, or None."""

    method: str
    pictures: int
    distance: float
    error: float | None
    difference: float | None
    difference_error: float | None


@dataclass(frozen=True)
class Distances:
    rows: tuple[Row, ...]
    baseline: str
    prompts: int
    reference: int  # pictures
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
    report: Callable[[int, int], None] = lambda done, total: None,
) -> Distances:
    """Return the distances of a run's methods from the pictures in `reference`.

    `label` says which cmmd, where several looked, and on which device it looks at the reference. Raises `BenchError` where none
    looked, where its model is not the same any more, and where there are too few pictures.
    """
    store, cautions = Store(folder), list[str]()
    plan = store.plan()
    name, asked = read_label(label)
    if name != "cmmd":
        raise BenchError(f'"{label}" measures no distance; expected cmmd, or cmmd:SETTING=VALUE')
    kept = kept_metric(store, label, kept_fingerprints(store, plan), cautions)
    looking = replace(cast(Cmmd, kept.metric), device=asked.get("device", "cpu"))
    if looking.fingerprint[:16] != kept.fingerprint[:16]:
        raise BenchError(
            f"{looking.model} is not the model any more with which cmmd looked at {folder}; let it look again: "
            f"unbleed bench score {folder} --metrics {label}"
        )
    found = results(store, plan, [kept], allow_partial=allow_partial)
    single = [contender.label for contender in plan.contenders if contender.draws == 1]
    if several := [contender.label for contender in plan.contenders if contender.draws > 1]:
        cautions.append(f"{', '.join(several)} left out: a distance of all pictures does not say which draw is the best.")
    cautions += few_prompts(len({picture.prompt for picture in found.pictures}))
    if not single or not found.pictures:
        raise BenchError(f"{folder} has no complete prompt to measure; finish the run first")
    others = looking.reference(reference, report=report)
    of_reference = mean_of_pairs(others)
    measured = {method: _distance(found.pictures, method, others, of_reference) for method in single}
    base = "none" if "none" in measured else single[0]
    return Distances(
        rows=tuple(_row(found.pictures, method, measured, base) for method in single),
        baseline=base,
        prompts=len({picture.prompt for picture in found.pictures}),
        reference=len(others),
        metric=kept.fingerprint,
        model=looking.model,
        cautions=tuple(cautions),
    )


def _of(pictures: Sequence[PictureRow], method: str) -> list[PictureRow]:
    """Return the pictures of a method, each once: some suites say a prompt twice."""
    return list({(picture.prompt, picture.seed): picture for picture in pictures if picture.contender == method}.values())


def _distance(pictures: Sequence[PictureRow], method: str, reference: Features, of_reference: float) -> Distance:
    own = _of(pictures, method)
    features = features_of([picture.seen["cmmd"] for picture in own])
    return distance(features, reference, [picture.case for picture in own], of_reference=of_reference)


def _row(pictures: Sequence[PictureRow], method: str, measured: Mapping[str, Distance], base: str) -> Row:
    of, difference = measured[method], measured[method] - measured[base]
    apart = (None, None) if method == base else (difference.value, _error(difference))
    return Row(method, len(_of(pictures, method)), of.value, _error(of), *apart)


def _error(of: Distance) -> float | None:
    """Return the standard error of a distance; None where its prompts are too few to say, or all alike."""
    return of.error if len(of.left_out) >= MIN_PROMPTS and of.error > 0 else None
