"""Pictures to look at: those that a method spoilt most, and those that it mended most, against the baseline."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ..scoring.results import PictureRow
from .summary import Report

LISTED = 50  # of each kind and method


@dataclass(frozen=True)
class Change:
    """The baseline's picture and the method's, and how much better the primary score says that the method's is."""

    before: PictureRow
    after: PictureRow
    gain: float


@dataclass(frozen=True)
class Changes:
    """The most lost and the most won pictures of a method, the most first."""

    lost: tuple[Change, ...]
    won: tuple[Change, ...]


def changes(report: Report) -> Mapping[str, Changes]:
    """Return {method: its most lost and most won pictures}, of every method but the baseline.

    Of equals those that a lot picks, which is always the same; a prompt's second picture comes after all first ones of others.
    """
    score = report.primary
    if score is None:
        return {}
    sign = 1 if score.higher_is_better else -1
    before = {(r.case, r.seed): r for r in report.pictures if r.contender == report.baseline}
    found: dict[str, list[Change]] = {c.label: [] for c in report.contenders if c.label != report.baseline}
    for after in report.pictures:
        own = before[after.case, after.seed]
        if after.contender in found and score.name in own.scores and score.name in after.scores:
            gain = sign * (after.scores[score.name] - own.scores[score.name])
            if gain:
                found[after.contender].append(Change(own, after, gain))
    return {
        label: Changes(_most(change for change in of if change.gain < 0), _most(change for change in of if change.gain > 0))
        for label, of in found.items()
    }


def _most(of: Iterable[Change]) -> tuple[Change, ...]:
    found = list(of)
    random.Random(0).shuffle(found)
    alike = Counter[tuple[int, float]]()  # changes so far of one prompt and one size
    ranked: list[tuple[float, int, Change]] = []
    for change in found:
        kind = (change.before.case, change.gain)
        ranked.append((-abs(change.gain), alike[kind], change))
        alike[kind] += 1
    ranked.sort(key=lambda one: one[:2])
    return tuple(change for *_, change in ranked[:LISTED])
