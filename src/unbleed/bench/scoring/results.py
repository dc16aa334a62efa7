"""What a run has come to, picture by picture: the rows of a report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import BenchError
from ...files import understanding
from ...schema import SchemaError, check, parse
from ..metrics.base import Metric, Score, sees
from ..plan.cases import Case
from ..plan.jobs import Job
from ..plan.plan import Plan
from ..plan.variants import Variant
from ..storage.store import Store, case_digest, row_key
from ..storage.table import Table


@dataclass(frozen=True)
class PictureRow:
    """A picture of a contender: the only one of its seed, or the best of its draws."""

    contender: str  # label
    case: int  # place in the suite
    prompt: str
    seed: int  # of the first draw, so that it is the same for all contenders
    seconds: float | None  # of all draws; None where the picture was imported
    image: Path
    scores: Mapping[str, float]
    seen: Mapping[str, Mapping[str, Any]]  # {metric: what it saw}
    sha256: str | None = None  # of the file; None where its row is of an older version


@dataclass(frozen=True)
class Results:
    """The pictures of the prompts that are complete: drawn and judged for every contender and seed."""

    scores: tuple[Score, ...]
    pictures: tuple[PictureRow, ...]
    left_out: int  # prompts that are not complete
    failed: int  # pictures that could not be drawn


def results(store: Store, plan: Plan, metrics: Sequence[Metric], *, allow_partial: bool = False) -> Results:
    """Return a row for each prompt, contender and seed, in this order.

    Raises `BenchError` when pictures are missing or were not looked at. With `allow_partial`, prompts that are not complete
    are left out.
    """
    scores = tuple(score for metric in metrics for score in metric.scores)
    names = [score.name for score in scores]
    if twice := {name for name in names if names.count(name) > 1}:
        raise BenchError(f"two metrics give {', '.join(sorted(twice))}; name one of them")
    drawn, failures, _ = store.drawn()
    facts = {key: row for key, row in store.pictures.read("seconds", "sha256").items() if key in drawn}
    seen = {metric.name: store.seen(metric.name, metric.fingerprint).read("seen") for metric in metrics}
    rows: list[PictureRow] = []
    missing = left_out = failed = 0
    for index, case in enumerate(plan.suite.cases):
        jobs = [job for contender in plan.contenders for draws in plan.jobs_of(case, contender) for job in draws]
        asked = case_digest(case)
        lacking = sum(job.key not in drawn or any(row_key(job, asked) not in own for own in seen.values()) for job in jobs)
        failed += sum(job.key in failures for job in jobs)
        missing += lacking
        left_out += bool(lacking)
        if not lacking:
            for contender in plan.contenders:
                rows += _of(store, plan, index, case, contender, metrics, scores, facts, seen, asked)
    if missing and not allow_partial:
        of_failed = f", of which {failed} could not be drawn" if failed else ""
        again = "unbleed bench import and score" if plan.imported else "unbleed bench run"
        raise BenchError(
            f"{missing} pictures of {store.folder} are not {'there' if plan.imported else 'drawn'} and judged yet{of_failed}; "
            f"finish them with the same {again}, or take --partial to report the prompts that are finished"
        )
    return Results(scores, tuple(rows), left_out, failed)


def _of(
    store: Store,
    plan: Plan,
    index: int,
    case: Case,
    contender: Variant,
    metrics: Sequence[Metric],
    scores: Sequence[Score],
    facts: Mapping[str, tuple[float | None, str | None]],
    seen: Mapping[str, Mapping[str, tuple[str | None]]],
    asked: str,
) -> Iterator[PictureRow]:
    for draws in plan.jobs_of(case, contender):
        drawn: list[tuple[Job, dict[str, float], dict[str, Any]]] = []
        for job in draws:
            what, values = {}, {}
            for metric in metrics:
                key = row_key(job, asked)
                what[metric.name], own = scored(
                    store.seen(metric.name, metric.fingerprint), metric, case, key, *seen[metric.name][key]
                )
                values |= own
            drawn.append((job, values, what))
        times = [facts[job.key][0] for job in draws]
        best, values, what = max(drawn, key=lambda one: merit(scores, one[1]))  # of equals the first
        yield PictureRow(
            contender=contender.label,
            case=index,
            prompt=case.prompt,
            seed=draws[0].seed,
            seconds=None if None in times else sum(time or 0.0 for time in times),
            image=store.image(best.key),
            scores=values,
            seen=what,
            sha256=facts[best.key][1],
        )


def scored(
    table: Table, metric: Metric, case: Case, key: str, text: str | None
) -> tuple[Mapping[str, Any], Mapping[str, float]]:
    """Return what a metric saw, of its JSON text in the row of a key, and the scores that follow.

    Raises `BenchError` naming the field that the metric did not write so.
    """
    again = "remove that folder, and let it look again: unbleed bench score"
    with understanding(f"{table.folder}, row {key}, seen", error=BenchError, remedy=again):
        if text is None:
            raise SchemaError("is empty")
        found = parse(text)
        check(found, sees(metric))
        try:
            return found, check(metric.score(case, found), Mapping[str, float])
        except (TypeError, KeyError, IndexError, ValueError, AttributeError) as error:
            if isinstance(error, SchemaError):
                raise
            raise SchemaError(f"cannot be scored ({error!r})") from error


def merit(scores: Sequence[Score], values: Mapping[str, float]) -> tuple[float, ...]:
    """Return by what the best of several draws is chosen: the scores in their order; one without ground decides nothing."""
    return tuple(values.get(score.name, 0.0) * (1 if score.higher_is_better else -1) for score in scores)
