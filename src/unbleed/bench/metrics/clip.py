"""CLIP similarity of a picture to its prompt, and to the entity that it shows least.

After Attend-and-Excite (arXiv 2301.13826; metrics/compute_clip_similarity.py at 163efdfd): cosine of the picture's embedding
and the text's, which is the mean over 80 templates, of the full prompt and, for the least, of its parts.

There the parts are what stands before and behind the first " and ", else " with ", up to the next; a prompt with neither is
left out, a third entity is never looked at, and words are corrupted (`templates.filled_strictly`). `strict` does exactly that.
The default takes all entities and writes every template right: on prompts of two entities, of which neither is corrupted, the
full prompt's value is the same.
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
from .base import Score
from .embedding import Clip
from .models import Pretrained
from .templates import filled, filled_strictly, mean_of_templates


def halves(prompt: str) -> list[str]:
    """Return the two parts of a prompt that Attend-and-Excite looks at; none where it cannot be split.

    >>> halves("a cat with a hat and a dog and a bird"), halves("a dog with a bow"), halves("a dog")
    (['a cat with a hat', 'a dog'], ['a dog', 'a bow'], [])
    """
    joint = next((joint for joint in (" and ", " with ") if joint in prompt), None)
    return prompt.split(joint)[:2] if joint else []


class Sees(TypedDict):
    prompt: float
    entities: list[tuple[str, float]]


@dataclass(frozen=True)
class ClipSimilarity:
    model: str = "openai/clip-vit-base-patch16"
    revision: str | None = None
    device: str = "cpu"
    dtype: str = "float32"
    strict: bool = False
    _embedded: dict[str, Tensor] = field(default_factory=dict, init=False, repr=False, compare=False)

    name = "clip"
    sees = Sees
    scores = (
        Score("clip_full", "CLIP, full prompt", "cosine of picture and prompt", share=False),
        Score("clip_min", "CLIP, least entity", "cosine of the picture and the entity that it shows least", share=False),
    )

    @cached_property
    def clip(self) -> Clip:
        return Clip(Pretrained(self.model, "CLIPModel", self.revision, self.device, self.dtype))

    @property
    def fingerprint(self) -> str:
        return fingerprints.of_values(metric="clip 1", model=self.clip.fingerprint, dtype=self.dtype, strict=self.strict)

    def look(self, images: Sequence[Image.Image], cases: Sequence[Case]) -> list[dict[str, Any]]:
        return [
            {
                "prompt": float(image @ self._embed(case.prompt)),
                "entities": [[text, float(image @ self._embed(text))] for text in self._parts(case)],
            }
            for image, case in zip(self.clip.of_images(images), cases, strict=True)
        ]

    def score(self, case: Case, seen: Mapping[str, Any]) -> dict[str, float]:
        if not seen["entities"]:
            return {} if self.strict else {"clip_full": seen["prompt"]}
        return {"clip_full": seen["prompt"], "clip_min": min(similarity for _, similarity in seen["entities"])}

    def _parts(self, case: Case) -> list[str]:
        return halves(case.prompt) if self.strict else entities_of(case)

    def _embed(self, text: str) -> Tensor:
        """Return (channel,) of a text; each is embedded once, however many pictures it has."""
        if text not in self._embedded:
            sentences = filled_strictly(text) if self.strict else filled(text)
            self._embedded[text] = mean_of_templates(self.clip.of_texts, sentences)
        return self._embedded[text]
