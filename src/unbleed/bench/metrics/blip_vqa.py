"""BLIP-VQA of T2I-CompBench (arXiv 2307.06350; BLIPvqa_eval/ at 1b709499): is each noun phrase in the image?

There is one question per noun phrase of the prompt, at most eight: the phrase itself in lower case ("a red bench?"). Its answer
is P(yes) / (P(yes) + P(no)) at BLIP's first decoder step. The score is the product of the answers.

Differences: the phrases come from the embedded parser instead of spaCy's small model, so words such as "top", "side" or "photo"
give no question; the checkpoint is the hub's at 384 pixels instead of model_base_vqa_capfilt_large.pth at 480.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypedDict

from PIL import Image

from ...prompt import parse
from ...prompt.phrases import phrases_of
from ..plan import fingerprints
from ..plan.cases import Case
from .base import Metric, Score
from .blip import BlipAnswers
from .models import Pretrained

MOST_PHRASES = 8


def questions_of(prompt: str) -> list[str]:
    """Return the questions for a prompt.

    >>> questions_of("a photo of a Red bench and two cats")
    ['a red bench?', 'two cats?']
    """
    return [f"{phrase.lower()}?" for phrase in phrases_of(parse(prompt))[:MOST_PHRASES]]


class Output(TypedDict):
    questions: list[tuple[str, float]]


@dataclass(frozen=True)
class BlipVqa(Metric):
    """Product over the prompt's noun phrases of the probability that BLIP sees them."""

    model: str = "Salesforce/blip-vqa-capfilt-large"
    revision: str | None = None
    device: str = "cpu"
    dtype: str = "float32"

    name = "blip-vqa"
    output_type = Output
    scores = (Score("blip_vqa", "BLIP-VQA", "product over the noun phrases of the probability that BLIP sees them"),)

    @cached_property
    def blip(self) -> BlipAnswers:
        return BlipAnswers(Pretrained(self.model, "BlipForQuestionAnswering", self.revision, self.device, self.dtype))

    @property
    def fingerprint(self) -> str:
        return fingerprints.of_values(metric="blip-vqa 1", model=self.blip.fingerprint, dtype=self.dtype)

    def run(self, images: Sequence[Image.Image], cases: Sequence[Case]) -> list[dict[str, Any]]:
        questions = [questions_of(case.prompt) for case in cases]
        answers = self.blip.yes_probabilities(images, questions)
        return [
            {"questions": [list(pair) for pair in zip(texts, probabilities, strict=True)]}
            for texts, probabilities in zip(questions, answers, strict=True)
        ]

    def score(self, case: Case, output: Mapping[str, Any]) -> dict[str, float]:
        """A prompt without a noun phrase has no score; the official code gives it 1."""
        return {"blip_vqa": math.prod(yes for _, yes in output["questions"])} if output["questions"] else {}
