"""Suppress-to-Impress: attention that is even over an object, exclusive to it, and low elsewhere. A RECONSTRUCTION.

After the project page of Suppress-to-Impress (Glanceyes, 2023, "on-going"), which states an aim and no method; its unfinished
code needs masks and contradicts the aim. All formulas (`unbleed.losses.suppression`) are ours, and all settings but the step
size, which the code has from Attend-and-Excite.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..guidance.method import Method
from ..guidance.schedule import Schedule
from ..losses.suppression import SuppressionLoss
from ..settings import setting
from .base import RenormalisingMethod


@dataclass(frozen=True, kw_only=True)
class Suppress(RenormalisingMethod):
    """Suppress attention outside of an entity's own focus.

    After the project page of Suppress-to-Impress, 2023; a reconstruction of its aim.

    >>> from unbleed.methods import Suppress
    >>> Suppress(k=16).parts().loss.k
    16
    """

    name: ClassVar[str] = "suppress"
    paper: ClassVar[str] = "Suppress-to-Impress, project page, 2023"
    year: ClassVar[int] = 2023
    reconstruction: ClassVar[bool] = True

    step_size: float = setting(
        20.0, "the page's code, which has Attend-and-Excite's", help="step size of the update of the latents"
    )
    final_scale: float = setting(
        0.5, "ours, after Attend-and-Excite", help="the step size falls to sqrt(final_scale) times it at the end of the run"
    )
    stop: float = setting(0.5, "ours, after Attend-and-Excite", help="fraction of the run that is guided")
    level: float = setting(
        SuppressionLoss.level, "ours", help="fraction of an entity's highest value from which a pixel is in its focus"
    )
    k: int = setting(SuppressionLoss.k, "ours, for a grid of 16x16", help="number of pixels whose mean is the intensity")
    weight_outside: float = setting(
        SuppressionLoss.weight_outside, "ours", help="weight of the mean attention outside of the focus"
    )
    weight_evenness: float = setting(
        SuppressionLoss.weight_evenness, "ours", help="weight of the relative variance inside the focus"
    )
    weight_exclusivity: float = setting(SuppressionLoss.weight_exclusivity, "ours", help="weight of the overlap of entities")
    weight_intensity: float = setting(
        SuppressionLoss.weight_intensity,
        "ours: without it the best attention would be none",
        help="weight of the distance of the intensity from 1",
    )

    def _parts(self) -> Method:
        return Method(self.make(SuppressionLoss), self.make(Schedule))
