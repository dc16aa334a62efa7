"""Running a metric over the images of a plan; its outputs are stored, so that each image is scored once."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice

from ..metrics.base import Metric
from ..plan.cases import Case
from ..plan.jobs import Job
from ..plan.plan import Plan
from ..storage.images import read_image
from ..storage.store import Store, case_digest, row_key
from .metric_config import keep_config

BATCH = 32  # images passed to a metric at once


@dataclass(frozen=True)
class MetricRun:
    """Counts of a metric's pass over a plan."""

    metric: str
    scored: int  # images of this pass
    images: int  # all images of the plan that exist


def run_metric(
    store: Store, plan: Plan, metric: Metric, *, on_progress: Callable[[int, int], None] = lambda done, total: None
) -> MetricRun:
    """Run a metric on every image of the plan without stored output, and store its outputs.

    An interrupted pass resumes. Raises `BenchError` for a missing or damaged image.
    """
    table, done = store.outputs(metric.name, metric.fingerprint), store.state().done
    with store.writing():
        table.mend()
        keep_config(table.folder, metric)
        known, hashes = table.read().keys(), store.hashes()
        images = [(job, case, digest) for job, case, digest in _images(plan) if job.key in done]
        work = [(job, case, digest) for job, case, digest in images if row_key(job, digest) not in known]
        scored = 0
        on_progress(len(images) - len(work), len(images))
        rest = iter(work)
        while part := list(islice(rest, BATCH)):
            opened = [read_image(store.image(job.key), hashes[job.key]) for job, _, _ in part]
            outputs = metric.run(opened, [case for _, case, _ in part])
            table.append(
                {"key": row_key(job, digest), "case": digest, "seen": json.dumps(output, ensure_ascii=False)}
                for (job, _, digest), output in zip(part, outputs, strict=True)
            )
            scored += len(part)
            on_progress(len(images) - len(work) + scored, len(images))
        table.compact()
    return MetricRun(metric.name, scored, len(images))


def _images(plan: Plan) -> Iterator[tuple[Job, Case, str]]:
    """Yield (job, case, digest of the case), prompt by prompt; each pair of image and digest once."""
    known: set[str] = set()
    for case in plan.suite.cases:
        digest = case_digest(case)
        for variant in plan.contenders:
            for draws in plan.jobs_of(case, variant):
                for job in draws:
                    if (key := row_key(job, digest)) not in known:
                        known.add(key)
                        yield job, case, digest
