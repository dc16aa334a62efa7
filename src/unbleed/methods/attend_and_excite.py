"""Attend-and-Excite: Attention-Based Semantic Guidance for Text-to-Image Diffusion Models.

Chefer, Alaluf, Vinker, Wolf, Cohen-Or, SIGGRAPH 2023, arXiv 2301.13826. Algorithm 1 with the loss of equations 2 and 3
(`unbleed.losses.excite`).

Ours, not the paper's: the entities come from the prompt instead of a list of token numbers; a noun of several pieces counts as
the sum of its pieces' maps; images are guided together, each by itself; noise levels are counted instead of calls; the guidance
sees the latents as the scheduler scales them. With `parity="paper"` the last piece counts alone, calls are counted, and nothing
is scaled: on SD 1 these are the numbers of diffusers' `StableDiffusionAttendAndExcitePipeline` under DDIM, PNDM and Euler. On
SD 2 the authors' own code is followed, from which diffusers departs (it keeps the padding there).

A threshold at a fraction of the run beyond `stop` has no effect.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from ..guidance.method import Method
from ..guidance.schedule import Refinement, Schedule
from ..losses.excite import ExciteLoss
from ..settings import setting
from .base import RenormalisingMethod


@dataclass(frozen=True, kw_only=True)
class AttendAndExcite(RenormalisingMethod):
    """Raise the attention to the most neglected entity.

    Chefer et al., SIGGRAPH 2023, arXiv 2301.13826.

    >>> from unbleed.methods import AttendAndExcite
    >>> AttendAndExcite(thresholds={0.2: 0.5}).parts().schedule.refine
    {0.2: Refinement(target=0.5, most=20)}
    """

    name: ClassVar[str] = "attend-and-excite"
    paper: ClassVar[str] = "Chefer et al., SIGGRAPH 2023, arXiv 2301.13826"
    year: ClassVar[int] = 2023

    step_size: float = setting(
        20.0,
        "authors' code; at step i times sqrt(linspace(1, final_scale)[i])",
        help="step size of the update of the latents",
    )
    final_scale: float = setting(
        0.5,
        "authors' code, so the step size ends at 14.1; the paper says 10",
        help="the step size falls to sqrt(final_scale) times it at the end of the run",
    )
    stop: float = setting(0.5, "authors' code: steps 0 to 24 of 50", help="fraction of the run that is guided")
    thresholds: Mapping[float, float] = setting(
        {0.0: 0.05, 0.2: 0.5, 0.4: 0.8},
        "authors' code, at steps 0, 10, 20 of 50",
        help="at a fraction of the run: peak, from 0 to 1, that refinement raises every entity to",
    )
    max_refinements: int = setting(20, "authors' code", help="largest number of updates of one refinement")

    def _parts(self) -> Method:
        refine = {at: Refinement(1 - peak, self.max_refinements) for at, peak in self.thresholds.items()}
        loss = self.make(ExciteLoss, pieces="last" if self.parity == "paper" else "sum")
        return Method(loss, self.make(Schedule, refine=refine))
