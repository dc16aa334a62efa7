"""What stands beneath a picture: whether it is right, and what is wrong with it, or the value of a score."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from ...emoji.findings import Finding
from ..metrics.base import Score
from ..plan.cases import Case
from ..scoring.results import PictureRow
from .number_format import said


class Caption(NamedTuple):
    """`right` is None where the score is no verdict, or there is none."""

    right: bool | None
    words: str


def is_verdict(score: Score, pictures: Iterable[PictureRow]) -> bool:
    """Return whether a score says of every picture that it is right or wrong, and nothing between."""
    return score.share and all(r.scores.get(score.name, 0) in (0, 1) for r in pictures)


def is_right(picture: PictureRow, score: Score) -> bool:
    """Return what a verdict says; a picture of which it says nothing counts as wrong."""
    return picture.scores.get(score.name) == (1 if score.higher_is_better else 0)


def caption(case: Case, picture: PictureRow, score: Score | None, *, verdict: bool) -> Caption:
    """Return what stands beneath a picture, by a `score` that is a `verdict` or not."""
    if score is None or score.name not in picture.scores:
        return Caption(None, "")
    if not verdict:
        return Caption(None, said(score, picture.scores[score.name]))
    if score.name == "all_correct" and "oracle" in picture.seen:
        wrong = faults(case, Finding.from_json(picture.seen["oracle"]))
        return Caption(not wrong, ", ".join(wrong))
    return Caption(is_right(picture, score), "")


def faults(case: Case, finding: Finding) -> list[str]:
    """Return what is wrong with a picture, in short words; nothing exactly when it counts as all correct."""
    wrong: list[str] = []
    for entity in case.entities:
        colours = [thing.colour for thing in finding.things if thing.noun == entity.noun]
        if not colours:
            wrong.append(f"no {entity.noun}")
        elif entity.colour not in colours:
            wrong.append(f"{entity.noun} is {colours[0]}" if colours[0] else f"{entity.noun} not {entity.colour}")
    extra = Counter(t.noun for t in finding.things) - Counter(e.noun for e in case.entities)
    wrong += [f"extra {noun}" if count == 1 else f"{count} extra {noun}" for noun, count in extra.items()]
    return wrong + ["blend"] * bool(finding.blends)
