"""The plan of a run, and the jobs that follow from it: pure data."""

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

MOST = 2**62  # of any count
MAX_SEEDS = 1000
"""Draw j of seed k is k + 1000 j, so that no two draws of a prompt share a seed."""


class Device(TypedDict):
    device: str  # cpu or cuda; "" where pictures were imported


class Machine(Device, total=False):
    """What the seconds of a picture depend on."""

    processor: str
    cores: int | None
    threads: int  # of a process
    accelerator: str | None


@dataclass(frozen=True)
class Plan:
    """All that a run is to draw, and where; or what was imported, of which steps, scale, precision and machine say nothing."""

    suite: Suite
    seeds: int  # per prompt
    contenders: tuple[Variant, ...]
    model: str
    model_fingerprint: str
    steps: int
    guidance_scale: float
    dtype: str
    batch_size: int
    versions: Mapping[str, str]
    machine: Machine
    imported: Mapping[str, Mapping[str, Mapping[str, str]]] = field(default_factory=dict)
    """{contender: {prompt: {seed: sha256 of the file}}} of pictures that came from elsewhere; empty where they are drawn."""

    @property
    def title(self) -> str:
        return f"{self.suite.name}, imported" if self.imported else f"{self.suite.name} on {self.model}"

    @cached_property
    def setups(self) -> dict[str, Setup]:
        """The setup of each contender, {label: setup}; contenders that differ in the number of draws alone share theirs."""
        return {
            contender.label: Setup(
                method=contender.method,
                settings=contender.settings,
                steps=self.steps,
                guidance_scale=self.guidance_scale,
                model=self.model,
                model_fingerprint=self.model_fingerprint,
                dtype=self.dtype,
                device=self.machine["device"],
                batch_size=self.batch_size,
                versions=self.versions,
            )
            for contender in self.contenders
        }

    def seeds_of(self, draws: int) -> list[int]:
        """Return the seeds of a prompt: of every first draw, then of every second."""
        return [self.suite.first_seed + MAX_SEEDS * draw + seed for draw in range(draws) for seed in range(self.seeds)]

    def jobs_of(self, case: Case, contender: Variant) -> list[list[Job]]:
        """Return the jobs of a prompt and a contender: for each seed, one for each draw."""
        setup, first = self.setups[contender.label], self.suite.first_seed
        if self.imported:
            files = self.imported[contender.label][case.prompt]
            return [[setup.job(case.prompt, int(seed), file)] for seed, file in files.items()]
        return [
            [setup.job(case.prompt, first + MAX_SEEDS * draw + seed) for draw in range(contender.draws)]
            for seed in range(self.seeds)
        ]

    def batches(self) -> Iterator[Batch]:
        """Yield every job once, in the batches in which they are drawn, the contenders in turn.

        They go prompt by prompt, so that a run that was stopped can be compared all the same.
        """
        if self.imported:
            for case in self.suite.cases:
                yield from (tuple(of_seed) for contender in self.contenders for of_seed in self.jobs_of(case, contender))
            return
        draws: dict[str, tuple[Setup, int]] = {}
        for contender in self.contenders:
            setup = self.setups[contender.label]
            draws[setup.digest] = (setup, max(contender.draws, draws.get(setup.digest, (setup, 0))[1]))

        def of(setup: Setup, draws: int) -> Iterator[tuple[int, Batch]]:
            seeds = self.seeds_of(draws)
            prompts = dict.fromkeys(case.prompt for case in self.suite.cases)  # some suites say one twice
            jobs = (setup.job(prompt, seed) for prompt in prompts for seed in seeds)
            for number, batch in enumerate(in_batches(jobs, self.batch_size)):
                yield number * self.batch_size // len(seeds), batch  # the first prompt that it has to do with

        for _, batch in heapq.merge(*(of(*one) for one in draws.values()), key=lambda pair: pair[0]):
            yield batch

    def jobs(self) -> Iterator[Job]:
        for batch in self.batches():
            yield from batch

    def to_json(self) -> dict[str, Any]:
        """Return the plan with its cases, so that it says what was asked even if a suite's rule should change."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Plan:
        """Return the plan of `to_json`; raise `SchemaError` naming the field that cannot be."""
        plan = check(values, cls)
        plan.check()
        return plan

    def check(self) -> None:
        """Raise `SchemaError` for values that no run could have."""
        for name, value, most in (
            ("seeds", self.seeds, MOST if self.imported else MAX_SEEDS),
            ("batch_size", self.batch_size, MOST),
            ("suite.first_seed", self.suite.first_seed + 1, MOST),
            ("the number of suite.cases", len(self.suite.cases), MOST),
            ("the number of contenders", len(self.contenders), MOST),
        ):
            if not 1 <= value <= most:
                raise SchemaError(f"is {value}; expected {f'1 to {most}' if most < MOST else 'at least 1'}").inside(f".{name}")
        labels = [contender.label for contender in self.contenders]
        for number, contender in enumerate(self.contenders):
            if not 1 <= contender.draws <= MAX_DRAWS:
                raise SchemaError(f"is {contender.draws}; expected 1 to {MAX_DRAWS}").inside(f".contenders[{number}].draws")
            if contender.label in labels[:number]:
                raise SchemaError(f"is {shown(contender.label)} once more").inside(f".contenders[{number}].label")
        seeds: set[str] = set()
        for label in labels if self.imported else ():
            for case in self.suite.cases:
                files = self.imported.get(label, {}).get(case.prompt, {})
                seeds = seeds or set(files)
                if len(files) != self.seeds or set(files) != seeds or not all(re.fullmatch("[0-9]{1,18}", s) for s in files):
                    raise SchemaError(
                        f"has the seeds {shown(', '.join(files))} of {shown(case.prompt)} by {shown(label)}; expected the "
                        f"same {self.seeds} of every prompt and method"
                    ).inside(".imported")


def check_counts(seeds: int, batch_size: int | None) -> None:
    if not 1 <= seeds <= MAX_SEEDS:
        raise BenchError(f"{seeds} seeds per prompt; expected 1 to {MAX_SEEDS}")
    if batch_size is not None and batch_size < 1:
        raise BenchError(f"a batch of {batch_size} pictures; expected at least 1")
