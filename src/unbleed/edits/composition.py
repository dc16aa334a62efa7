"""Composable Diffusion: the predictions for the single concepts of a prompt are added.

Liu et al., ECCV 2022, arXiv 2206.01714, equation 11: with e_u the unconditional prediction and e_k that for concept k,

    e = e_u + sum over k of w_k (e_k - e_u)

The pipeline has its own classifier-free guidance, e = e_u + w (e_c - e_u), so its conditional prediction is replaced by
e_c = e_u + sum over k of (w_k / w) (e_k - e_u). Concepts are the prompt's entities, each with its article; a prompt without
entities is left as it is. One additional run of the denoiser per concept and step. Where a model takes a pooled embedding
besides the tokens (SDXL, SD3), it stays that of the whole prompt.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import ModelError
from ..guidance.edit import ActiveEdit, BatchRows, CallContext, Edit
from ..prompt.phrases import phrases_of
from ..settings import setting


@dataclass(frozen=True)
class ComposeEdit(Edit):
    """Replace the conditional prediction by the sum of the predictions for the single entities.

    Liu et al., ECCV 2022, arXiv 2206.01714, equation 11.

    >>> from unbleed.edits import ComposeEdit
    >>> ComposeEdit(weight=0.5).families
    ('sd', 'sd3')
    """

    weight: float = setting(1.0, help="weight w_k / w of each entity, as a multiple of the guidance scale")
    families = ("sd", "sd3")  # with both predictions in one call, and no mask of the prompt's own length
    acts_inside = False
    forwards = 2  # one for each entity

    def open(self, context: CallContext) -> ActiveEdit:
        concepts = [
            [text for entity, text in zip(parsed.entities, phrases_of(parsed), strict=True) if entity in tokens.kept]
            for parsed, tokens in zip(context.parsed, context.tokens, strict=True)
        ]
        texts = sorted({text for own in concepts for text in own})
        encoded = dict(zip(texts, context.encode(texts), strict=True)) if texts else {}
        return _Composed([[encoded[text] for text in own] for own in concepts], self.weight)


class _Composed(ActiveEdit):
    def __init__(self, concepts: list[list[Tensor]], weight: float) -> None:
        self.concepts, self.weight = concepts, weight

    def applies_to(self, image: int) -> bool:
        return bool(self.concepts[image])

    def after(self, prediction: Tensor, rows: BatchRows, denoise: Callable[[Tensor, Sequence[int]], Tensor]) -> Tensor:
        if rows.first == 0:
            raise ModelError("composable adds to the unconditional prediction; call the pipeline with a guidance_scale above 1")
        plain = prediction[: rows.first]  # unconditional, one per image
        composed = plain.clone()
        for number in range(max((len(own) for own in self.concepts), default=0)):
            images = [image for image in rows.images if number < len(self.concepts[image])]
            own = denoise(torch.stack([self.concepts[image][number] for image in images]), images)
            composed[images] += self.weight * (own - plain[images])
        without = [image for image in rows.images if not self.concepts[image]]
        composed[without] = prediction[rows.slice][without]
        return torch.cat([plain, composed])
