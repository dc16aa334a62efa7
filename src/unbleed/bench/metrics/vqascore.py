"""VQAScore (arXiv 2404.01291): the probability that a model answers "Yes" when asked whether the picture shows the prompt.

    Does this figure show "{prompt}"? Please answer yes or no.

The score is P("Yes") as the first token of the reply, exp(-cross entropy) of the answer in the official code (t2v_metrics).

Not theirs: the paper's numbers are of CLIP-FlanT5-XXL, which is no model of transformers and which t2v_metrics has dropped in
3.1; here any vision-language model of transformers with a chat template answers, and numbers compare only within one of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypedDict

from PIL import Image

from ..plan import fingerprints
from ..plan.cases import Case
from .answers import ChatAnswers
from .base import Score
from .models import Pretrained

QUESTION = 'Does this figure show "{}"? Please answer yes or no.'


class Sees(TypedDict):
    yes: float


@dataclass(frozen=True)
class VqaScore:
    model: str = "Qwen/Qwen2.5-VL-7B-Instruct"
    revision: str | None = None
    device: str = "cpu"
    dtype: str = "float32"

    name = "vqascore"
    sees = Sees
    scores = (Score("vqascore", "VQAScore", 'probability of "Yes" when asked whether the picture shows the prompt'),)

    @cached_property
    def chat(self) -> ChatAnswers:
        return ChatAnswers(Pretrained(self.model, "AutoModelForImageTextToText", self.revision, self.device, self.dtype))

    @property
    def fingerprint(self) -> str:
        return fingerprints.of_values(metric="vqascore 1", model=self.chat.fingerprint, dtype=self.dtype)

    def look(self, images: Sequence[Image.Image], cases: Sequence[Case]) -> list[dict[str, Any]]:
        texts = [[QUESTION.replace("{}", case.prompt)] for case in cases]
        return [{"yes": yes} for [[yes]] in self.chat.probabilities(images, texts, ("Yes",))]

    def score(self, case: Case, seen: Mapping[str, Any]) -> dict[str, float]:
        return {"vqascore": seen["yes"]}
