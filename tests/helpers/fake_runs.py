"""Runs without a model: pictures of one colour, and what a judge might have seen in them."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

from PIL import Image

from unbleed.bench.metrics.base import Metric, Score
from unbleed.bench.metrics.oracle import METRICS as SCORES
from unbleed.bench.metrics.oracle import score
from unbleed.bench.plan.cases import Case
from unbleed.bench.plan.plan import Plan
from unbleed.bench.plan.variants import variants_from
from unbleed.bench.scoring.results import PictureRow, Results
from unbleed.bench.storage.store import PICTURES, Store, case_digest, row_key
from unbleed.bench.suites import suite
from unbleed.emoji.findings import Finding, Sighting

SKILL = 0.8  # the chance that an entity is there, where nothing else is said


@dataclass(frozen=True)
class FakeOracle:
    """The oracle's scores of findings that lie in a store."""

    fingerprint: str = "0a" * 16

    name = "oracle"
    scores = SCORES

    def look(self, images: Sequence[Image.Image], cases: Sequence[Case]) -> list[dict[str, Any]]:
        raise AssertionError("a report looks at no picture")

    def score(self, case: Case, seen: Mapping[str, Any]) -> dict[str, float]:
        return score(case, Finding.from_json(seen))


@dataclass(frozen=True)
class FakeClip:
    """A metric whose scores are no shares, and of which one has no ground in prompts without colours."""

    fingerprint: str = "0c" * 16

    name = "clip"
    scores = (
        Score("clip_full", "CLIP, full prompt", "cosine of picture and prompt", share=False),
        Score("clip_min", "CLIP, least entity", "cosine of picture and least entity", share=False),
    )

    def look(self, images: Sequence[Image.Image], cases: Sequence[Case]) -> list[dict[str, Any]]:
        raise AssertionError("a report looks at no picture")

    def score(self, case: Case, seen: Mapping[str, Any]) -> dict[str, float]:
        coloured = any(entity.colour for entity in case.entities)
        return {"clip_full": seen["value"]} | ({"clip_min": seen["value"] / 2} if coloured else {})


def finding_of(case: Case, skill: float, rng: random.Random) -> Finding:
    """Return what a judge might see: each entity with chance `skill`, now and then in another colour or beside a blend."""
    seen = [e for e in case.entities if rng.random() < skill]
    things = [Sighting(e.noun, e.colour if rng.random() < 0.9 else "red", (0.1, 0.2, 0.3, 0.4), 0.9) for e in seen]
    things += [Sighting(rng.choice(("dog", "bow")), None, (0.5, 0.5, 0.9, 0.9), 0.8)] * (rng.random() < 0.1)
    return Finding(tuple(things), ((0.1, 0.1, 0.2, 0.2),) * (rng.random() < 0.05))


def seen_by(metric: Metric, case: Case, skill: float, rng: random.Random) -> dict[str, Any]:
    if metric.name == "oracle":
        return finding_of(case, skill, rng).to_json()
    return {"value": 0.2 + 0.1 * skill + 0.05 * rng.random()}


def plan_of(labels: str, limit: int = 6, cases: tuple[Case, ...] = (), seeds: int = 2, name: str = "emoji-pairs") -> Plan:
    asked = suite(name).head(limit)
    return Plan(
        suite=replace(asked, cases=cases) if cases else asked,
        seeds=seeds,
        contenders=variants_from(labels.split(","), "emoji"),
        model="emoji",
        model_fingerprint="f" * 64,
        steps=2,
        guidance_scale=5.0,
        dtype="float32",
        batch_size=2,
        versions={"torch": "2"},
        machine={"processor": "a small one", "device": "cpu"},
    )


def results_of(
    plan: Plan, image: Path, skills: Mapping[str, float] = {}, metrics: Sequence[Metric] = (FakeOracle(),)
) -> Results:
    """Return results made by hand, all with the same picture; `skills` {label: chance}."""
    rows = []
    for (index, case), contender, seed in product(enumerate(plan.suite.cases), plan.contenders, range(plan.seeds)):
        rng = random.Random(f"{index} {contender.label} {seed}")
        seen = {m.name: seen_by(m, case, skills.get(contender.label, SKILL), rng) for m in metrics}
        scores = {name: value for m in metrics for name, value in m.score(case, seen[m.name]).items()}
        rows.append(PictureRow(contender.label, index, case.prompt, seed, 1 + rng.random(), image, scores, seen))
    return Results(tuple(s for m in metrics for s in m.scores), tuple(rows), 0, 0)


def write_run(
    folder: Path,
    plan: Plan,
    metrics: Iterable[Metric] = (FakeOracle(),),
    *,
    skip: Callable[[str, int], bool] = lambda prompt, seed: False,
    skill: float = SKILL,
) -> Store:
    """Write a run as the store has it, but for the pictures of prompts and seeds that `skip` says were not drawn."""
    store = Store(folder)
    with store.writing():
        store.keep_plan(plan)
        cases = {case.prompt: case for case in plan.suite.cases}
        jobs = [job for job in plan.jobs() if not skip(job.prompt, job.seed)]
        for number, job in enumerate(jobs):
            path = store.image(job.key)
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (16, 16), (40, number % 256, 120)).save(path)
        store.pictures.append(
            {**dict.fromkeys(PICTURES), "key": job.key, "prompt": job.prompt, "seed": job.seed, "seconds": 1.5} for job in jobs
        )
        for metric in metrics:
            rngs = [(job, cases[job.prompt], random.Random(job.key)) for job in jobs]
            store.seen(metric.name, metric.fingerprint).append(
                {
                    "key": row_key(job, case_digest(case)),
                    "case": case_digest(case),
                    "seen": json.dumps(seen_by(metric, case, skill, rng)),
                }
                for job, case, rng in rngs
            )
    return store
