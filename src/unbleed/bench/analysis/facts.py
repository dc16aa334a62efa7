"""Facts about a run: how its images were made, as data that reports render."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypedDict

from ..plan.plan import Machine, Plan
from ..plan.variants import Variant
from .ranks import RankAgreement


class SuiteFacts(TypedDict):
    name: str
    about: str
    first_seed: int


@dataclass(frozen=True)
class RunFacts:
    """How the images of a run were made. Steps, scale, precision, batch size and machine are None for imported images.

    Field names are the keys of `unbleed bench report --json`.
    """

    suite: SuiteFacts
    model: str
    model_fingerprint: str
    imported: bool
    contenders: tuple[Variant, ...]
    seeds: int  # per prompt
    steps: int | None
    guidance_scale: float | None
    dtype: str | None
    batch_size: int | None
    machine: Machine | None
    versions: Mapping[str, str]
    date: str
    prompts: int
    prompts_left_out: int
    pictures: int


@dataclass(frozen=True)
class ReportFacts(RunFacts):
    """The facts of a run, and how its report was computed."""

    title: str
    metrics: Mapping[str, str]  # {name: first 16 digits of the fingerprint}
    baseline: str
    failed: int
    groups: Mapping[str, int]  # {group: number of prompts}
    draws: int  # of the bootstrap
    draws_asked: int
    cautions: tuple[str, ...]
    runs: Mapping[str, RunFacts] = field(default_factory=dict)  # {name: facts} in a report of two runs
    agreement: RankAgreement | None = None  # of two runs with enough methods in common


def facts_of(plan: Plan, *, date: str, prompts: int, prompts_left_out: int, pictures: int) -> RunFacts:
    """Return the facts in a plan, with the date of its run and the number of prompts and images that are complete."""
    known = not plan.imported
    return RunFacts(
        suite={"name": plan.suite.name, "about": plan.suite.about, "first_seed": plan.suite.first_seed},
        model=plan.model,
        model_fingerprint=plan.model_fingerprint,
        imported=bool(plan.imported),
        contenders=plan.contenders,
        seeds=plan.seeds,
        steps=plan.steps if known else None,
        guidance_scale=plan.guidance_scale if known else None,
        dtype=plan.dtype if known else None,
        batch_size=plan.batch_size if known else None,
        machine=plan.machine if known else None,
        versions=plan.versions,
        date=date,
        prompts=prompts,
        prompts_left_out=prompts_left_out,
        pictures=pictures,
    )
