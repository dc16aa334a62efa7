"""Similarity of BLIP's caption to the prompt: the cosine of their CLIP text embeddings.

After Attend-and-Excite (metrics/blip_captioning_and_clip_similarity.py at 163efdfd): BLIP continues "a picture of" by beam
search with 3 beams, to 10 to 30 tokens in all. The caption is embedded as it is, the prompt with the 80 templates.

Differences: the checkpoint is the hub's, which may not be LAVIS's `blip_caption/base_coco`; the templates are filled correctly
(`templates.filled`). The entity-missing paper uses ViT-B/32 and no templates: `clip="openai/clip-vit-base-patch32"`,
`templates=False`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypedDict

import torch
from PIL import Image

from ..plan import fingerprints
from ..plan.cases import Case
from .base import Metric, Score
from .embedding import Clip
from .models import Pretrained
from .templates import filled, mean_of_templates

BEGINNING = "a picture of"
BATCH = 16  # images captioned at once


class Output(TypedDict):
    caption: str
    similarity: float


@dataclass(frozen=True)
class BlipCaption(Metric):
    """Similarity of BLIP's caption to the prompt."""

    model: str = "Salesforce/blip-image-captioning-base"
    clip: str = "openai/clip-vit-base-patch16"
    revision: str | None = None  # of BLIP
    device: str = "cpu"
    dtype: str = "float32"
    templates: bool = True

    name = "blip-caption"
    output_type = Output
    scores = (Score("caption", "BLIP caption", "cosine similarity of the prompt and BLIP's caption", fraction=False),)

    @cached_property
    def blip(self) -> Pretrained:
        return Pretrained(self.model, "BlipForConditionalGeneration", self.revision, self.device, self.dtype)

    @cached_property
    def embedding(self) -> Clip:
        return Clip(Pretrained(self.clip, "CLIPModel", None, self.device, self.dtype))

    @property
    def fingerprint(self) -> str:
        models = [self.blip.fingerprint, self.embedding.fingerprint]
        return fingerprints.of_values(metric="blip-caption 1", models=models, dtype=self.dtype, templates=self.templates)

    def run(self, images: Sequence[Image.Image], cases: Sequence[Case]) -> list[dict[str, Any]]:
        captions = [text for start in range(0, len(images), BATCH) for text in self._captions(images[start : start + BATCH])]
        return [
            {"caption": caption, "similarity": self._compare(caption, case.prompt)}
            for caption, case in zip(captions, cases, strict=True)
        ]

    def score(self, case: Case, output: Mapping[str, Any]) -> dict[str, float]:
        return {"caption": output["similarity"]}

    @torch.inference_mode()
    def _captions(self, images: Sequence[Image.Image]) -> list[str]:
        beginning = self.blip.tokens([BEGINNING] * len(images), max_length=30)
        tokens = self.blip.network.generate(
            **self.blip.pixels(images), **beginning, do_sample=False, num_beams=3, min_length=10, max_length=30
        )
        texts = self.blip.tokenizer.batch_decode(tokens, skip_special_tokens=True)
        return [text.strip().removeprefix(BEGINNING).strip() for text in texts]

    def _compare(self, caption: str, prompt: str) -> float:
        sentences = filled(prompt) if self.templates else [prompt]
        embedded = mean_of_templates(self.embedding.of_texts, sentences)
        return float(self.embedding.of_texts([caption])[0] @ embedded)
