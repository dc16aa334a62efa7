"""NAG: Normalized Attention Guidance, negative prompts for models without classifier-free guidance.

Chen et al., 2025, arXiv 2505.21179. The image's attention to the prompt is moved away from its attention to a negative
prompt, limited in its L1 norm, and mixed with what it was (`unbleed.edits.negative`). No gradient. Defaults are the authors'
for FLUX.1.

Ours: the negative prompt is a setting, because many pipelines take none; a step has one more row per image.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..edits.negative import NegativeEdit
from ..guidance.method import Method
from ..settings import NotNegative, Positive, Share, setting
from .base import PaperMethod


@dataclass(frozen=True, kw_only=True)
class Nag(PaperMethod):
    """Move the image's attention to the prompt away from that to a negative prompt.

    Chen et al., 2025, arXiv 2505.21179.

    >>> from unbleed.methods import Nag
    >>> Nag(negative="blurry").parts().edits
    (NegativeEdit(negative='blurry', scale=5.0, tau=2.5, alpha=0.25),)
    """

    name: ClassVar[str] = "nag"
    paper: ClassVar[str] = "Chen et al., 2025, arXiv 2505.21179"
    year: ClassVar[int] = 2025

    negative: str = setting("", "ours", help="the negative prompt; empty for no text")
    scale: NotNegative = setting(
        5.0, "authors' code for FLUX.1", help="how far away: 1 is the prompt's own attention, 0 that to the negative prompt"
    )
    tau: Positive = setting(2.5, "authors' code for FLUX.1", help="largest growth of a token's L1 norm")
    alpha: Share = setting(0.25, "authors' code for FLUX.1", help="share of the moved attention in the result")

    def _parts(self) -> Method:
        return Method(edits=(self.make(NegativeEdit),))
