"""A-STAR: Test-time Attention Segregation and Retention for Text-to-image Synthesis.

Agarwal, Karanam, Joseph, Saxena, Goswami, Srinivasan, ICCV 2023, arXiv 2306.14544. Equations 2 to 4
(`unbleed.losses.segregation`): the concepts share no places, and each keeps those that it had a step ago; both with weight
1, one update per step, down to the last.

The paper leaves open the normalisation of the maps, the threshold, the step size and whether the step before is seen before
or after its update. Ours: Attend-and-Excite's maps and step sizes, half of a map's range, after the update. That takes
a part of a forward more in every step.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..guidance.method import Method, setting
from ..guidance.schedule import Schedule
from ..losses.segregation import RetentionLoss, SegregationLoss
from .attend_and_excite import RenormalisingMethod


@dataclass(frozen=True, kw_only=True)
class AStar(RenormalisingMethod):
    """Keep entities on different places, and each where it was a step ago."""

    name: ClassVar[str] = "a-star"
    paper: ClassVar[str] = "Agarwal et al., ICCV 2023, arXiv 2306.14544"
    year: ClassVar[int] = 2023

    step_size: float = setting(20.0, "ours, after Attend-and-Excite: the paper does not tell")
    final_scale: float = setting(0.5, "ours, after Attend-and-Excite")
    stop: float = setting(1.0, "paper, section 3: through the last step")
    weight_segregation: float = setting(1.0, "paper, equation 4")
    weight_retention: float = setting(1.0, "paper, equation 4")
    threshold: float = setting(0.5, "ours: the paper does not tell what a high activation is")

    def _parts(self) -> Method:
        reading = {"kept": self.kept, "temperature": self.temperature, "sigma": self.sigma}
        return Method(
            loss=self.weight_segregation * SegregationLoss(**reading)
            + self.weight_retention * RetentionLoss(threshold=self.threshold, **reading),
            schedule=Schedule(stop=self.stop, step_size=self.step_size, final_scale=self.final_scale),
        )
