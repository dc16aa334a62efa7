"""Base class of metrics: `run` uses the model once per image, and `score` computes numbers from its stored output."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image

from ..plan.cases import Case


@dataclass(frozen=True)
class Score:
    """A number that a metric assigns to an image."""

    name: str
    title: str
    about: str
    higher_is_better: bool = True
    fraction: bool = True  # from 0 to 1; reports show percent


class Metric(ABC):
    """A metric. Metrics with equal fingerprints give equal outputs for the same image and case."""

    name: str
    fingerprint: str
    """A hash of the metric's definition, its settings, its model and the model's revision."""
    scores: Sequence[Score]
    """The scores, the most important first; empty for a metric of sets of images."""
    rank: int = 1
    """Position among the metrics of a report: the lowest comes first and decides which method is best."""
    output_type: Any = Mapping[str, Any]
    """Type of an output (see `unbleed.schema`), to check stored ones; by default any JSON object."""

    @abstractmethod
    def run(self, images: Sequence[Image.Image], cases: Sequence[Case]) -> list[dict[str, Any]]:
        """Return the model's output for each image and its case, as JSON values."""

    @abstractmethod
    def score(self, case: Case, output: Mapping[str, Any]) -> dict[str, float]:
        """Return {score name: value} for an output of `run`, without loading a model.

        Scores that are undefined for the case are omitted, such as the lowest entity similarity of a case without entities.
        """

    def explain(self, case: Case, output: Mapping[str, Any]) -> list[str]:
        """Return what is wrong with an image by the first score, in a few words each; empty if nothing is or it is unknown."""
        return []
