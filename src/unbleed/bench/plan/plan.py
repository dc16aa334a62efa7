"""Plans: what a run samples, as pure data, and the jobs that follow from it."""

from __future__ import annotations

import heapq
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any, TypedDict

from ...errors import BenchError
from ...schema import SchemaError, check, shown
from .cases import Case, Suite
from .jobs import Batch, Job, Setup, in_batches
from .variants import MAX_DRAWS, Variant

MAX_COUNT = 2**62
MAX_SEEDS = 1000
"""Draw j of a best-of-N for seed k uses seed k + 1000 j, so that no two draws of a prompt share a seed."""


class Device(TypedDict):
    device: str  # cpu or cuda; "" for imported images


class Machine(Device, total=False):
    """Hardware that the time per image depends on."""

    processor: str
    cores: int | None
    threads: int  # per process
    accelerator: str | None


@dataclass(frozen=True)
class Plan:
    """What a run samples, how, and on which machine. For imported images, steps, scale, precision and machine are empty."""

    suite: Suite
    seeds: int  # per prompt
    contenders: tuple[Variant, ...]  # the variants compared; field names are the keys of run.json
    model: str
    model_fingerprint: str
    steps: int
    guidance_scale: float | None
    dtype: str
    batch_size: int
    versions: Mapping[str, str]
    machine: Machine
    imported: Mapping[str, Mapping[str, Mapping[str, str]]] = field(default_factory=dict)
    """{variant: {prompt: {seed: sha256 of the file}}} of imported images; empty if the images are sampled here."""

    @property
    def title(self) -> str:
        return f"{self.suite.name}, imported" if self.imported else f"{self.suite.name} on {self.model}"

    @cached_property
    def setups(self) -> dict[str, Setup]:
        """The setup of each variant, {label: setup}. Variants that differ only in their number of draws share a setup."""
        return {
            variant.label: Setup(
                method=variant.method,
                settings=variant.settings,
                steps=self.steps,
                guidance_scale=self.guidance_scale,
                model=self.model,
                model_fingerprint=self.model_fingerprint,
                dtype=self.dtype,
                device=self.machine["device"],
                batch_size=self.batch_size,
                versions=self.versions,
            )
            for variant in self.contenders
        }

    def seeds_of(self, draws: int) -> list[int]:
        """Return the seeds of a prompt: those of all first draws, then those of all second draws, and so on."""
        return [self.suite.first_seed + MAX_SEEDS * draw + seed for draw in range(draws) for seed in range(self.seeds)]

    def jobs_of(self, case: Case, variant: Variant) -> list[list[Job]]:
        """Return the jobs of a prompt and a variant: for each seed, one per draw."""
        setup, first = self.setups[variant.label], self.suite.first_seed
        if self.imported:
            files = self.imported[variant.label][case.prompt]
            return [[setup.job(case.prompt, int(seed), file)] for seed, file in files.items()]
        return [
            [setup.job(case.prompt, first + MAX_SEEDS * draw + seed) for draw in range(variant.draws)]
            for seed in range(self.seeds)
        ]

    def batches(self) -> Iterator[Batch]:
        """Yield every job once, in the batches in which they are sampled, alternating between variants.

        Batches go prompt by prompt, so that the finished prompts of a stopped run can be compared.
        """
        if self.imported:
            for case in self.suite.cases:
                yield from (tuple(draws) for variant in self.contenders for draws in self.jobs_of(case, variant))
            return
        draws: dict[str, tuple[Setup, int]] = {}
        for variant in self.contenders:
            setup = self.setups[variant.label]
            draws[setup.digest] = (setup, max(variant.draws, draws.get(setup.digest, (setup, 0))[1]))

        def batches_of(setup: Setup, draws: int) -> Iterator[tuple[int, Batch]]:
            seeds = self.seeds_of(draws)
            prompts = dict.fromkeys(case.prompt for case in self.suite.cases)  # some suites repeat a prompt
            jobs = (setup.job(prompt, seed) for prompt in prompts for seed in seeds)
            for number, batch in enumerate(in_batches(jobs, self.batch_size)):
                yield number * self.batch_size // len(seeds), batch  # index of the batch's first prompt

        for _, batch in heapq.merge(*(batches_of(*pair) for pair in draws.values()), key=lambda pair: pair[0]):
            yield batch

    def jobs(self) -> Iterator[Job]:
        for batch in self.batches():
            yield from batch

    def to_json(self) -> dict[str, Any]:
        """Return the plan as JSON, including the cases, so that it does not depend on later changes to a suite."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Plan:
        """Return the plan from the output of `to_json`; raise `SchemaError` naming an invalid field."""
        plan = check(values, cls)
        plan.check()
        return plan

    def check(self) -> None:
        """Raise `SchemaError` for values that no run can have."""
        for name, value, most in (
            ("seeds", self.seeds, MAX_COUNT if self.imported else MAX_SEEDS),
            ("batch_size", self.batch_size, MAX_COUNT),
            ("suite.first_seed", self.suite.first_seed + 1, MAX_COUNT),
            ("the number of suite.cases", len(self.suite.cases), MAX_COUNT),
            ("the number of contenders", len(self.contenders), MAX_COUNT),
        ):
            if not 1 <= value <= most:
                expected = f"1 to {most}" if most < MAX_COUNT else "at least 1"
                raise SchemaError(f"is {value}; expected {expected}").inside(f".{name}")
        labels = [variant.label for variant in self.contenders]
        for number, variant in enumerate(self.contenders):
            if not 1 <= variant.draws <= MAX_DRAWS:
                raise SchemaError(f"is {variant.draws}; expected 1 to {MAX_DRAWS}").inside(f".contenders[{number}].draws")
            if variant.label in labels[:number]:
                raise SchemaError(f"is a second {shown(variant.label)}").inside(f".contenders[{number}].label")
        seeds: set[str] = set()
        for label in labels if self.imported else ():
            for case in self.suite.cases:
                files = self.imported.get(label, {}).get(case.prompt, {})
                seeds = seeds or set(files)
                if len(files) != self.seeds or set(files) != seeds or not all(re.fullmatch("[0-9]{1,18}", s) for s in files):
                    raise SchemaError(
                        f"has the seeds {shown(', '.join(files))} for {shown(case.prompt)} by {shown(label)}; expected the "
                        f"same {self.seeds} for every prompt and method"
                    ).inside(".imported")


def check_counts(seeds: int, batch_size: int | None) -> None:
    if not 1 <= seeds <= MAX_SEEDS:
        raise BenchError(f"{seeds} seeds per prompt; expected 1 to {MAX_SEEDS}")
    if batch_size is not None and batch_size < 1:
        raise BenchError(f"batch size {batch_size}; expected at least 1")
