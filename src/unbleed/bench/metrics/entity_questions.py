"""Presence of each entity by visual question answering, after the entity-missing paper (arXiv 2410.20972; metrics/*.ipynb at
357935c6).

The question "Is there any X in the picture?" is asked for each entity X. BLIP's greedy answer must be "yes"; ViLT's "yes" must
be more probable than its "no". Soft score: the fraction of entities present. Harsh score: whether all are.

Differences: X includes its modifiers, if any (the paper's prompts have none); a chat vision-language model can answer too;
TIFA's mPLUG is not available in transformers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypedDict

from PIL import Image

from ..plan import fingerprints
from ..plan.cases import Case
from .answers import Answers, answers
from .asked import entities_of
from .base import Metric, Score


class Output(TypedDict):
    entities: list[tuple[str, float]]


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
    )

    @cached_property
    def answers(self) -> Answers:
        return answers(self.model, self.revision, self.device, self.dtype)

    @property
    def fingerprint(self) -> str:
        return fingerprints.of_values(metric="entity-questions 1", model=self.answers.fingerprint, dtype=self.dtype)

    def run(self, images: Sequence[Image.Image], cases: Sequence[Case]) -> list[dict[str, Any]]:
        entities = [entities_of(case) for case in cases]
        questions = [[f"Is there any {entity} in the picture?" for entity in of_case] for of_case in entities]
        confidences = self.answers.yes_confidence(images, questions)
        return [
            {"entities": [list(pair) for pair in zip(of_case, yes, strict=True)]}
            for of_case, yes in zip(entities, confidences, strict=True)
        ]

    def score(self, case: Case, output: Mapping[str, Any]) -> dict[str, float]:
        present = [yes > 0.5 for _, yes in output["entities"]]
        return {"entities_soft": sum(present) / len(present), "entities_harsh": float(all(present))} if present else {}
