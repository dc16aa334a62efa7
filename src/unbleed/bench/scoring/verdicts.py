"""Verdicts: scores that are 0 or 1 for every picture."""

from __future__ import annotations

from collections.abc import Iterable

from ..metrics.base import Score
from .results import PictureRow


def is_verdict(score: Score, pictures: Iterable[PictureRow]) -> bool:
    """Return whether a score says of every picture that it is right or wrong, and nothing between."""
    return score.share and all(r.scores.get(score.name, 0) in (0, 1) for r in pictures)


def is_right(picture: PictureRow, score: Score) -> bool:
    """Return what a verdict says; a picture of which it says nothing counts as wrong."""
    return picture.scores.get(score.name) == (1 if score.higher_is_better else 0)
