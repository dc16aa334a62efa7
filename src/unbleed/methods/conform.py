"""CONFORM: Contrast is All You Need for High-Fidelity Text-to-Image Diffusion Models.

Meral, Simsar, Tombari, Yanardag, CVPR 2024, arXiv 2312.06059. The words of one entity, in this step and the previous one,
attract each other and repel those of the others (`unbleed.losses.contrast`, with what is the authors' and what is ours).

The settings are those of the authors' notebook; the defaults of their pipeline differ (25 steps, maps renormalised).
As in their code, the maps of the previous step are those on which its loss was last evaluated.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from ..guidance.method import Method
from ..guidance.schedule import Refinement, Schedule
from ..losses.contrast import ContrastLoss
from ..settings import setting
from .base import PaperMethod


@dataclass(frozen=True, kw_only=True)
class Conform(PaperMethod):
    """Let the words of an entity attract each other and repel those of the others.

    Meral et al., CVPR 2024, arXiv 2312.06059.

    >>> from unbleed.methods import Conform
    >>> Conform(refinements={0.1: 5}).parts().schedule.refine
    {0.1: Refinement(target=-inf, most=5)}
    """

    name: ClassVar[str] = "conform"
    paper: ClassVar[str] = "Meral et al., CVPR 2024, arXiv 2312.06059"
    year: ClassVar[int] = 2024

    step_size: float = setting(
        20.0,
        "authors' notebook; at step i times sqrt(linspace(1, final_scale)[i])",
        help="step size of the update of the latents",
    )
    final_scale: float = setting(
        0.5, "authors' notebook", help="the step size falls to sqrt(final_scale) times it at the end of the run"
    )
    stop: float = setting(0.6, "authors' notebook: steps 0 to 29 of 50", help="fraction of the run that is guided")
    refinements: Mapping[float, float] = setting(
        {0.0: 20, 0.2: 20, 0.4: 20},
        "authors' notebook, at steps 0, 10, 20 of 50",
        help="at a fraction of the run: number of additional updates, whatever the loss",
    )
    temperature: float = setting(
        ContrastLoss.temperature, "authors' notebook", help="divisor of the similarities in the contrast"
    )
    sigma: float = setting(
        ContrastLoss.sigma, "authors' notebook", help="width of the 3x3 smoothing of the maps, in pixels; 0 for none"
    )
    normalise: bool = setting(
        ContrastLoss.normalise, "authors' notebook", help="renormalise the maps over tokens, as Attend-and-Excite does"
    )

    def _parts(self) -> Method:
        refine = {at: Refinement(most=round(count)) for at, count in self.refinements.items()}
        return Method(self.make(ContrastLoss), self.make(Schedule, refine=refine))
