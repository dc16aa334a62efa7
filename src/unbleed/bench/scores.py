"""How well a picture shows what was asked for: pure functions of the case and of what was seen."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from ..emoji.findings import Finding
from .cases import Case


@dataclass(frozen=True)
class Metric:
    """A score of a picture, from 0 to 1."""

    name: str
    title: str
    about: str
    higher_is_better: bool = True


METRICS = (
    Metric("all_correct", "all correct", "every entity once and in its colour, nothing else, no blend"),
    Metric("all_present", "all present", "every entity is in the picture (hard presence)"),
    Metric("present", "present", "share of the entities that are in the picture (soft presence)"),
    Metric("all_bound", "all bound", "every entity is there in its own colour"),
    Metric("bound", "bound", "share of the entities that are there in their own colour"),
    Metric("leaked", "leaked", "an entity wears the colour that was asked for another", higher_is_better=False),
    Metric("extra", "extra", "a thing that was not asked for, or one twice", higher_is_better=False),
    Metric("blend", "blend", "a thing that is none of the nouns", higher_is_better=False),
)


def score(case: Case, finding: Finding) -> dict[str, float]:
    """Return {metric name: value} for a picture of `case` in which `finding` was seen.

    A natural look counts as a colour: "a cat" that came out red is present but not bound.
    """
    seen = {entity: [t for t in finding.things if t.noun == entity.noun] for entity in case.entities}
    present = [bool(things) for things in seen.values()]
    bound = [any(t.colour == entity.colour for t in things) for entity, things in seen.items()]
    asked = {entity.colour for entity in case.entities} - {None}
    leaked = any(
        t.colour in asked - {other.colour for other in case.entities if other.noun == entity.noun}
        for entity, things in seen.items()
        for t in things
    )
    extra = Counter(t.noun for t in finding.things) - Counter(entity.noun for entity in case.entities)
    blend = bool(finding.blends)
    return {
        "all_correct": float(all(bound) and not extra and not blend),
        "all_present": float(all(present)),
        "present": sum(present) / len(present),
        "all_bound": float(all(bound)),
        "bound": sum(bound) / len(bound),
        "leaked": float(leaked),
        "extra": float(bool(extra)),
        "blend": float(blend),
    }
