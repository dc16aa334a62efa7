"""Verdicts: scores that are 0 or 1 for every image, so that an image is right or wrong."""

from __future__ import annotations

from collections.abc import Iterable

from ..metrics.base import Score
from .results import ImageRow


def is_verdict(score: Score, images: Iterable[ImageRow]) -> bool:
    """Return whether a score is 0 or 1 for every image."""
    return score.fraction and all(row.scores.get(score.name, 0) in (0, 1) for row in images)


def is_right(image: ImageRow, score: Score) -> bool:
    """Return whether a verdict says that an image is right. An image without the score counts as wrong."""
    return image.scores.get(score.name) == (1 if score.higher_is_better else 0)
