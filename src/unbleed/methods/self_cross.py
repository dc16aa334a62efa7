"""Self-Cross Diffusion Guidance for Text-to-Image Synthesis of Similar Subjects.

Qiu, Wang, Tang, CVPR 2025, arXiv 2411.18936. On top of InitNO: no entity is to attend to what the places of another attend
to (`unbleed.losses.self_attention`), in every step and not in refinement alone. As in the authors' code the whole loss, and
not the response alone, has to come down to the target.

The first noise is looked for by this loss too. Ours: as in `initno`, and on Stable Diffusion 2.1 too, where the authors
guide 40 of 50 steps (`stop=0.8`) and keep the seed's noise. They have CONFORM as another base; `conform + self-cross` would
have InitNO's parts too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..guidance.method import setting
from ..losses import Loss
from ..losses.excite import ExciteLoss
from ..losses.self_attention import SelfCrossLoss, StrayLoss
from .initno import InitNO


@dataclass(frozen=True, kw_only=True)
class SelfCross(InitNO):
    """Keep entities from what the others' places attend to, from a good first noise on."""

    name: ClassVar[str] = "self-cross"
    paper: ClassVar[str] = "Qiu et al., CVPR 2025, arXiv 2411.18936"
    year: ClassVar[int] = 2025

    shared: ClassVar[str] = "self-cross"

    places: int = setting(16, "authors' script: the response is the mean of so many highest places")
    weight_self_cross: float = setting(1.0, "authors' code")

    def _losses(self) -> tuple[Loss, Loss, Loss]:
        response, stray = ExciteLoss(places=self.places, **self.reading), StrayLoss(**self.reading)
        shared = self.weight_self_cross * SelfCrossLoss(places=self.places, **self.reading)
        loss = response + 0.1 * stray + shared
        return loss, loss, response + stray + shared
