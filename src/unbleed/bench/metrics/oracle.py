"""The emoji oracle as a metric: scores computed from the things it finds in an image of the embedded model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from PIL import Image

from ...emoji.findings import Finding
from ...emoji.oracle import ORACLE_FOLDER, Oracle
from ...emoji.sprites import NOUNS
from ...prompt import parse
from ..plan.cases import Case, Expected
from .base import Metric, Score
from .models import to_device

SCORES = (
    Score("all_correct", "all correct", "every entity once and in its colour, nothing else, no blend"),
    Score("all_present", "all present", "every entity is in the picture (hard presence)"),
    Score("present", "present", "fraction of the entities that are in the picture (soft presence)"),
    Score("all_bound", "all bound", "every entity is present in its own colour"),
    Score("bound", "bound", "fraction of the entities that are present in their own colour"),
    Score("leaked", "leaked", "an entity has the colour that the prompt gives another", higher_is_better=False),
    Score("extra", "extra", "a thing that the prompt does not name, or a second copy of one", higher_is_better=False),
    Score("blend", "blend", "a thing that is none of the nouns", higher_is_better=False),
)


@lru_cache(maxsize=4096)
def named(prompt: str) -> tuple[Expected, ...]:
    """Return what an image of a prompt should show, "two cats" as two entities; nothing if the oracle does not know all of it.

    >>> [str(entity) for entity in named("two red cats and a blue bench, no dogs")]
    ['red cat', 'red cat', 'blue bench']
    >>> named("a castle")
    ()
    """
    found = []
    for entity in parse(prompt).entities:
        noun = next((noun for noun in NOUNS if entity.noun.lower() in (noun, f"{noun}s", f"{noun}es")), None)
        if noun is None:
            return ()
        found += [Expected(noun, tuple(entity.modifiers))] * (entity.count or 1)
    return tuple(found)


def score(case: Case, finding: Finding) -> dict[str, float]:
    """Return {score name: value} for an image of `case` in which the oracle found `finding`.

    The natural look counts as a colour: a red cat for "a cat" is present but not bound.
    """
    found = {entity: [t for t in finding.things if t.noun == entity.noun] for entity in case.entities}
    times = Counter(case.entities)
    present = [number < len(found[entity]) for entity, count in times.items() for number in range(count)]
    in_colour = {entity: sum(t.colour == entity.colour for t in things) for entity, things in found.items()}
    bound = [number < in_colour[entity] for entity, count in times.items() for number in range(count)]
    asked = {entity.colour for entity in case.entities} - {None}
    leaked = any(
        t.colour in asked - {other.colour for other in case.entities if other.noun == entity.noun}
        for entity, things in found.items()
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


def faults(case: Case, finding: Finding) -> list[str]:
    """Return what is wrong with an image, in a few words each; empty if and only if it is all correct."""
    wrong: list[str] = []
    for entity, count in Counter(case.entities).items():
        colours = [thing.colour for thing in finding.things if thing.noun == entity.noun]
        if not colours:
            wrong.append(f"no {entity.noun}")
        elif entity.colour not in colours:
            wrong.append(f"{entity.noun} is {colours[0]}" if colours[0] else f"{entity.noun} not {entity.colour}")
        elif colours.count(entity.colour) < count:
            wrong.append(f"{colours.count(entity.colour)} of {count} {entity}")
    extra = Counter(t.noun for t in finding.things) - Counter(e.noun for e in case.entities)
    wrong += [f"extra {noun}" if count == 1 else f"{count} extra {noun}" for noun, count in extra.items()]
    return wrong + ["blend"] * bool(finding.blends)


@dataclass(frozen=True)
class OracleMetric(Metric):
    """The shipped oracle, or one in a folder."""

    model: str = str(ORACLE_FOLDER)
    device: str = "cpu"

    name = "oracle"
    rank = 0  # knows the embedded model's things exactly
    output_type = Finding
    scores = SCORES

    @cached_property
    def oracle(self) -> Oracle:
        oracle = Oracle.load(Path(self.model))
        to_device(oracle.network, self.device)
        return oracle

    @property
    def fingerprint(self) -> str:
        return self.oracle.fingerprint

    def run(self, images: Sequence[Image.Image], cases: Sequence[Case]) -> list[dict[str, Any]]:
        return [finding.to_json() for finding in self.oracle.look(images)]

    def score(self, case: Case, output: Mapping[str, Any]) -> dict[str, float]:
        """A case without entities is judged by what its prompt names: what "no dogs" excludes is extra. It has no scores if the
        oracle does not know all of that."""
        case = replace(case, entities=case.entities or named(case.prompt))
        return score(case, Finding.from_json(output)) if case.entities else {}

    def explain(self, case: Case, output: Mapping[str, Any]) -> list[str]:
        case = replace(case, entities=case.entities or named(case.prompt))
        return faults(case, Finding.from_json(output)) if case.entities else []
