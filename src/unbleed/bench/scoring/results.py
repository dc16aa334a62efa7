"""Results per image: the rows of a report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...errors import BenchError
from ...files import understanding
from ...schema import SchemaError, check, parse
from ..metrics.base import Metric, Score
from ..plan.cases import Case
from ..plan.plan import Plan
from ..plan.variants import Variant
from ..storage.store import Store, case_digest, row_key
from ..storage.table import Table


@dataclass(frozen=True)
class ImageRow:
    """An image of a variant: the only one of its seed, or the best of its draws."""

    method: str  # label of the variant
    case: int  # index in the suite
    prompt: str
    seed: int  # of the first draw, so that it is the same for all variants
    seconds: float | None  # of all draws; None for an imported image
    image: Path
    scores: Mapping[str, float]
    outputs: Mapping[str, Mapping[str, Any]]  # {metric: its stored output}
    faults: Mapping[str, Sequence[str]] = field(default_factory=dict)  # {score that a metric explains: what is wrong}
    sha256: str | None = None  # of the file; None if its row is from an older version


@dataclass(frozen=True)
class Results:
    """The images of complete prompts: sampled and scored for every variant and seed."""

    scores: tuple[Score, ...]
    images: tuple[ImageRow, ...]
    left_out: int  # incomplete prompts
    failed: int  # images that could not be sampled


def results(store: Store, plan: Plan, metrics: Sequence[Metric], *, allow_partial: bool = False) -> Results:
    """Return a row for each prompt, variant and seed, in this order.

    With `allow_partial`, incomplete prompts are left out; otherwise they raise `BenchError`.
    """
    scores = tuple(score for metric in metrics for score in metric.scores)
    names = [score.name for score in scores]
    if twice := {name for name in names if names.count(name) > 1}:
        raise BenchError(f"two metrics give {', '.join(sorted(twice))}; name one of them")
    for variant in plan.contenders:
        if variant.judge and variant.judge not in {metric.name for metric in metrics}:
            raise BenchError(
                f"{variant.label} is chosen by {variant.judge}, which is not among the metrics "
                f"({', '.join(metric.name for metric in metrics) or 'none'}); run both: --metrics {variant.judge},..."
            )
    stored = store.state()
    reader = _Reader(
        store=store,
        metrics=metrics,
        scores=scores,
        facts={key: row for key, row in store.pictures.read("seconds", "sha256").items() if key in stored.done},
        outputs={metric.name: store.outputs(metric.name, metric.fingerprint).read("seen") for metric in metrics},
    )
    rows: list[ImageRow] = []
    missing = left_out = failed = 0
    for index, case in enumerate(plan.suite.cases):
        jobs = [job for variant in plan.contenders for draws in plan.jobs_of(case, variant) for job in draws]
        digest = case_digest(case)
        lacking = sum(
            job.key not in stored.done or any(row_key(job, digest) not in own for own in reader.outputs.values())
            for job in jobs
        )
        failed += sum(job.key in stored.errors for job in jobs)
        missing += lacking
        left_out += bool(lacking)
        if not lacking:
            for variant in plan.contenders:
                rows += reader.rows(plan, index, case, variant)
    if missing and not allow_partial:
        of_failed = f", of which {failed} failed" if failed else ""
        again = "unbleed bench import and score" if plan.imported else "unbleed bench run"
        raise BenchError(
            f"{missing} images of {store.folder} are not {'imported' if plan.imported else 'sampled'} and scored "
            f"yet{of_failed}; finish them with the same {again}, or use --partial to report the prompts that are finished"
        )
    return Results(scores, tuple(rows), left_out, failed)


@dataclass(frozen=True)
class _Reader:
    """The stored facts and outputs of a run's images."""

    store: Store
    metrics: Sequence[Metric]
    scores: Sequence[Score]
    facts: Mapping[str, tuple[float | None, str | None]]  # {key: (seconds, sha256)}
    outputs: Mapping[str, Mapping[str, tuple[str | None]]]  # {metric: {row key: (JSON text,)}}

    def rows(self, plan: Plan, index: int, case: Case, variant: Variant) -> Iterator[ImageRow]:
        """Yield the row of each seed of a case that is complete."""
        digest = case_digest(case)
        for draws in plan.jobs_of(case, variant):
            found = [(job, *self._scored(case, row_key(job, digest))) for job in draws]
            chosen_by = self._judging(variant)
            best, values, outputs = max(found, key=lambda one: merit(chosen_by, one[1]))  # the first of equals
            if variant.judge:  # what chose is no measure of what it chose
                judged = {score.name for score in chosen_by}
                values = {name: value for name, value in values.items() if name not in judged}
            times = [self.facts[job.key][0] for job in draws]
            yield ImageRow(
                method=variant.label,
                case=index,
                prompt=case.prompt,
                seed=draws[0].seed,
                seconds=None if None in times else sum(time or 0.0 for time in times),
                image=self.store.image(best.key),
                scores=values,
                outputs=outputs,
                faults=self._faults(case, outputs),
                sha256=self.facts[best.key][1],
            )

    def _judging(self, variant: Variant) -> Sequence[Score]:
        """Return the scores that choose among a variant's draws."""
        if not variant.judge:
            return self.scores
        return next(metric.scores for metric in self.metrics if metric.name == variant.judge)

    def _scored(self, case: Case, key: str) -> tuple[dict[str, float], dict[str, Mapping[str, Any]]]:
        values: dict[str, float] = {}
        outputs: dict[str, Mapping[str, Any]] = {}
        for metric in self.metrics:
            table = self.store.outputs(metric.name, metric.fingerprint)
            outputs[metric.name], own = scored(table, metric, case, key, *self.outputs[metric.name][key])
            values |= own
        return values, outputs

    def _faults(self, case: Case, outputs: Mapping[str, Mapping[str, Any]]) -> dict[str, list[str]]:
        explained = [(metric, metric.explain(case, outputs[metric.name])) for metric in self.metrics if metric.scores]
        return {metric.scores[0].name: faults for metric, faults in explained if faults}


def scored(
    table: Table, metric: Metric, case: Case, key: str, text: str | None
) -> tuple[Mapping[str, Any], Mapping[str, float]]:
    """Return a metric's output, parsed from the JSON text in the row of a key, and its scores.

    Raises `BenchError` naming the field if the metric cannot have written it.
    """
    remedy = "remove that folder and run the metric again: unbleed bench score"
    with understanding(f"{table.folder}, row {key}, seen", error=BenchError, remedy=remedy):
        if text is None:
            raise SchemaError("is empty")
        output = parse(text)
        check(output, metric.output_type)
        try:
            return output, check(metric.score(case, output), Mapping[str, float])
        except (TypeError, KeyError, IndexError, ValueError, AttributeError) as error:
            if isinstance(error, SchemaError):
                raise
            raise SchemaError(f"cannot be scored ({error!r})") from error


def merit(scores: Sequence[Score], values: Mapping[str, float]) -> tuple[float, ...]:
    """Return the sort key for the best of several draws: the scores in their order; undefined ones count 0."""
    return tuple(values.get(score.name, 0.0) * (1 if score.higher_is_better else -1) for score in scores)
