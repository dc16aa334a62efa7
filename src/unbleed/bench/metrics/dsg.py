"""Davidsonian Scene Graph (arXiv 2310.18235; dsg/vqa_utils.py at 7330119a): questions with dependencies.

Every question should be answered "yes". A question counts 0 if a parent was answered "no", whatever its own answer. The score
is the mean over the questions. Only a parent's own answer matters, not those of its parents, as in the official code.

The case contains the questions: `annotations["questions"] = [{"id": 1, "text": "Is there a cat?", "parents": []}, ...]`.
Parent 0 means no parent, as in DSG's files.

Difference: a model of transformers answers; the paper uses mPLUG-large, InstructBLIP or PaLI.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypedDict

from PIL import Image

from ...errors import BenchError
from ...files import understanding
from ...schema import check
from ..plan import fingerprints
from ..plan.cases import Case
from .answers import Answers, answers
from .base import Metric, Score


def scene_graph_score(yes: Mapping[Any, bool], parents: Mapping[Any, Sequence[Any]]) -> float:
    """Return the fraction of questions answered yes whose parents were all answered yes.

    >>> scene_graph_score({1: False, 2: True, 3: True}, {1: [0], 2: [1], 3: [0]})
    0.3333333333333333
    """
    held = [answer and all(yes[parent] for parent in parents[number] if parent != 0) for number, answer in yes.items()]
    return sum(held) / len(held)


class Question(TypedDict):
    id: int | str
    text: str
    parents: list[int | str]


class Annotations(TypedDict):
    questions: list[Question]


def questions_of(case: Case) -> list[Question]:
    """Return the questions of a case; raise `BenchError` if it has none or one names a parent that does not exist."""
    if not case.annotations.get("questions"):
        raise BenchError(f'"{case.prompt}" has no questions; expected annotations["questions"], as in the suite dsg-1k')
    with understanding(f'annotations of "{case.prompt}"', error=BenchError, remedy="correct the suite's file"):
        questions = check(case.annotations, Annotations)["questions"]
    known = {question["id"] for question in questions} | {0}
    for question in questions:
        if unknown := [parent for parent in question["parents"] if parent not in known]:
            raise BenchError(
                f'question {question["id"]} of "{case.prompt}" depends on question {unknown[0]}, which does not exist; '
                "correct the suite's file"
            )
    return questions


class Output(TypedDict):
    yes: list[float]


@dataclass(frozen=True)
class SceneGraph(Metric):
    """Fraction of a case's questions answered with yes, respecting their dependencies."""

    model: str = "Qwen/Qwen2.5-VL-7B-Instruct"
    revision: str | None = None
    device: str = "cpu"
    dtype: str = "float32"

    name = "dsg"
    output_type = Output
    scores = (Score("dsg", "DSG", "fraction of the questions answered with yes, as are those that they depend on"),)

    @cached_property
    def answers(self) -> Answers:
        return answers(self.model, self.revision, self.device, self.dtype)

    @property
    def fingerprint(self) -> str:
        return fingerprints.of_values(metric="dsg 1", model=self.answers.fingerprint, dtype=self.dtype)

    def run(self, images: Sequence[Image.Image], cases: Sequence[Case]) -> list[dict[str, Any]]:
        questions = [[question["text"] for question in questions_of(case)] for case in cases]
        return [{"yes": confidences} for confidences in self.answers.yes_confidence(images, questions)]

    def score(self, case: Case, output: Mapping[str, Any]) -> dict[str, float]:
        questions = questions_of(case)
        yes = {question["id"]: confidence > 0.5 for question, confidence in zip(questions, output["yes"], strict=True)}
        return {"dsg": scene_graph_score(yes, {question["id"]: question["parents"] for question in questions})}
