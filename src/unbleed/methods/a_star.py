"""A-STAR: Test-time Attention Segregation and Retention for Text-to-image Synthesis.

Agarwal, Karanam, Joseph, Saxena, Goswami, Srinivasan, ICCV 2023, arXiv 2306.14544. Equations 2 to 4
(`unbleed.losses.segregation`): concepts share no pixels, and each keeps those it had in the previous step; both with weight
1, one update per step, down to the last.

The paper leaves open the normalisation of the maps, the threshold, the step size, and whether the maps of the previous step are
those before or after its update. Ours: Attend-and-Excite's maps and step sizes, half of a map's range, after the update. That
takes one additional partial forward per step.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..guidance.method import Method
from ..guidance.schedule import Schedule
from ..losses.segregation import RetentionLoss, SegregationLoss
from ..settings import setting
from .base import RenormalisingMethod


@dataclass(frozen=True, kw_only=True)
class AStar(RenormalisingMethod):
    """Keep entities on different pixels, and each where it was in the previous step.

    Agarwal et al., ICCV 2023, arXiv 2306.14544.

    >>> from unbleed.methods import AStar
    >>> [(weight, type(loss).__name__) for weight, loss in AStar(weight_retention=0.5).parts().loss.weighted]
    [(1.0, 'SegregationLoss'), (0.5, 'RetentionLoss')]
    """

    name: ClassVar[str] = "a-star"
    paper: ClassVar[str] = "Agarwal et al., ICCV 2023, arXiv 2306.14544"
    year: ClassVar[int] = 2023

    step_size: float = setting(
        20.0, "ours, after Attend-and-Excite: the paper does not state it", help="step size of the update of the latents"
    )
    final_scale: float = setting(
        0.5, "ours, after Attend-and-Excite", help="the step size falls to sqrt(final_scale) times it at the end of the run"
    )
    stop: float = setting(1.0, "paper, section 3: through the last step", help="fraction of the run that is guided")
    weight_segregation: float = setting(1.0, "paper, equation 4", help="weight of the overlap of entities")
    weight_retention: float = setting(1.0, "paper, equation 4", help="weight of staying where an entity was")
    threshold: float = setting(
        RetentionLoss.threshold,
        "ours: the paper does not define a high activation",
        help="value from 0 to 1 of a stretched map from which a pixel is to be kept",
    )

    def _parts(self) -> Method:
        segregation, retention = self.make(SegregationLoss), self.make(RetentionLoss)
        return Method(self.weight_segregation * segregation + self.weight_retention * retention, self.make(Schedule))
