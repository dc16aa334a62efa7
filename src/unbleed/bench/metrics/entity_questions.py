"""Presence of each entity by visual question answering, after the entity-missing paper (arXiv 2410.20972; metrics/*.ipynb at
357935c6).

The question "Is there any X in the picture?" is asked for each entity X. BLIP's greedy answer must be "yes"; ViLT's "yes" must
be more probable than its "no". Soft score: the fraction of entities present. Harsh score: whether all are.

Two scores are not the paper's. For each thing that the prompt excludes ("no dogs") the same question must be answered "no"; for
each number ("two red cats") the question "Are there exactly 2 red cats in the picture?" must be answered "yes".

Differences: X includes its modifiers, if any (the paper's prompts have none); a chat vision-language model can answer too;
TIFA's mPLUG is not available in transformers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NotRequired, TypedDict

from PIL import Image

from ..plan import fingerprints
from ..plan.cases import Case
from .answers import Answers, answers
from .asked import absent_of, counted_of, entities_of
from .base import Metric, Score


class Output(TypedDict):
    entities: list[tuple[str, float]]
    absent: NotRequired[list[tuple[str, float]]]  # what the prompt excludes, with the confidence that it is there
    counted: NotRequired[list[tuple[str, float]]]


@dataclass(frozen=True)
class EntityQuestions(Metric):
    """Fraction of the entities that a question-answering model says are present, and whether all are."""

    model: str = "Salesforce/blip-vqa-base"  # or dandelin/vilt-b32-finetuned-vqa
    revision: str | None = None
    device: str = "cpu"
    dtype: str = "float32"

    name = "entity-questions"
    output_type = Output
    scores = (
        Score("entities_soft", "entities, soft", "fraction of the entities that are present according to the answers"),
        Score("entities_harsh", "entities, harsh", "every entity is present according to the answers"),
        Score("absent_kept", "kept out", "fraction of the things the prompt excludes that are absent according to the answers"),
        Score("counted", "counted", "fraction of the numbers in the prompt that are right according to the answers"),
    )

    @cached_property
    def answers(self) -> Answers:
        return answers(self.model, self.revision, self.device, self.dtype)

    @property
    def fingerprint(self) -> str:
        return fingerprints.of_values(metric="entity-questions 2", model=self.answers.fingerprint, dtype=self.dtype)

    def run(self, images: Sequence[Image.Image], cases: Sequence[Case]) -> list[dict[str, Any]]:
        asked = [(entities_of(case), absent_of(case), counted_of(case)) for case in cases]
        questions = [
            [
                *(f"Is there any {thing} in the picture?" for thing in (*entities, *absent)),
                *(f"Are there exactly {phrase} in the picture?" for phrase in counted),
            ]
            for entities, absent, counted in asked
        ]
        outputs = []
        for things, confidences in zip(asked, self.answers.yes_confidence(images, questions), strict=True):
            yes = iter(confidences)
            pairs = [[[thing, next(yes)] for thing in of_kind] for of_kind in things]
            outputs.append(dict(zip(("entities", "absent", "counted"), pairs, strict=True)))
        return outputs

    def score(self, case: Case, output: Mapping[str, Any]) -> dict[str, float]:
        present, absent, counted = (
            [yes > 0.5 for _, yes in output.get(kind, ())] for kind in ("entities", "absent", "counted")
        )
        scores = {"entities_soft": sum(present) / len(present), "entities_harsh": float(all(present))} if present else {}
        if absent:
            scores["absent_kept"] = 1 - sum(absent) / len(absent)
        if counted:
            scores["counted"] = sum(counted) / len(counted)
        return scores
