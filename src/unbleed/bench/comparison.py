"""The figures of a run as data: every metric of every method, with intervals, over all prompts and over each group of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .cases import Case
from .contenders import Contender
from .metrics.oracle import METRICS
from .plan import Plan
from .results import PictureRow
from .statistics import DRAWS, arrange, bootstrap

SIGNIFICANT = 0.05


@dataclass(frozen=True)
class Row:
    """One metric of one method, from 0 to 1. The baseline has no difference and no p."""

    method: str
    metric: str
    mean: float
    low: float
    high: float
    difference: float | None
    difference_low: float | None
    difference_high: float | None
    p: float | None
    p_holm: float | None
    pictures: int
    seconds_per_picture: float

    @property
    def significant(self) -> bool:
        return self.p_holm is not None and self.p_holm < SIGNIFICANT


@dataclass(frozen=True)
class Report:
    """The figures over all prompts and over each group of prompts, the facts of the run, and the pictures behind them."""

    rows: tuple[Row, ...]
    subsets: Mapping[str, tuple[Row, ...]]
    run: Mapping[str, Any]
    contenders: tuple[Contender, ...]
    cases: tuple[Case, ...]
    pictures: tuple[PictureRow, ...]

    @property
    def baseline(self) -> str:
        return self.run["baseline"]

    def to_json(self) -> dict[str, Any]:
        return {
            "rows": [asdict(row) for row in self.rows],
            "subsets": {group: [asdict(row) for row in rows] for group, rows in self.subsets.items()},
            "run": dict(self.run),
        }


def build(plan: Plan, rows: Iterable[PictureRow], *, draws: int = DRAWS, date: str = "") -> Report:
    """Return the report of a run's pictures, which may be those of some of its prompts only.

    The baseline is the contender "none", or the first where there is none of that name.
    """
    pictures, cases = tuple(rows), plan.suite.cases
    labels = [c.label for c in plan.contenders]
    baseline = labels.index("none") if "none" in labels else 0
    values = arrange(((r.contender, r.case, r.seed, [r.scores[m.name] for m in METRICS]) for r in pictures), labels)
    prompts = sorted({r.case for r in pictures})
    groups = sorted({group for p in prompts for group in cases[p].groups})
    masks = {group: np.array([group in cases[p].groups for p in prompts]) for group in groups}
    seconds = arrange(((r.contender, r.case, r.seed, [r.seconds]) for r in pictures), labels)[:, 0]

    def rows_of(mask: NDArray[np.bool_]) -> tuple[Row, ...]:
        found = bootstrap(values, baseline=baseline, draws=draws, prompts=mask)
        return tuple(
            Row(*[label, metric.name, *(_number(a[c, m]) for a in vars(found).values()), times.size, float(times.mean())])
            for c, (label, times) in enumerate(zip(labels, seconds[:, mask], strict=True))
            for m, metric in enumerate(METRICS)
        )

    facts = {
        "suite": {"name": plan.suite.name, "about": plan.suite.about, "first_seed": plan.suite.first_seed},
        "date": date,
        "baseline": labels[baseline],
        "prompts": len(prompts),
        "prompts_left_out": len(cases) - len(prompts),
        "groups": {group: int(mask.sum()) for group, mask in masks.items()},
        "pictures": len(pictures),
        "draws": draws,
    }
    return Report(
        rows=rows_of(np.ones(len(prompts), dtype=bool)),
        subsets={group: rows_of(mask) for group, mask in masks.items()},
        run=plan.to_json() | facts,
        contenders=plan.contenders,
        cases=cases,
        pictures=pictures,
    )


def _number(value: np.float64) -> Any:
    return None if np.isnan(value) else float(value)
