"""What a metric is: it looks at pictures once, and what it saw is kept; scores are reckoned from that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from PIL import Image

from ..plan.cases import Case


@dataclass(frozen=True)
class Score:
    """A number that a metric gives a picture."""

    name: str
    title: str
    about: str
    higher_is_better: bool = True
    share: bool = True  # from 0 to 1, so that tables say percent


class Metric(Protocol):
    """Whoever says what is in a picture. Two metrics of one fingerprint say the same of the same picture and case."""

    @property
    def name(self) -> str: ...

    @property
    def fingerprint(self) -> str:
        """What tells it from any other: its definition, its model and that model's revision."""
        ...

    @property
    def scores(self) -> Sequence[Score]: ...

    def look(self, images: Sequence[Image.Image], cases: Sequence[Case]) -> list[dict[str, Any]]:
        """Return what is seen in each picture, as JSON can hold it. Its type may be told as `sees` (see `unbleed.schema`)."""
        ...

    def score(self, case: Case, seen: Mapping[str, Any]) -> dict[str, float]:
        """Return {score name: value} of a picture in which `seen` was seen. It loads no model.

        A score for which the case gives no ground, as the least of its entities where it has none, is left out.
        """
        ...


def sees(metric: Metric) -> Any:
    """Return the type of what a metric sees in a picture: its `sees`, or any JSON object."""
    return getattr(metric, "sees", Mapping[str, Any])
