"""Divide & Bind Your Attention for Improved Generative Semantic Nursing.

Li, Keuper, Zhang, Khoreva, BMVC 2023, arXiv 2307.10864. Total variation, so that an entity may excite several pixels, and a
Jensen-Shannon divergence of an entity and its modifiers (`unbleed.losses.division`, with the formula and what is ours). Written
from the formulas: the authors' code is under the AGPL.

Refinement looks at the total variation alone. `parity="paper"` repeats the vertical differences of the authors' code, which are
taken to the last row instead of the next one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from ..guidance.method import Method
from ..guidance.schedule import Refinement, Schedule
from ..losses.division import DivisionLoss
from ..settings import setting
from .base import RenormalisingMethod


@dataclass(frozen=True, kw_only=True)
class DivideAndBind(RenormalisingMethod):
    """Let every entity excite separate pixels, and its modifiers the same ones.

    Li et al., BMVC 2023, arXiv 2307.10864.

    >>> from unbleed.methods import DivideAndBind
    >>> DivideAndBind(thresholds={0.2: 0.2}, first_refinements=10).parts().schedule.refine
    {0.2: Refinement(target={'variation': -0.2}, most=10)}
    """

    name: ClassVar[str] = "divide-and-bind"
    paper: ClassVar[str] = "Li et al., BMVC 2023, arXiv 2307.10864"
    year: ClassVar[int] = 2023

    step_size: float = setting(
        20.0,
        "authors' code; at step i times sqrt(linspace(1, final_scale)[i])",
        help="step size of the update of the latents",
    )
    final_scale: float = setting(
        0.5, "authors' code", help="the step size falls to sqrt(final_scale) times it at the end of the run"
    )
    stop: float = setting(0.5, "authors' code: steps 0 to 24 of 50", help="fraction of the run that is guided")
    coefficients: Mapping[float, float] = setting(
        {0.0: 1.0, 0.2: 5.0, 0.4: 10.0},
        "authors' code, from steps 0, 10, 20 of 50",
        help="from a fraction of the run on: weight of the divergence",
    )
    thresholds: Mapping[float, float] = setting(
        {0.0: 0.05, 0.2: 0.2, 0.4: 0.3},
        "authors' code, at steps 0, 10, 20 of 50",
        help="at a fraction of the run: total variation, from 0 to 2, that refinement raises every entity to",
    )
    max_refinements: int = setting(
        20, "authors' code at steps 10 and 20", help="largest number of updates of one refinement, but for the first"
    )
    first_refinements: int = setting(
        50, "authors' code at step 0, as its script runs it", help="largest number of updates of the first refinement"
    )

    def _parts(self) -> Method:
        first = min(self.thresholds, default=0.0)
        refine = {
            at: Refinement({"variation": -variation}, self.first_refinements if at == first else self.max_refinements)
            for at, variation in self.thresholds.items()
        }
        loss = self.make(DivisionLoss, paper_variation=self.parity == "paper")
        return Method(loss, self.make(Schedule, refine=refine))
