"""What one rater is shown, in which order and on which sides: seeded by the study and the rater's number."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from .study import Study

REPEAT_AFTER = 10
"""Trials between a pair and its repetition, at least, as far as there are so many."""


@dataclass(frozen=True)
class Trial:
    """One screen of the page.

    Args:
        kind: `pair` counts; `repeat` is a pair of this rater once more, with sides exchanged; `catch` has a known answer.
        index: in `Study.pairs`, or of a catch in `Study.catches`.
        left: which of the two images is on the left, 0 or 1.
    """

    kind: Literal["pair", "repeat", "catch"]
    index: int
    left: Literal[0, 1]


def trials_of(study: Study, rater: int) -> tuple[Trial, ...]:
    """Return the trials of the rater with this number, from 0.

    Raters take turns through one shuffled list of all pairs, each beginning in the middle of the pairs of the one before. So
    pairs are seen about equally often, and neighbours share half of theirs, which shows how far they agree. Of two methods, a
    rater has either on the left equally often, or once more, so that a rater who always says left favours neither.
    """
    order = random.Random(f"{study.seed} pairs").sample(range(len(study.pairs)), len(study.pairs))
    rng = random.Random(f"{study.seed} rater {rater}")
    count = study.pairs_per_rater
    first = rater * ((count + 1) // 2)
    own = [order[(first + step) % len(order)] for step in range(count)]
    rng.shuffle(own)
    pairs = [Trial("pair", index, left) for index, left in zip(own, _sides(study, own, rng), strict=True)]
    placed = [(float(position), trial) for position, trial in enumerate(pairs)]
    early = max((count + 1) // 2, study.repeats)
    for position in rng.sample(range(early), study.repeats):
        again = Trial("repeat", pairs[position].index, _other(pairs[position].left))
        placed.append((rng.uniform(min(position + REPEAT_AFTER, count), count), again))
    for index in range(len(study.catches)):
        placed.append((rng.uniform(0, count), Trial("catch", index, rng.choice((0, 1)))))
    return tuple(trial for _, trial in sorted(placed, key=lambda one: one[0]))


def _sides(study: Study, own: Sequence[int], rng: random.Random) -> list[Literal[0, 1]]:
    sides: dict[int, Literal[0, 1]] = {}
    for methods in sorted({study.pairs[index].methods for index in own}):
        alike = [index for index in own if study.pairs[index].methods == methods]
        rng.shuffle(alike)
        first = rng.choice((0, 1))
        sides |= {index: first if number % 2 else _other(first) for number, index in enumerate(alike)}
    return [sides[index] for index in own]


def _other(side: Literal[0, 1]) -> Literal[0, 1]:
    return 0 if side else 1
