"""Attention Regulation: what is added to the logits of the text attention gives every noun its share of it.

Zhang et al., ECCV 2024, arXiv 2403.06381. What is added to the logits of the text attention is
found anew in every layer and step, by a gradient through that layer's softmax alone (`unbleed.edits.regulation`, with what is
the authors' and what is ours). The targets are the pieces of the entities' nouns.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..edits.regulation import RegulateEdit
from ..guidance.method import Method, PaperMethod, setting


@dataclass(frozen=True, kw_only=True)
class AttentionRegulation(PaperMethod):
    """Add to the logits of the text attention until every noun has its share."""

    name: ClassVar[str] = "attention-regulation"
    paper: ClassVar[str] = "Zhang et al., ECCV 2024, arXiv 2403.06381"
    year: ClassVar[int] = 2024

    stop: float = setting(0.5, "authors' code: steps 0 to 24 of 50")
    iterations: int = setting(20, "authors' code")
    rate: float = setting(100.0, "authors' code: of the plain gradient, per head")
    share: float = setting(0.2, "authors' code: the mean attention that a noun is to have")
    quantile: float = setting(0.9, "authors' code: of a noun's attention over places, and the value that it is to have")
    memory: float = setting(0.25, "authors' code: share of the step before in what is added")
    fading: float = setting(0.99, "authors' code: what is added is worth this to the power of the step, of 50")
    keep_ends: bool = setting(True, "authors' code: start and end token keep their attention")

    def _parts(self) -> Method:
        return Method(
            edits=(
                RegulateEdit(
                    stop=self.stop,
                    iterations=self.iterations,
                    rate=self.rate,
                    share=self.share,
                    quantile=self.quantile,
                    memory=self.memory,
                    fading=self.fading,
                    keep_ends=self.keep_ends,
                ),
            )
        )
