"""VQAScore (arXiv 2404.01291): the probability that a model answers "Yes" when asked whether the image shows the prompt.

    Does this figure show "{prompt}"? Please answer yes or no.

The score is the probability of "Yes" as the first token of the reply; the official code (t2v_metrics) computes it as
exp(-cross entropy) of the answer.

Difference: the paper uses CLIP-FlanT5-XXL, which is not in transformers and was dropped from t2v_metrics in 3.1. Here any
vision-language model of transformers with a chat template answers; compare numbers only within one model. With
`wording=geneval2` the question and the answers are those of GenEval 2's code (arXiv 2512.16853), for Qwen3-VL-8B:

    Does this image show "{prompt}"? Answer the question with Yes or No.

and the probabilities of Yes, yes, " Yes" and " yes" add up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypedDict

from PIL import Image

from ...errors import BenchError
from ..plan import fingerprints
from ..plan.cases import Case
from .answers import ChatAnswers
from .base import Metric, Score
from .models import Pretrained

QUESTIONS = {
    "t2v": ('Does this figure show "{}"? Please answer yes or no.', ("Yes",)),
    "geneval2": ('Does this image show "{}"? Answer the question with Yes or No.', ("Yes", "yes", " Yes", " yes")),
}
"""By wording: the question, and the answers whose probabilities add up."""


class Output(TypedDict):
    yes: float


@dataclass(frozen=True)
class VqaScore(Metric):
    """Probability of "Yes" when a vision-language model is asked whether the image shows the prompt."""

    model: str = "Qwen/Qwen2.5-VL-7B-Instruct"
    revision: str | None = None
    device: str = "cpu"
    dtype: str = "float32"
    wording: str = "t2v"

    name = "vqascore"
    output_type = Output
    scores = (Score("vqascore", "VQAScore", 'probability of "Yes" when asked whether the image shows the prompt'),)

    def __post_init__(self) -> None:
        if self.wording not in QUESTIONS:
            raise BenchError(f'wording of vqascore is "{self.wording}"; expected one of {", ".join(QUESTIONS)}')

    @cached_property
    def chat(self) -> ChatAnswers:
        return ChatAnswers(Pretrained(self.model, "AutoModelForImageTextToText", self.revision, self.device, self.dtype))

    @property
    def fingerprint(self) -> str:
        wording = {} if self.wording == "t2v" else {"wording": self.wording}
        return fingerprints.of_values(metric="vqascore 1", model=self.chat.fingerprint, dtype=self.dtype, **wording)

    def run(self, images: Sequence[Image.Image], cases: Sequence[Case]) -> list[dict[str, Any]]:
        question, ways = QUESTIONS[self.wording]
        texts = [[question.replace("{}", case.prompt)] for case in cases]
        return [{"yes": yes} for [yes] in self.chat.chances(images, texts, [[ways]] * len(texts))]

    def score(self, case: Case, output: Mapping[str, Any]) -> dict[str, float]:
        return {"vqascore": output["yes"]}
