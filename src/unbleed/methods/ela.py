"""ELA: Entity Localization and Anchoring. A RECONSTRUCTION.

Zhang, Guo, Dong, Zhang, Liu, Yu, Wu, ICML 2024 (PMLR 235, OpenReview MsnJl6JkZS). Neither its text nor its code could be
had, only the abstract: differentiation and binarization of the maps into regions that do not overlap, a loss that keeps
every entity in its region, small updates of the latent. All formulas (`unbleed.losses.localization`) and settings are ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..guidance.method import Method, PaperMethod, setting
from ..guidance.schedule import Schedule
from ..losses.localization import AnchoringLoss


@dataclass(frozen=True, kw_only=True)
class ELA(PaperMethod):
    """Give every entity a region of its own and keep it there."""

    name: ClassVar[str] = "ela"
    paper: ClassVar[str] = "Zhang et al., ICML 2024, PMLR 235"
    year: ClassVar[int] = 2024
    reconstruction: ClassVar[bool] = True

    step_size: float = setting(10.0, "ours: half of Attend-and-Excite's, for the abstract's small updates")
    final_scale: float = setting(0.5, "ours, after Attend-and-Excite")
    stop: float = setting(0.5, "ours, after Attend-and-Excite")
    tau: float = setting(0.4, "ours: the share of an entity's lead from which a place is in its region")
    weight_outside: float = setting(1.0, "ours")
    sigma: float = setting(0.5, "ours, after Attend-and-Excite")

    def _parts(self) -> Method:
        return Method(
            loss=AnchoringLoss(tau=self.tau, weight_outside=self.weight_outside, sigma=self.sigma),
            schedule=Schedule(stop=self.stop, step_size=self.step_size, final_scale=self.final_scale),
        )
