"""Best of N: the run begins with the one of several first noises whose attention is best.

The baseline of every comparison of today: what a seed alone can do. Each candidate is denoised for `ahead` steps, the attention
there is scored by a loss of this library, and the candidate with the lowest one is drawn alone, from its noise on. No gradient.

The loss looks at attention, never at the image, so any metric of the benchmark may judge the result. A choice by a metric is
`best-of-4:judge=NAME` of the benchmark (`unbleed.bench.plan.variants`), which draws all candidates to the end, and does not
report what chose.

Ours: the losses to choose by, and that the candidates are the seed's own noise and others made from it. How much a seed can do
depends on the model: it decides more of the layout in a UNet than in a joint-attention transformer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from ..guidance.method import Method
from ..guidance.noise_choice import NoiseChoice
from ..losses import Loss
from ..losses.binding import BindingLoss
from ..losses.excite import ExciteLoss
from ..losses.focus import FocusLoss
from ..losses.overlap import OverlapLoss
from ..settings import WholeNumber, setting
from .base import PaperMethod

Scored = Literal["focus", "excite", "binding", "overlap"]
LOSSES: dict[str, Loss] = {
    "focus": FocusLoss(),
    "excite": ExciteLoss(),
    "binding": BindingLoss(include_entities=True),
    "overlap": OverlapLoss(),
}


@dataclass(frozen=True, kw_only=True)
class BestOfN(PaperMethod):
    """Begin with the one of several first noises whose attention is best.

    Common practice; the losses are this project's choice.

    >>> from unbleed.methods import BestOfN
    >>> BestOfN(candidates=8, ahead=2).parts().noise.candidates
    8
    """

    name: ClassVar[str] = "best-of-n"
    paper: ClassVar[str] = "common practice"
    year: ClassVar[int] = 2026

    candidates: int = setting(4, "ours", help="number of first noises to choose from, from 2 to 100")
    ahead: WholeNumber = setting(3, "ours", help="steps that each candidate is denoised before it is scored")
    score: Scored = setting("focus", "ours", help="the loss to choose by: of focus, attend-and-excite, syngen or overlap-iou")

    def _parts(self) -> Method:
        return Method(noise=self.make(NoiseChoice, loss=LOSSES[self.score]))
