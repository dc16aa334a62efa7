"""When a run is guided, how large a step is, and where it is refined: all in shares of the run.

The papers give loop indices of a 50-step run. A share f of a run of n steps means the same noise level at any n: step i is
in a window up to f when i / n < f, and an event at f happens at the first step with i / n >= f.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from ..errors import MethodError

_TOLERANCE = 1e-9  # 0.2 * 50 must be 10 whatever the rounding


class Refinement(NamedTuple):
    """Repeated updates at one noise level until the loss is at most `target`, or its parts are at most theirs."""

    target: float | Mapping[str, float] = -math.inf  # never reached: `most` updates in any case
    most: int = 20

    def scaled(self, weight: float) -> Refinement:
        """Return the refinement of `weight` times the loss."""
        if isinstance(self.target, Mapping):
            return self._replace(target={name: weight * most for name, most in self.target.items()})
        return self._replace(target=weight * self.target)


@dataclass(frozen=True)
class Schedule:
    """`refine` maps a share of the run to the refinement at that point."""

    start: float = 0.0
    stop: float = 0.5
    step_size: float = 20.0
    final_scale: float = 1.0  # the step size at index i is step_size * sqrt(linspace(1, final_scale, n)[i])
    refine: Mapping[float, Refinement] = field(default_factory=dict)

    def __post_init__(self) -> None:
        shares = {"start": self.start, "stop": self.stop, **{f"refine at {f}": f for f in self.refine}}
        for name, share in shares.items():
            if not 0 <= share <= 1:
                raise MethodError(f"{name} is {share}; it is a share of the run, from 0 to 1")
        if not math.isfinite(self.step_size):
            raise MethodError(f"step_size is {self.step_size}; expected a finite number")
        if not (math.isfinite(self.final_scale) and self.final_scale >= 0):
            raise MethodError(f"final_scale is {self.final_scale}; expected a number from 0 on")
        for share, refinement in self.refine.items():
            if refinement.most < 0:
                raise MethodError(f"at most {refinement.most} refinements at {share}; expected 0 or more")

    def guides(self, index: int, steps: int) -> bool:
        """Return whether step `index` of `steps` is guided."""
        return self.start - _TOLERANCE <= index / steps < self.stop - _TOLERANCE

    def step_size_at(self, index: int, steps: int) -> float:
        """Return the step size at step `index` of `steps`."""
        along = index / (steps - 1) if steps > 1 else 0.0
        return self.step_size * math.sqrt(1 + (self.final_scale - 1) * along)

    def refinement_at(self, index: int, steps: int) -> Refinement | None:
        """Return the refinement at step `index`, or None. Where few steps make two fall together, the later counts."""
        here = [share for share in self.refine if math.ceil(share * steps - _TOLERANCE) == index]
        return self.refine[max(here)] if here else None
