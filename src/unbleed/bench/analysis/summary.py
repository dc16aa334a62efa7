"""The figures of a run as data: every score of every method, with intervals, over all prompts and over each group of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..metrics.base import Metric, Score
from ..plan.cases import Case
from ..plan.plan import Plan
from ..plan.variants import Variant
from ..scoring.results import PictureRow, Results
from ..scoring.verdicts import is_verdict
from .bootstrap import DRAWS, Array, Sample, affordable, arrange, estimate, sample

SIGNIFICANT = 0.05
WIDE = 8  # scores that one table holds; with more each metric has its own


@dataclass(frozen=True)
class Row:
    """One score of one method. The baseline has no difference and no p; `relative_seconds` are times its own.

    Intervals and p-values are None where `unbleed.bench.analysis.bootstrap` gives none.
    """

    method: str
    metric: str  # the score's name
    mean: float
    low: float | None
    high: float | None
    difference: float | None
    difference_low: float | None
    difference_high: float | None
    p: float | None
    p_holm: float | None
    pictures: int
    seconds_per_picture: float | None
    relative_seconds: float | None

    @property
    def significant(self) -> bool:
        return self.p_holm is not None and self.p_holm < SIGNIFICANT

    @property
    def cost(self) -> tuple[float | None, float | None]:
        return self.seconds_per_picture, self.relative_seconds


@dataclass(frozen=True)
class Cost:
    """The seconds of a method's pictures, None where they were imported; relative to the baseline's, None without those."""

    method: str
    pictures: int
    seconds_per_picture: float | None
    relative_seconds: float | None


@dataclass(frozen=True)
class Table:
    """Scores that stand side by side, and the metric that gives them, "" for several."""

    metric: str
    scores: tuple[Score, ...]


@dataclass(frozen=True)
class Report:
    """The figures over all prompts and over each group of prompts, the facts of the run, and the pictures behind them."""

    rows: tuple[Row, ...]
    subsets: Mapping[str, tuple[Row, ...]]
    overall: tuple[Row, ...]  # means over the groups' means, where every prompt is in exactly one group
    costs: tuple[Cost, ...]
    tables: tuple[Table, ...]
    run: Mapping[str, Any]
    contenders: tuple[Variant, ...]
    cases: tuple[Case, ...]
    pictures: tuple[PictureRow, ...]

    @property
    def baseline(self) -> str:
        return self.run["baseline"]

    @property
    def scores(self) -> tuple[Score, ...]:
        return tuple(score for table in self.tables for score in table.scores)

    @property
    def primary(self) -> Score | None:
        """The score by which the methods are ranked and the pictures chosen: the first that says something of any picture."""
        found = {row.metric for row in self.rows}
        return next((score for score in self.scores if score.name in found), None)

    @cached_property
    def verdict(self) -> bool:
        """Whether the primary score says of a picture that it is right or wrong, and nothing between."""
        return self.primary is not None and is_verdict(self.primary, self.pictures)

    @cached_property
    def by_place(self) -> dict[tuple[str, int, int], PictureRow]:
        """The pictures, {(method, case, seed): picture}."""
        return {(r.contender, r.case, r.seed): r for r in self.pictures}

    def to_json(self) -> dict[str, Any]:
        return {
            "rows": [asdict(row) for row in self.rows],
            "subsets": {group: [asdict(row) for row in rows] for group, rows in self.subsets.items()},
            "mean_over_groups": [asdict(row) for row in self.overall],
            "costs": [asdict(cost) for cost in self.costs],
            "run": dict(self.run),
        }


def build(
    plan: Plan,
    results: Results,
    *,
    metrics: Sequence[Metric] = (),
    baseline: str = "none",
    draws: int = DRAWS,
    date: str = "",
    cautions: Sequence[str] = (),
) -> Report:
    """Return the report of a run's pictures, which may be those of some of its prompts only.

    `metrics` are those that gave the scores, in the same order. Where there is no contender `baseline`, it is the first. With
    very many pictures fewer draws are made. `cautions` are what a reader must know, in sentences.
    """
    pictures, cases, scores = results.pictures, plan.suite.cases, results.scores
    labels = [c.label for c in plan.contenders]
    values = arrange(((r.contender, r.case, r.seed, _values(r, scores)) for r in pictures), labels)
    prompts = sorted({r.case for r in pictures})
    groups = sorted({group for p in prompts for group in cases[p].groups})
    masks = {group: np.array([group in cases[p].groups for p in prompts]) for group in groups}
    weights = (len(prompts) + sum(int(mask.sum()) for mask in masks.values())) * values.shape[3]
    possible = affordable(draws, weights, 2 * len(labels) * len(scores))
    base = labels.index(baseline) if baseline in labels else 0
    figures = _Figures(labels, scores, values[:, 1:], values[:, 0], base, possible)

    every = np.ones(len(prompts), dtype=bool)
    rows = figures.rows(figures.sample(every, 0), every)
    subsets: dict[str, tuple[Row, ...]] = {}
    total: Sample | None = None
    for number, (group, mask) in enumerate(masks.items(), start=1):
        found = figures.sample(mask, number)
        if of_group := figures.rows(found, mask):
            subsets[group] = of_group
        total = found if total is None else total + found
    partition = len(masks) > 1 and bool((np.sum(list(masks.values()), axis=0) == 1).all())
    overall = figures.rows(total / len(masks), every) if total and partition else ()
    facts = {
        "title": plan.title,
        "suite": {"name": plan.suite.name, "about": plan.suite.about, "first_seed": plan.suite.first_seed},
        "metrics": {metric.name: metric.fingerprint[:16] for metric in metrics},
        "date": date,
        "baseline": labels[base],
        "prompts": len(prompts),
        "prompts_left_out": len(cases) - len(prompts),
        "failed": results.failed,
        "groups": {group: int(mask.sum()) for group, mask in masks.items()},
        "pictures": len(pictures),
        "draws": possible,
        "draws_asked": draws,
        "cautions": list(cautions),
        "imported": bool(plan.imported),
        **(dict.fromkeys(("steps", "guidance_scale", "dtype", "batch_size", "machine")) if plan.imported else {}),
    }
    return Report(
        rows=rows,
        subsets=subsets,
        overall=overall,
        costs=figures.costs(every),
        tables=_tables(scores, metrics),
        run=plan.to_json() | facts,
        contenders=plan.contenders,
        cases=cases,
        pictures=pictures,
    )


@dataclass(frozen=True)
class _Figures:
    """The numbers of a run: `values` (contender, score, prompt, seed), nan where a score is undefined, and `seconds` alike,
    nan where they are not known."""

    labels: Sequence[str]
    scores: Sequence[Score]
    values: Array
    seconds: Array
    baseline: int
    draws: int

    def sample(self, prompts: NDArray[np.bool_], seed: int) -> Sample:
        return sample(self.values[:, :, prompts], baseline=self.baseline, draws=self.draws, seed=seed)

    def rows(self, found: Sample, prompts: NDArray[np.bool_]) -> tuple[Row, ...]:
        """Return a row for each method and score, but for scores that are undefined for all of the prompts."""
        arrays = vars(estimate(found, baseline=self.baseline)).values()
        grounds = (~np.isnan(self.values[:, :, prompts]).any(axis=(0, 3))).sum(axis=1)  # prompts of each score
        return tuple(
            Row(
                cost.method,
                score.name,
                *(_number(array[c, s]) for array in arrays),
                pictures=int(grounds[s]) * self.seconds.shape[2],
                seconds_per_picture=cost.seconds_per_picture,
                relative_seconds=cost.relative_seconds,
            )
            for c, cost in enumerate(self.costs(prompts))
            for s, score in enumerate(self.scores)
            if not np.isnan(found.means[0, c, s])
        )

    def costs(self, prompts: NDArray[np.bool_]) -> tuple[Cost, ...]:
        times = self.seconds[:, prompts]
        means = times.mean(axis=(1, 2)).tolist()
        of_baseline = means[self.baseline] or np.nan
        return tuple(
            Cost(label, times[0].size, _number(mean), _number(mean / of_baseline))
            for label, mean in zip(self.labels, means, strict=True)
        )


def _tables(scores: tuple[Score, ...], metrics: Sequence[Metric]) -> tuple[Table, ...]:
    """Return all scores in one table, or, where that is too wide, a table for each metric."""
    if len(scores) <= WIDE or not metrics:
        return (Table(metrics[0].name if len(metrics) == 1 else "", scores),) if scores else ()
    return tuple(Table(metric.name, tuple(metric.scores)) for metric in metrics if metric.scores)


def _values(picture: PictureRow, scores: Sequence[Score]) -> list[float]:
    """Return a picture's seconds and its scores."""
    seconds = np.nan if picture.seconds is None else picture.seconds
    return [seconds, *(picture.scores.get(score.name, np.nan) for score in scores)]


def _number(value: float) -> Any:
    return None if np.isnan(value) else float(value)
