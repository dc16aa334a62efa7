"""What a benchmark asks for: prompts, and what their pictures should show."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ...emoji.sprites import COLOURS
from ...errors import BenchError


@dataclass(frozen=True)
class Expected:
    """An entity that the picture should show once."""

    noun: str
    modifiers: tuple[str, ...] = ()

    @property
    def colour(self) -> str | None:
        """The modifier that is one of the 11 colours of the emoji suites; None: the natural look, or any."""
        return next((modifier for modifier in self.modifiers if modifier in COLOURS), None)

    def __str__(self) -> str:
        return " ".join((*self.modifiers, self.noun))


@dataclass(frozen=True)
class Case:
    """A prompt, the entities that its picture should show where they are known, and the groups that it is counted in.

    `annotations` hold what one metric needs and no other: the questions of DSG, the boxes of GenEval.
    """

    prompt: str
    entities: tuple[Expected, ...] = ()
    groups: tuple[str, ...] = ()
    annotations: Mapping[str, Any] = field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class Suite:
    """A named list of cases."""

    name: str
    about: str
    cases: tuple[Case, ...]
    first_seed: int = 0
    """Where the seeds of its pictures begin, so that a validation suite shares none with a test suite."""

    def head(self, count: int | None) -> Suite:
        """Return the suite cut to the first `count` cases of a shuffle by a fixed seed; to all of them for None."""
        if count is None or count >= len(self.cases):
            return self
        if count < 1:
            raise BenchError(f"a limit of {count} prompts; expected at least 1")
        shuffled = random.Random(0).sample(self.cases, len(self.cases))
        return Suite(self.name, self.about, tuple(shuffled[:count]), self.first_seed)
