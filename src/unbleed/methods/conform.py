"""CONFORM: Contrast is All You Need for High-Fidelity Text-to-Image Diffusion Models.

Meral, Simsar, Tombari, Yanardag, CVPR 2024, arXiv 2312.06059. The words of one entity, now and a step ago, attract each other
and repel those of the others (`unbleed.losses.contrast`, with what is the authors' and what is ours).

The settings are those of the authors' notebook; the defaults of their pipeline differ (25 steps, maps renormalised).
The maps of the step before are, as in their code, those on which its loss was last measured.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from ..guidance.method import Method, PaperMethod, setting
from ..guidance.schedule import Refinement, Schedule
from ..losses.contrast import ContrastLoss


@dataclass(frozen=True, kw_only=True)
class Conform(PaperMethod):
    """Let the words of an entity attract each other and repel the others'."""

    name: ClassVar[str] = "conform"
    paper: ClassVar[str] = "Meral et al., CVPR 2024, arXiv 2312.06059"
    year: ClassVar[int] = 2024

    step_size: float = setting(20.0, "authors' notebook; at step i times sqrt(linspace(1, final_scale)[i])")
    final_scale: float = setting(0.5, "authors' notebook")
    stop: float = setting(0.6, "authors' notebook: steps 0 to 29 of 50")
    refinements: Mapping[float, float] = setting(
        {0.0: 20, 0.2: 20, 0.4: 20}, "authors' notebook: so many more updates at steps 0, 10, 20 of 50, whatever the loss"
    )
    temperature: float = setting(0.5, "authors' notebook: of the contrast")
    sigma: float = setting(0.5, "authors' notebook")
    normalise: bool = setting(False, "authors' notebook: maps are not renormalised over tokens")

    def _parts(self) -> Method:
        return Method(
            loss=ContrastLoss(temperature=self.temperature, sigma=self.sigma, normalise=self.normalise),
            schedule=Schedule(
                stop=self.stop,
                step_size=self.step_size,
                final_scale=self.final_scale,
                refine={share: Refinement(most=round(count)) for share, count in self.refinements.items()},
            ),
        )
