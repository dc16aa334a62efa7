"""ELA: Entity Localization and Anchoring. A RECONSTRUCTION.

Zhang, Guo, Dong, Zhang, Liu, Yu, Wu, ICML 2024 (PMLR 235, OpenReview MsnJl6JkZS). Of the paper only the abstract was available,
and no code. It names differentiation and binarization of the maps into regions that do not overlap, a loss that keeps every
entity in its region, and small updates of the latent. All formulas (`unbleed.losses.localization`) and settings are ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..guidance.method import Method
from ..guidance.schedule import Schedule
from ..losses.localization import AnchoringLoss
from ..settings import setting
from .base import PaperMethod


@dataclass(frozen=True, kw_only=True)
class ELA(PaperMethod):
    """Give every entity a region of its own and keep it there.

    After Zhang et al., ICML 2024, PMLR 235; a reconstruction from the abstract.

    >>> from unbleed.methods import ELA
    >>> ELA(tau=0.5).parts().loss
    AnchoringLoss(tau=0.5, weight_outside=1.0, sigma=0.5)
    """

    name: ClassVar[str] = "ela"
    paper: ClassVar[str] = "Zhang et al., ICML 2024, PMLR 235"
    year: ClassVar[int] = 2024
    reconstruction: ClassVar[bool] = True

    step_size: float = setting(
        10.0,
        "ours: half of Attend-and-Excite's, for the abstract's small updates",
        help="step size of the update of the latents",
    )
    final_scale: float = setting(
        0.5, "ours, after Attend-and-Excite", help="the step size falls to sqrt(final_scale) times it at the end of the run"
    )
    stop: float = setting(0.5, "ours, after Attend-and-Excite", help="fraction of the run that is guided")
    tau: float = setting(
        AnchoringLoss.tau,
        "ours",
        help="fraction of an entity's largest lead over the others from which a pixel is in its region",
    )
    weight_outside: float = setting(AnchoringLoss.weight_outside, "ours", help="weight of the attention outside of the region")
    sigma: float = setting(
        AnchoringLoss.sigma,
        "ours, after Attend-and-Excite",
        help="width of the 3x3 smoothing of the maps, in pixels; 0 for none",
    )

    def _parts(self) -> Method:
        return Method(self.make(AnchoringLoss), self.make(Schedule))
