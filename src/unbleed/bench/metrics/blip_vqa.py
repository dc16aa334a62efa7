"""BLIP-VQA of T2I-CompBench (arXiv 2307.06350; BLIPvqa_eval/ at 1b709499): is each noun phrase in the picture?

A question per noun phrase of the prompt, the phrase itself ("a red bench?", in small letters), at most eight; its answer is
P(yes) / (P(yes) + P(no)) at BLIP's first decoder step; the score is their product.

Not theirs: the phrases come from our parser instead of spaCy's small model, so nouns such as "top", "side" or "photo" ask
nothing; the checkpoint is the one of the hub at its size of 384 pixels, there it is model_base_vqa_capfilt_large.pth at 480.
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
from .base import Score
from .blip import BlipAnswers
from .models import Pretrained

MOST_PHRASES = 8


def questions_of(prompt: str) -> list[str]:
    """Return the questions about a prompt.

    >>> questions_of("a photo of a Red bench and two cats")
    ['a red bench?', 'two cats?']
    """
    return [f"{phrase.lower()}?" for phrase in phrases_of(parse(prompt))[:MOST_PHRASES]]


class Sees(TypedDict):
    questions: list[tuple[str, float]]


@dataclass(frozen=True)
class BlipVqa:
    model: str = "Salesforce/blip-vqa-capfilt-large"
    revision: str | None = None
    device: str = "cpu"
    dtype: str = "float32"

    name = "blip-vqa"
    sees = Sees
    scores = (Score("blip_vqa", "BLIP-VQA", "product over the noun phrases of the probability that BLIP sees them"),)

    @cached_property
    def blip(self) -> BlipAnswers:
        return BlipAnswers(Pretrained(self.model, "BlipForQuestionAnswering", self.revision, self.device, self.dtype))

    @property
    def fingerprint(self) -> str:
        return fingerprints.of_values(metric="blip-vqa 1", model=self.blip.fingerprint, dtype=self.dtype)

    def look(self, images: Sequence[Image.Image], cases: Sequence[Case]) -> list[dict[str, Any]]:
        questions = [questions_of(case.prompt) for case in cases]
        shares = self.blip.shares_of_yes(images, questions)
        return [
            {"questions": [list(pair) for pair in zip(asked, sure, strict=True)]}
            for asked, sure in zip(questions, shares, strict=True)
        ]

    def score(self, case: Case, seen: Mapping[str, Any]) -> dict[str, float]:
        """A prompt without a noun phrase is not scored; the official code gives it 1."""
        return {"blip_vqa": math.prod(sure for _, sure in seen["questions"])} if seen["questions"] else {}
