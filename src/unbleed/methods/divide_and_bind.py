"""Divide & Bind Your Attention for Improved Generative Semantic Nursing.

Li, Keuper, Zhang, Khoreva, BMVC 2023, arXiv 2307.10864. Total variation, so that an entity may excite several places, and a
Jensen-Shannon divergence of an entity and its modifiers (`unbleed.losses.division`, with the formula and what is ours). Written
from the formulas: the authors' code is under the AGPL.

Refinement looks at the total variation alone. `parity="paper"` repeats the authors' vertical differences, which go to the
last row in place of the next one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from ..guidance.method import Method, setting
from ..guidance.schedule import Refinement, Schedule
from ..losses.division import DivisionLoss
from .attend_and_excite import RenormalisingMethod


@dataclass(frozen=True, kw_only=True)
class DivideAndBind(RenormalisingMethod):
    """Let every entity excite separate places, and its modifiers the same ones."""

    name: ClassVar[str] = "divide-and-bind"
    paper: ClassVar[str] = "Li et al., BMVC 2023, arXiv 2307.10864"
    year: ClassVar[int] = 2023

    step_size: float = setting(20.0, "authors' code; at step i times sqrt(linspace(1, final_scale)[i])")
    final_scale: float = setting(0.5, "authors' code")
    stop: float = setting(0.5, "authors' code: steps 0 to 24 of 50")
    coefficients: Mapping[float, float] = setting(
        {0.0: 1.0, 0.2: 5.0, 0.4: 10.0}, "authors' code: weight of the divergence from steps 0, 10, 20 of 50"
    )
    thresholds: Mapping[float, float] = setting(
        {0.0: 0.05, 0.2: 0.2, 0.4: 0.3}, "authors' code: total variation after refinement at steps 0, 10, 20 of 50"
    )
    max_refinements: int = setting(20, "authors' code at steps 10 and 20")
    first_refinements: int = setting(50, "authors' code at step 0, as its script runs it")

    def _parts(self) -> Method:
        first = min(self.thresholds, default=0.0)
        return Method(
            loss=DivisionLoss(
                kept=self.kept,
                temperature=self.temperature,
                sigma=self.sigma,
                coefficients=self.coefficients,
                paper_variation=self.parity == "paper",
            ),
            schedule=Schedule(
                stop=self.stop,
                step_size=self.step_size,
                final_scale=self.final_scale,
                refine={
                    share: Refinement(
                        {"variation": -variation}, self.first_refinements if share == first else self.max_refinements
                    )
                    for share, variation in self.thresholds.items()
                },
            ),
        )
