"""Davidsonian Scene Graph (arXiv 2310.18235; dsg/vqa_utils.py at 7330119a): questions that depend on each other.

Every question should be answered "yes"; one of whose parents the answer was "no" counts 0, whatever was said of it; the score
is the mean over the questions. A parent counts by its own answer, not by its parents', as in the official code.

A case brings its questions: `annotations["questions"] = [{"id": 1, "text": "Is there a cat?", "parents": []}, ...]`; a parent
0 is none, as in the files of DSG.

Not theirs: the answers are of a model of transformers; theirs are of mPLUG-large, InstructBLIP or PaLI.
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
from .base import Score


def scene_graph_score(yes: Mapping[Any, bool], parents: Mapping[Any, Sequence[Any]]) -> float:
    """Return the mean over the questions of: answered yes, as were all its parents.

    >>> scene_graph_score({1: False, 2: True, 3: True}, {1: [0], 2: [1], 3: [0]})
    0.3333333333333333
    """
    held = [said and all(yes[parent] for parent in parents[number] if parent != 0) for number, said in yes.items()]
    return sum(held) / len(held)


class Question(TypedDict):
    id: int | str
    text: str
    parents: list[int | str]


class Asked(TypedDict):
    questions: list[Question]


def questions_of(case: Case) -> list[Question]:
    """Return the questions of a case; raise `BenchError` where it has none, or one names a parent that is not there."""
    if not case.annotations.get("questions"):
        raise BenchError(f'"{case.prompt}" has no questions; expected annotations["questions"], as the suite dsg1k brings them')
    with understanding(f'annotations of "{case.prompt}"', error=BenchError, remedy="correct the suite's file"):
        questions = check(case.annotations, Asked)["questions"]
    known = {question["id"] for question in questions} | {0}
    for question in questions:
        if strange := [parent for parent in question["parents"] if parent not in known]:
            raise BenchError(
                f'question {question["id"]} of "{case.prompt}" depends on question {strange[0]}, which is not there; '
                "correct the suite's file"
            )
    return questions


class Sees(TypedDict):
    yes: list[float]


@dataclass(frozen=True)
class SceneGraph:
    model: str = "Qwen/Qwen2.5-VL-7B-Instruct"
    revision: str | None = None
    device: str = "cpu"
    dtype: str = "float32"

    name = "dsg"
    sees = Sees
    scores = (Score("dsg", "DSG", "share of the questions answered with yes, with those that they depend on"),)

    @cached_property
    def answers(self) -> Answers:
        return answers(self.model, self.revision, self.device, self.dtype)

    @property
    def fingerprint(self) -> str:
        return fingerprints.of_values(metric="dsg 1", model=self.answers.fingerprint, dtype=self.dtype)

    def look(self, images: Sequence[Image.Image], cases: Sequence[Case]) -> list[dict[str, Any]]:
        questions = [[question["text"] for question in questions_of(case)] for case in cases]
        return [{"yes": sure} for sure in self.answers.says_yes(images, questions)]

    def score(self, case: Case, seen: Mapping[str, Any]) -> dict[str, float]:
        questions = questions_of(case)
        yes = {question["id"]: sure > 0.5 for question, sure in zip(questions, seen["yes"], strict=True)}
        return {"dsg": scene_graph_score(yes, {question["id"]: question["parents"] for question in questions})}
