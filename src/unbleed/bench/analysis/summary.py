"""The summary of a run as data: each score of each method with its interval, over all prompts and over each group."""

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
from ..scoring.results import ImageRow, Results
from ..scoring.verdicts import is_verdict
from .bootstrap import DRAWS, Array, Sample, affordable, arrange, defined_for_all, estimate, sample
from .facts import ReportFacts, facts_of

SIGNIFICANT = 0.05
MAX_COLUMNS = 8  # scores in one table; with more, each metric has its own table


@dataclass(frozen=True)
class ScoreRow:
    """One score of one method. Field names are the columns of rows.csv.

    The baseline has no difference and no p-value; `relative_seconds` is a multiple of its seconds. Intervals and p-values are
    None where `unbleed.bench.analysis.bootstrap` gives none.
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
    """The time per image of a method, None for imported images; as a multiple of the baseline's, None if that is unknown."""

    method: str
    pictures: int
    seconds_per_picture: float | None
    relative_seconds: float | None


@dataclass(frozen=True)
class ScoreTable:
    """Scores shown in one table, and their metric ("" for several)."""

    metric: str
    scores: tuple[Score, ...]


@dataclass(frozen=True)
class Report:
    """The rows over all prompts and over each group of prompts, the facts of the run, and the images."""

    rows: tuple[ScoreRow, ...]
    subsets: Mapping[str, tuple[ScoreRow, ...]]
    overall: tuple[ScoreRow, ...]  # means over the groups' means, if every prompt is in exactly one group
    costs: tuple[Cost, ...]
    tables: tuple[ScoreTable, ...]
    run: ReportFacts
    cases: tuple[Case, ...]
    images: tuple[ImageRow, ...]

    @property
    def baseline(self) -> str:
        return self.run.baseline

    @property
    def contenders(self) -> tuple[Variant, ...]:
        return self.run.contenders

    @property
    def scores(self) -> tuple[Score, ...]:
        return tuple(score for table in self.tables for score in table.scores)

    @property
    def primary(self) -> Score | None:
        """The score that ranks methods and selects images: the first that is defined for any image."""
        found = {row.metric for row in self.rows}
        return next((score for score in self.scores if score.name in found), None)

    @cached_property
    def verdict(self) -> bool:
        """Whether the primary score is 0 or 1 for every image."""
        return self.primary is not None and is_verdict(self.primary, self.images)

    @cached_property
    def image_of(self) -> dict[tuple[str, int, int], ImageRow]:
        """{(method, case, seed): image}."""
        return {(row.method, row.case, row.seed): row for row in self.images}

    def to_json(self) -> dict[str, Any]:
        facts = asdict(self.run)
        if not self.run.runs:
            del facts["runs"], facts["agreement"]
        return {
            "rows": [asdict(row) for row in self.rows],
            "subsets": {group: [asdict(row) for row in rows] for group, rows in self.subsets.items()},
            "mean_over_groups": [asdict(row) for row in self.overall],
            "costs": [asdict(cost) for cost in self.costs],
            "run": facts
            if self.run.runs
            else {name: value for name, value in facts.items() if name not in ("runs", "agreement")},
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
    """Return the report of a run, or of those of its prompts that are in `results`.

    `metrics` are those of the scores, in the same order. If there is no variant `baseline`, the first one is the baseline. With
    very many images fewer than `draws` draws are made. `cautions` are sentences that the report shows before the figures.
    """
    images, cases, scores = results.images, plan.suite.cases, results.scores
    labels = [c.label for c in plan.contenders]
    values = arrange(((row.method, row.case, row.seed, _values(row, scores)) for row in images), labels)
    prompts = sorted({row.case for row in images})
    groups = sorted({group for p in prompts for group in cases[p].groups})
    masks = {group: np.array([group in cases[p].groups for p in prompts]) for group in groups}
    weights = (len(prompts) + sum(int(mask.sum()) for mask in masks.values())) * values.shape[3]
    possible = affordable(draws, weights, 2 * len(labels) * len(scores))
    base = labels.index(baseline) if baseline in labels else 0
    figures = _Figures(labels, scores, values[:, 1:], values[:, 0], base, possible)

    every = np.ones(len(prompts), dtype=bool)
    rows = figures.rows(figures.sample(every, 0), every)
    subsets: dict[str, tuple[ScoreRow, ...]] = {}
    total: Sample | None = None
    for number, (group, mask) in enumerate(masks.items(), start=1):
        found = figures.sample(mask, number)
        if rows_of_group := figures.rows(found, mask):
            subsets[group] = rows_of_group
        total = found if total is None else total + found
    partition = len(masks) > 1 and bool((np.sum(list(masks.values()), axis=0) == 1).all())
    overall = figures.rows(total / len(masks), every) if total and partition else ()
    left_out = len(cases) - len(prompts)
    facts = ReportFacts(
        **vars(facts_of(plan, date=date, prompts=len(prompts), prompts_left_out=left_out, pictures=len(images))),
        title=plan.title,
        metrics={metric.name: metric.fingerprint[:16] for metric in metrics},
        baseline=labels[base],
        failed=results.failed,
        groups={group: int(mask.sum()) for group, mask in masks.items()},
        draws=possible,
        draws_asked=draws,
        cautions=tuple(cautions),
    )
    return Report(
        rows=rows,
        subsets=subsets,
        overall=overall,
        costs=figures.costs(every),
        tables=_tables(scores, metrics),
        run=facts,
        cases=cases,
        images=images,
    )


@dataclass(frozen=True)
class _Figures:
    """The numbers of a run: `values` (variant, score, prompt, seed), nan if undefined, and `seconds` (variant, prompt, seed),
    nan if unknown."""

    labels: Sequence[str]
    scores: Sequence[Score]
    values: Array
    seconds: Array
    baseline: int
    draws: int

    def sample(self, prompts: NDArray[np.bool_], seed: int) -> Sample:
        return sample(self.values[:, :, prompts], baseline=self.baseline, draws=self.draws, seed=seed)

    def rows(self, found: Sample, prompts: NDArray[np.bool_]) -> tuple[ScoreRow, ...]:
        """Return a row for each method and score, without scores that are undefined for all of the prompts."""
        arrays = vars(estimate(found, baseline=self.baseline)).values()
        defined = defined_for_all(self.values[:, :, prompts]).sum(axis=1)  # number of prompts per score
        return tuple(
            ScoreRow(
                cost.method,
                score.name,
                *(_number(array[c, s]) for array in arrays),
                pictures=int(defined[s]) * self.seconds.shape[2],
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


def _tables(scores: tuple[Score, ...], metrics: Sequence[Metric]) -> tuple[ScoreTable, ...]:
    """Return one table with all scores, or one table per metric if it would be too wide."""
    if len(scores) <= MAX_COLUMNS or not metrics:
        return (ScoreTable(metrics[0].name if len(metrics) == 1 else "", scores),) if scores else ()
    return tuple(ScoreTable(metric.name, tuple(metric.scores)) for metric in metrics if metric.scores)


def _values(image: ImageRow, scores: Sequence[Score]) -> list[float]:
    """Return an image's seconds and its scores."""
    seconds = np.nan if image.seconds is None else image.seconds
    return [seconds, *(image.scores.get(score.name, np.nan) for score in scores)]


def _number(value: float) -> Any:
    return None if np.isnan(value) else float(value)
