"""A metric's pass over the pictures of a plan: it looks at each once, and what it saw is kept, with what it was."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice

from ..metrics.base import Metric
from ..plan.cases import Case
from ..plan.jobs import Job
from ..plan.plan import Plan
from ..storage.store import Store, case_digest, read_image, row_key
from .metric_config import keep_definition

AT_ONCE = 32  # pictures that a metric is shown


@dataclass(frozen=True)
class Judged:
    """What a pass has come to."""

    metric: str
    judged: int  # by this pass
    pictures: int  # that are there to be looked at


def judge(store: Store, plan: Plan, metric: Metric, *, report: Callable[[int, int], None] = lambda done, total: None) -> Judged:
    """Let a metric look at every picture of the plan that it has not seen, and keep what it saw.

    A pass that was stopped goes on where it was. Raises `BenchError` for a picture that is gone or damaged.
    """
    table, there = store.seen(metric.name, metric.fingerprint), store.drawn()[0]
    with store.writing():
        table.mend()
        keep_definition(table.folder, metric)
        known, hashes = table.read().keys(), store.hashes()
        pictures = [(job, case, asked) for job, case, asked in _pictures(plan) if job.key in there]
        total = len(pictures)
        work = [picture for picture in pictures if row_key(picture[0], picture[2]) not in known]
        judged = 0
        report(total - len(work), total)
        rest = iter(work)
        while part := list(islice(rest, AT_ONCE)):
            images = [read_image(store.image(job.key), hashes[job.key]) for job, _, _ in part]
            seen = metric.look(images, [case for _, case, _ in part])
            table.append(
                {"key": row_key(job, asked), "case": asked, "seen": json.dumps(one, ensure_ascii=False)}
                for (job, _, asked), one in zip(part, seen, strict=True)
            )
            judged += len(part)
            report(total - len(work) + judged, total)
        table.compact()
    return Judged(metric.name, judged, total)


def _pictures(plan: Plan) -> Iterator[tuple[Job, Case, str]]:
    """Yield every picture once for each question about it, with its case and that case's digest, prompt by prompt."""
    known: set[str] = set()
    for case in plan.suite.cases:
        asked = case_digest(case)
        for contender in plan.contenders:
            for draws in plan.jobs_of(case, contender):
                for job in draws:
                    if (key := row_key(job, asked)) not in known:
                        known.add(key)
                        yield job, case, asked
