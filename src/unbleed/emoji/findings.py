"""The answer of the oracle for one image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ..schema import check

Box = tuple[float, float, float, float]  # left, top, right, bottom, as fractions of the image's side


@dataclass(frozen=True)
class Sighting:
    """One detected thing: its noun, its colour (None: the natural look), its box, and the confidence (0 to 1)."""

    noun: str
    colour: str | None
    box: Box
    confidence: float


@dataclass(frozen=True)
class Finding:
    """All that was detected in an image: things of the 24 nouns, and boxes of things that are none of them."""

    things: tuple[Sighting, ...] = ()
    blends: tuple[Box, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Finding:
        return check(values, cls)
