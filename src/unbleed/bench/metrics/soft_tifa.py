"""Soft-TIFA, the score of GenEval 2 (arXiv 2512.16853; evaluation.py at a6e82d22): a question per atom of the prompt.

    {question} Answer in one word.

The score of an atom is the probability that the first token of the reply is the right answer, summed over its ways of writing:
Yes, yes, " Yes", " yes"; for a number its word and its digits. Of an image's atoms,

    AM = their arithmetic mean, an estimate per atom
    GM = their geometric mean, an estimate per prompt: one atom at 0 makes it 0

and both are averaged over images. The case has the questions: `annotations["atoms"] = [{"question": "Are the cows plastic?",
"answer": "Yes", "skill": "attribute"}, ...]`.

Difference: a way of writing counts only if it is one token, and every token once. The official code adds the first token of
each way; where a tokenizer cuts " 4" into a space and "4", as Qwen's does, that is the probability of a space, with which every
number may begin.
"""

from __future__ import annotations

import math
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
from .answers import ChatAnswers
from .base import Metric, Score
from .models import Pretrained

QUESTION = "{} Answer in one word."
SKILLS = ("object", "attribute", "count", "position", "verb")
NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")


def ways_of_writing(answer: str) -> tuple[str, ...]:
    """Return the replies that mean `answer`.

    >>> ways_of_writing("four")
    ('four', 'Four', '4', ' four', ' Four', ' 4')
    """
    word = answer.strip().lower()
    if word.isdecimal() and int(word) < len(NUMBERS):
        word = NUMBERS[int(word)]
    digits = [str(NUMBERS.index(word))] if word in NUMBERS else []
    bare = [word, word.capitalize(), *digits]
    return (*bare, *(f" {way}" for way in bare))


def arithmetic_mean(scores: Sequence[float]) -> float:
    return sum(scores) / len(scores)


def geometric_mean(scores: Sequence[float]) -> float:
    """Return the geometric mean; 0 if one of the scores is 0.

    >>> geometric_mean([0.25, 1.0])
    0.5
    """
    return math.exp(sum(map(math.log, scores)) / len(scores)) if all(scores) else 0.0


class Atom(TypedDict):
    question: str
    answer: str
    skill: str


class Annotations(TypedDict):
    atoms: list[Atom]


def atoms_of(case: Case) -> list[Atom]:
    """Return the atoms of a case; raise `BenchError` if it has none."""
    if not case.annotations.get("atoms"):
        raise BenchError(f'"{case.prompt}" has no atoms; expected annotations["atoms"], as in the suite geneval-2')
    with understanding(f'annotations of "{case.prompt}"', error=BenchError, remedy="correct the suite's file"):
        return check({"atoms": case.annotations["atoms"]}, Annotations)["atoms"]


class Output(TypedDict):
    right: list[float]


@dataclass(frozen=True)
class SoftTifa(Metric):
    """Probability of the right answer to a question per atom of the prompt, by a vision-language model."""

    model: str = "Qwen/Qwen3-VL-8B-Instruct"
    revision: str | None = None
    device: str = "cpu"
    dtype: str = "float32"

    name = "soft-tifa"
    output_type = Output
    scores = (
        Score("soft_tifa_gm", "Soft-TIFA GM", "geometric mean over the prompt's atoms of the probability of the right answer"),
        Score("soft_tifa_am", "Soft-TIFA AM", "arithmetic mean over the prompt's atoms of the probability of the right answer"),
        *(Score(f"soft_tifa_{skill}", f"Soft-TIFA, {skill}", f"mean over the atoms of the skill {skill}") for skill in SKILLS),
    )

    @cached_property
    def chat(self) -> ChatAnswers:
        return ChatAnswers(Pretrained(self.model, "AutoModelForImageTextToText", self.revision, self.device, self.dtype))

    @property
    def fingerprint(self) -> str:
        return fingerprints.of_values(metric="soft-tifa 1", model=self.chat.fingerprint, dtype=self.dtype)

    def run(self, images: Sequence[Image.Image], cases: Sequence[Case]) -> list[dict[str, Any]]:
        atoms = [atoms_of(case) for case in cases]
        texts = [[QUESTION.format(atom["question"]) for atom in own] for own in atoms]
        ways = [[ways_of_writing(atom["answer"]) for atom in own] for own in atoms]
        return [{"right": right} for right in self.chat.chances(images, texts, ways)]

    def score(self, case: Case, output: Mapping[str, Any]) -> dict[str, float]:
        right = output["right"]
        scores = {"soft_tifa_gm": geometric_mean(right), "soft_tifa_am": arithmetic_mean(right)}
        for skill in SKILLS:
            own = [score for score, atom in zip(right, atoms_of(case), strict=True) if atom["skill"] == skill]
            if own:
                scores[f"soft_tifa_{skill}"] = arithmetic_mean(own)
        return scores
