"""Is there any X in the picture? After the entity-missing paper (arXiv 2410.20972; metrics/*.ipynb at 357935c6).

For each entity X the question "Is there any X in the picture?" is put to BLIP, whose greedy answer must be "yes", or to ViLT,
whose "yes" must be surer than its "no". Soft: the share of the entities that are there. Harsh: whether all are.

Not theirs: X carries its modifiers where the prompt has some (the paper's prompts have none); a vision-language model may
answer too; TIFA's mPLUG cannot be had in transformers.
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
from .base import Score


class Sees(TypedDict):
    entities: list[tuple[str, float]]


@dataclass(frozen=True)
class EntityQuestions:
    model: str = "Salesforce/blip-vqa-base"  # or dandelin/vilt-b32-finetuned-vqa
    revision: str | None = None
    device: str = "cpu"
    dtype: str = "float32"

    name = "entity-questions"
    sees = Sees
    scores = (
        Score("entities_soft", "entities, soft", "share of the entities that the answers say are there"),
        Score("entities_harsh", "entities, harsh", "the answers say that every entity is there"),
    )

    @cached_property
    def answers(self) -> Answers:
        return answers(self.model, self.revision, self.device, self.dtype)

    @property
    def fingerprint(self) -> str:
        return fingerprints.of_values(metric="entity-questions 1", model=self.answers.fingerprint, dtype=self.dtype)

    def look(self, images: Sequence[Image.Image], cases: Sequence[Case]) -> list[dict[str, Any]]:
        entities = [entities_of(case) for case in cases]
        questions = [[f"Is there any {entity} in the picture?" for entity in asked] for asked in entities]
        sure = self.answers.says_yes(images, questions)
        return [
            {"entities": [list(pair) for pair in zip(asked, yes, strict=True)]}
            for asked, yes in zip(entities, sure, strict=True)
        ]

    def score(self, case: Case, seen: Mapping[str, Any]) -> dict[str, float]:
        there = [yes > 0.5 for _, yes in seen["entities"]]
        return {"entities_soft": sum(there) / len(there), "entities_harsh": float(all(there))} if there else {}
