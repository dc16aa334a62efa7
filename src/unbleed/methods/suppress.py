"""Suppress-to-Impress: attention that is even over an object, exclusive to it, and low elsewhere. A RECONSTRUCTION.

After the project page of Suppress-to-Impress (Glanceyes, 2023, "on-going"), which tells an aim and no method; its
unfinished code needs masks and contradicts the aim. All formulas (`unbleed.losses.suppression`) are ours, and all settings but
the step size, which the code has from Attend-and-Excite.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..guidance.method import Method, setting
from ..guidance.schedule import Schedule
from ..losses.suppression import SuppressionLoss
from .attend_and_excite import RenormalisingMethod


@dataclass(frozen=True, kw_only=True)
class Suppress(RenormalisingMethod):
    """Suppress what lies outside an entity's own focus."""

    name: ClassVar[str] = "suppress"
    paper: ClassVar[str] = "Suppress-to-Impress, project page, 2023"
    year: ClassVar[int] = 2023
    reconstruction: ClassVar[bool] = True

    step_size: float = setting(20.0, "the page's code, which has Attend-and-Excite's")
    final_scale: float = setting(0.5, "ours, after Attend-and-Excite")
    stop: float = setting(0.5, "ours, after Attend-and-Excite")
    level: float = setting(0.5, "ours: the share of an entity's highest value from which a place is in its focus")
    k: int = setting(8, "ours: the places of the intensity, on a grid of 16x16")
    weight_outside: float = setting(1.0, "ours")
    weight_evenness: float = setting(1.0, "ours")
    weight_exclusivity: float = setting(1.0, "ours")
    weight_intensity: float = setting(1.0, "ours: without this term no attention at all would be the best")

    def _parts(self) -> Method:
        return Method(
            loss=SuppressionLoss(
                kept=self.kept,
                temperature=self.temperature,
                sigma=self.sigma,
                level=self.level,
                k=self.k,
                weight_outside=self.weight_outside,
                weight_evenness=self.weight_evenness,
                weight_exclusivity=self.weight_exclusivity,
                weight_intensity=self.weight_intensity,
            ),
            schedule=Schedule(stop=self.stop, step_size=self.step_size, final_scale=self.final_scale),
        )
