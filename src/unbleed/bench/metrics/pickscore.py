"""PickScore (arXiv 2305.01569): the logit of a CLIP-H trained on human choices, exp(scale) * cos(image, prompt).

As in its model card: processor of laion/CLIP-ViT-H-14-laion2B-s32B-b79K, the prompt truncated at 77 tokens, no template.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypedDict

from PIL import Image

from ..plan import fingerprints
from ..plan.cases import Case
from .base import Metric, Score
from .embedding import Clip
from .models import Pretrained

PUBLISHED_MODEL = "yuvalkirstain/PickScore_v1"
READER = "laion/CLIP-ViT-H-14-laion2B-s32B-b79K"


class Output(TypedDict):
    cosine: float
    scale: float


@dataclass(frozen=True)
class PickScore(Metric):
    """Logit of a CLIP trained on human choices."""

    model: str = PUBLISHED_MODEL
    revision: str | None = None
    device: str = "cpu"
    dtype: str = "float32"

    name = "pickscore"
    output_type = Output
    scores = (Score("pickscore", "PickScore", "logit of a CLIP trained on human choices", fraction=False),)

    @cached_property
    def clip(self) -> Clip:
        reader = READER if self.model == PUBLISHED_MODEL else None  # other folders contain their own
        return Clip(Pretrained(self.model, "CLIPModel", self.revision, self.device, self.dtype, reader))

    @property
    def fingerprint(self) -> str:
        return fingerprints.of_values(metric="pickscore 1", model=self.clip.fingerprint, dtype=self.dtype)

    def run(self, images: Sequence[Image.Image], cases: Sequence[Case]) -> list[dict[str, Any]]:
        scale = float(self.clip.pretrained.network.logit_scale.float().exp())
        cosines = (self.clip.of_images(images) * self.clip.of_texts([case.prompt for case in cases])).sum(dim=-1)
        return [{"cosine": cosine, "scale": scale} for cosine in cosines.tolist()]

    def score(self, case: Case, output: Mapping[str, Any]) -> dict[str, float]:
        return {"pickscore": output["scale"] * output["cosine"]}
