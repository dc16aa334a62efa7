"""Cases: prompts and the entities that their images should show."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ...emoji.sprites import COLOURS
from ...errors import BenchError


@dataclass(frozen=True)
class Expected:
    """An entity that the image should show exactly once."""

    noun: str
    modifiers: tuple[str, ...] = ()

    @property
    def colour(self) -> str | None:
        """The modifier that is one of the 11 colours of the emoji suites; None for the natural look or any colour."""
        return next((modifier for modifier in self.modifiers if modifier in COLOURS), None)

    def __str__(self) -> str:
        return " ".join((*self.modifiers, self.noun))


@dataclass(frozen=True)
class Case:
    """A prompt, the entities its image should show (empty if unknown), and the groups it belongs to.

    `annotations` hold data for a single metric, such as DSG's questions or GenEval's objects.
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
    """First seed of its images. Validation suites start elsewhere, so that they share no seed with test suites."""

    def head(self, count: int | None) -> Suite:
        """Return the suite with `count` cases only, picked by a shuffle with a fixed seed; None keeps all of them."""
        if count is None or count >= len(self.cases):
            return self
        if count < 1:
            raise BenchError(f"a limit of {count} prompts; expected at least 1")
        shuffled = random.Random(0).sample(self.cases, len(self.cases))
        return Suite(self.name, self.about, tuple(shuffled[:count]), self.first_seed)
