"""What stands beneath a picture: whether it is right, and what is wrong with it, or the value of a score."""

from __future__ import annotations

from typing import NamedTuple

from ...emoji.findings import Finding
from ..metrics.base import Score
from ..metrics.oracle import faults
from ..plan.cases import Case
from ..scoring.results import PictureRow
from ..scoring.verdicts import is_right
from .number_format import said


class Caption(NamedTuple):
    """`right` is None where the score is no verdict, or there is none."""

    right: bool | None
    words: str


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
