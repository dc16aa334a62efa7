"""Runs without a model: images of one colour, and made-up outputs of metrics for them."""

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
from unbleed.bench.metrics.oracle import SCORES, faults, score
from unbleed.bench.plan.cases import Case
from unbleed.bench.plan.plan import Plan
from unbleed.bench.plan.variants import variants_from
from unbleed.bench.scoring.results import ImageRow, Results
from unbleed.bench.storage.store import PICTURES, Store, case_digest, row_key
from unbleed.bench.suites import suite
from unbleed.emoji.findings import Finding, Sighting

SKILL = 0.8  # the default probability that an entity is present


@dataclass(frozen=True)
class FakeOracle(Metric):
    """The oracle's scores, computed from stored findings."""

    fingerprint: str = "0a" * 16

    name = "oracle"
    rank = 0
    scores = SCORES

    def run(self, images: Sequence[Image.Image], cases: Sequence[Case]) -> list[dict[str, Any]]:
        raise AssertionError("a report runs no metric")

    def score(self, case: Case, output: Mapping[str, Any]) -> dict[str, float]:
        return score(case, Finding.from_json(output))

    def explain(self, case: Case, output: Mapping[str, Any]) -> list[str]:
        return faults(case, Finding.from_json(output))


@dataclass(frozen=True)
class FakeClip(Metric):
    """A metric whose scores are not fractions; one of them is undefined for prompts without colours."""

    fingerprint: str = "0c" * 16

    name = "clip"
    scores = (
        Score("clip_full", "CLIP, full prompt", "cosine of picture and prompt", fraction=False),
        Score("clip_min", "CLIP, least entity", "cosine of picture and least entity", fraction=False),
    )

    def run(self, images: Sequence[Image.Image], cases: Sequence[Case]) -> list[dict[str, Any]]:
        raise AssertionError("a report runs no metric")

    def score(self, case: Case, output: Mapping[str, Any]) -> dict[str, float]:
        coloured = any(entity.colour for entity in case.entities)
        return {"clip_full": output["value"]} | ({"clip_min": output["value"] / 2} if coloured else {})


def finding_of(case: Case, skill: float, rng: random.Random) -> Finding:
    """Return a random finding: each entity with probability `skill`, sometimes in another colour or beside a blend."""
    present = [e for e in case.entities if rng.random() < skill]
    things = [Sighting(e.noun, e.colour if rng.random() < 0.9 else "red", (0.1, 0.2, 0.3, 0.4), 0.9) for e in present]
    things += [Sighting(rng.choice(("dog", "bow")), None, (0.5, 0.5, 0.9, 0.9), 0.8)] * (rng.random() < 0.1)
    return Finding(tuple(things), ((0.1, 0.1, 0.2, 0.2),) * (rng.random() < 0.05))


def output_of(metric: Metric, case: Case, skill: float, rng: random.Random) -> dict[str, Any]:
    """Return a random output of a metric."""
    if metric.name == "oracle":
        return finding_of(case, skill, rng).to_json()
    return {"value": 0.2 + 0.1 * skill + 0.05 * rng.random()}


def plan_of(labels: str, limit: int = 6, cases: tuple[Case, ...] = (), seeds: int = 2, name: str = "emoji-pairs") -> Plan:
    chosen = suite(name).head(limit)
    return Plan(
        suite=replace(chosen, cases=cases) if cases else chosen,
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
    """Return results made by hand, all with the same image; `skills` {label: probability that an entity is present}."""
    rows = []
    for (index, case), variant, seed in product(enumerate(plan.suite.cases), plan.contenders, range(plan.seeds)):
        rng = random.Random(f"{index} {variant.label} {seed}")
        outputs = {m.name: output_of(m, case, skills.get(variant.label, SKILL), rng) for m in metrics}
        seconds = 1 + rng.random()
        scores = {name: value for m in metrics for name, value in m.score(case, outputs[m.name]).items()}
        faults = {m.scores[0].name: m.explain(case, outputs[m.name]) for m in metrics}
        rows.append(ImageRow(variant.label, index, case.prompt, seed, seconds, image, scores, outputs, faults))
    return Results(tuple(s for m in metrics for s in m.scores), tuple(rows), 0, 0)


def write_run(
    folder: Path,
    plan: Plan,
    metrics: Iterable[Metric] = (FakeOracle(),),
    *,
    skip: Callable[[str, int], bool] = lambda prompt, seed: False,
    skill: float = SKILL,
) -> Store:
    """Write a run's folder, without the images of prompts and seeds that `skip` selects."""
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
            store.outputs(metric.name, metric.fingerprint).append(
                {
                    "key": row_key(job, case_digest(case)),
                    "case": case_digest(case),
                    "seen": json.dumps(output_of(metric, case, skill, rng)),
                }
                for job, case, rng in rngs
            )
    return store
