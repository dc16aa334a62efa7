"""CLIP similarity of an image to its prompt, and its lowest similarity to an entity.

After Attend-and-Excite (arXiv 2301.13826; metrics/compute_clip_similarity.py at 163efdfd): the cosine of the image embedding
and the text embedding, which is the mean over 80 templates. The full prompt gives one score; the minimum over its parts the
other.

The official code splits the prompt at the first " and ", else " with ", up to the next one. It leaves out prompts with neither,
ignores a third entity, and corrupts some words (`templates.filled_strictly`). `strict` reproduces that. The default uses all
entities and correct templates; the two agree on the full prompt wherever no word is corrupted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypedDict

from PIL import Image
from torch import Tensor

from ..plan import fingerprints
from ..plan.cases import Case
from .asked import entities_of
from .base import Metric, Score
from .embedding import Clip
from .models import Pretrained
from .templates import filled, filled_strictly, mean_of_templates


def halves(prompt: str) -> list[str]:
    """Return the two parts of a prompt that Attend-and-Excite scores; empty if it cannot be split.

    >>> halves("a cat with a hat and a dog and a bird"), halves("a dog with a bow"), halves("a dog")
    (['a cat with a hat', 'a dog'], ['a dog', 'a bow'], [])
    """
    joint = next((joint for joint in (" and ", " with ") if joint in prompt), None)
    return prompt.split(joint)[:2] if joint else []


class Output(TypedDict):
    prompt: float
    entities: list[tuple[str, float]]


@dataclass(frozen=True)
class ClipSimilarity(Metric):
    """CLIP similarity to the prompt and to the entity with the lowest similarity."""

    model: str = "openai/clip-vit-base-patch16"
    revision: str | None = None
    device: str = "cpu"
    dtype: str = "float32"
    strict: bool = False
    _embedded: dict[str, Tensor] = field(default_factory=dict, init=False, repr=False, compare=False)

    name = "clip"
    output_type = Output
    scores = (
        Score("clip_full", "CLIP, full prompt", "cosine similarity of image and prompt", fraction=False),
        Score("clip_min", "CLIP, lowest entity", "lowest cosine similarity of the image and an entity", fraction=False),
    )

    @cached_property
    def clip(self) -> Clip:
        return Clip(Pretrained(self.model, "CLIPModel", self.revision, self.device, self.dtype))

    @property
    def fingerprint(self) -> str:
        return fingerprints.of_values(metric="clip 1", model=self.clip.fingerprint, dtype=self.dtype, strict=self.strict)

    def run(self, images: Sequence[Image.Image], cases: Sequence[Case]) -> list[dict[str, Any]]:
        return [
            {
                "prompt": float(image @ self._embed(case.prompt)),
                "entities": [[text, float(image @ self._embed(text))] for text in self._parts(case)],
            }
            for image, case in zip(self.clip.of_images(images), cases, strict=True)
        ]

    def score(self, case: Case, output: Mapping[str, Any]) -> dict[str, float]:
        if not output["entities"]:
            return {} if self.strict else {"clip_full": output["prompt"]}
        return {"clip_full": output["prompt"], "clip_min": min(similarity for _, similarity in output["entities"])}

    def _parts(self, case: Case) -> list[str]:
        return halves(case.prompt) if self.strict else entities_of(case)

    def _embed(self, text: str) -> Tensor:
        """Return the embedding of a text, shape (channel,). Each text is embedded once."""
        if text not in self._embedded:
            sentences = filled_strictly(text) if self.strict else filled(text)
            self._embedded[text] = mean_of_templates(self.clip.of_texts, sentences)
        return self._embedded[text]
