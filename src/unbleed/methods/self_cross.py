"""Self-Cross Diffusion Guidance for Text-to-Image Synthesis of Similar Subjects.

Qiu, Wang, Tang, CVPR 2025, arXiv 2411.18936. On top of InitNO: no entity is to attend to what the pixels of another attend to
(`unbleed.losses.self_attention`), in every step and not in refinement alone. As in the authors' code the whole loss, not the
response alone, must fall to the target.

The first noise is searched for by this loss too. Ours: as in `initno`, and on Stable Diffusion 2.1 too, where the authors guide
40 of 50 steps (`stop=0.8`) and keep the seed's noise. They have CONFORM as another base; `conform + self-cross` would have
InitNO's parts too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..losses import Loss
from ..losses.excite import ExciteLoss
from ..losses.self_attention import SelfCrossLoss, StrayLoss
from ..settings import setting
from .initno import InitNO


@dataclass(frozen=True, kw_only=True)
class SelfCross(InitNO):
    """Keep entities away from what the pixels of others attend to, starting from a good first noise.

    Qiu et al., CVPR 2025, arXiv 2411.18936.

    >>> from unbleed.methods import SelfCross
    >>> [type(loss).__name__ for _, loss in SelfCross().parts().loss.weighted]
    ['ExciteLoss', 'StrayLoss', 'SelfCrossLoss']
    """

    name: ClassVar[str] = "self-cross"
    paper: ClassVar[str] = "Qiu et al., CVPR 2025, arXiv 2411.18936"
    year: ClassVar[int] = 2025

    shared: ClassVar[str] = "self-cross"

    places: int = setting(
        SelfCrossLoss.places, "authors' script", help="the peak of an entity is the mean of this number of its highest pixels"
    )
    weight_self_cross: float = setting(1.0, "authors' code", help="weight of the loss on self-attention")

    def _losses(self) -> tuple[Loss, Loss, Loss]:
        response, stray = self.make(ExciteLoss), self.make(StrayLoss)
        shared = self.weight_self_cross * self.make(SelfCrossLoss)
        loss = response + 0.1 * stray + shared
        return loss, loss, response + stray + shared
