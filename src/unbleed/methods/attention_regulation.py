"""Attention Regulation: an addition to the logits of the text attention gives every noun its fraction of attention.

Zhang et al., ECCV 2024, arXiv 2403.06381. The addition is found anew in every layer and step, by a gradient through that
layer's softmax alone (`unbleed.edits.regulation`, with what is the authors' and what is ours). The targets are the pieces of
the entities' nouns.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..edits.regulation import RegulateEdit
from ..guidance.method import Method
from ..settings import setting
from .base import PaperMethod


@dataclass(frozen=True, kw_only=True)
class AttentionRegulation(PaperMethod):
    """Add to the logits of the text attention until every noun is attended to enough.

    Zhang et al., ECCV 2024, arXiv 2403.06381.

    >>> from unbleed.methods import AttentionRegulation
    >>> AttentionRegulation(iterations=5).parts().edits[0].iterations
    5
    """

    name: ClassVar[str] = "attention-regulation"
    paper: ClassVar[str] = "Zhang et al., ECCV 2024, arXiv 2403.06381"
    year: ClassVar[int] = 2024

    stop: float = setting(0.5, "authors' code: steps 0 to 24 of 50", help="fraction of the run in which attention is changed")
    iterations: int = setting(20, "authors' code", help="gradient steps per layer and denoising step")
    rate: float = setting(100.0, "authors' code: of the plain gradient, per head", help="step size of these gradient steps")
    share: float = setting(0.2, "authors' code", help="mean attention, from 0 to 1, that a noun is to have")
    quantile: float = setting(
        0.9, "authors' code", help="quantile over pixels of a noun's attention, and the value that it is to have"
    )
    memory: float = setting(0.25, "authors' code", help="fraction of the addition that comes from the previous step")
    fading: float = setting(0.99, "authors' code", help="the addition is multiplied by this to the power of the step, of 50")
    keep_ends: bool = setting(True, "authors' code", help="leave the attention to the start and end tokens as it is")

    def _parts(self) -> Method:
        return Method(edits=(self.make(RegulateEdit),))
