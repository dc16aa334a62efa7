"""Captions of images in reports: right or wrong and why, or the value of a score."""

from __future__ import annotations

from typing import NamedTuple

from ..metrics.base import Score
from ..scoring.results import ImageRow
from ..scoring.verdicts import is_right
from .number_format import with_unit


class Caption(NamedTuple):
    """`right` is None if the score is not a verdict or is undefined."""

    right: bool | None
    words: str


def caption(image: ImageRow, score: Score | None, *, verdict: bool) -> Caption:
    """Return the caption of an image by `score`, which is a `verdict` or not."""
    if score is None or score.name not in image.scores:
        return Caption(None, "")
    if not verdict:
        return Caption(None, with_unit(score, image.scores[score.name]))
    return Caption(is_right(image, score), ", ".join(image.faults.get(score.name, ())))
