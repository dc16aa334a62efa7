"""The images that a method made most worse and most better than the baseline's, for inspection."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ..scoring.results import ImageRow
from .summary import Report

LISTED = 50  # per method and direction


@dataclass(frozen=True)
class Change:
    """The baseline's image, the method's image, and the gain in the primary score; a positive gain is better."""

    before: ImageRow
    after: ImageRow
    gain: float


@dataclass(frozen=True)
class Changes:
    """The images of a method with the largest losses and gains, the largest first."""

    lost: tuple[Change, ...]
    won: tuple[Change, ...]


def changes(report: Report) -> Mapping[str, Changes]:
    """Return {method: its largest losses and gains} for every method but the baseline.

    Ties are broken by a shuffle with a fixed seed; a prompt's second image comes after the first ones of all other prompts.
    """
    score = report.primary
    if score is None:
        return {}
    sign = 1 if score.higher_is_better else -1
    before = {(row.case, row.seed): row for row in report.images if row.method == report.baseline}
    found: dict[str, list[Change]] = {c.label: [] for c in report.contenders if c.label != report.baseline}
    for after in report.images:
        own = before[after.case, after.seed]
        if after.method in found and score.name in own.scores and score.name in after.scores:
            gain = sign * (after.scores[score.name] - own.scores[score.name])
            if gain:
                found[after.method].append(Change(own, after, gain))
    return {
        label: Changes(
            _largest(change for change in of if change.gain < 0), _largest(change for change in of if change.gain > 0)
        )
        for label, of in found.items()
    }


def _largest(changes: Iterable[Change]) -> tuple[Change, ...]:
    found = list(changes)
    random.Random(0).shuffle(found)
    ties = Counter[tuple[int, float]]()  # changes so far of one prompt and one size
    ranked: list[tuple[float, int, Change]] = []
    for change in found:
        kind = (change.before.case, change.gain)
        ranked.append((-abs(change.gain), ties[kind], change))
        ties[kind] += 1
    ranked.sort(key=lambda item: item[:2])
    return tuple(change for *_, change in ranked[:LISTED])
