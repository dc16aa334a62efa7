"""Schedules: which steps are guided, by which step size, and where they are refined. All in fractions of the run.

The papers give loop indices of a run of 50 steps. A fraction f of a run of n steps means the same noise level at any n: step i
is in a window up to f if i / n < f, and a refinement at f happens at the first step with i / n >= f.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from ..errors import MethodError
from ..settings import FrozenMapping, WholeNumber, check_settings, is_number

_TOLERANCE = 1e-9  # 0.2 * 50 must be 10 whatever the rounding


@dataclass(frozen=True)
class Refinement:
    """Repeated updates at one noise level, until the loss is low enough.

    >>> Refinement(target=0.2, most=10).scaled(0.5)
    Refinement(target=0.1, most=10)

    Args:
        target: The loss at which an image is done, or a loss for each part by name, as in `{"excite": 0.2}`. Default: never.
        most: The largest number of updates.

    Raises:
        MethodError: if `target` is neither a number nor numbers by name.

    Source: iterative latent refinement of Attend-and-Excite (Chefer et al., SIGGRAPH 2023, arXiv 2301.13826, section 3.2).
    """

    target: float | Mapping[str, float] = -math.inf
    most: WholeNumber = 20

    def __post_init__(self) -> None:
        if isinstance(self.target, Mapping):
            object.__setattr__(self, "target", FrozenMapping(self.target))
        targets = dict(self.target) if isinstance(self.target, Mapping) else {"loss": self.target}
        if not all(isinstance(part, str) and _is_loss(most) for part, most in targets.items()):
            raise MethodError(
                f'target of a refinement is {self.target!r}; expected a loss, or losses by part, as in {{"excite": 0.2}}'
            )
        check_settings(self, "a refinement")

    def scaled(self, weight: float) -> Refinement:
        """Return the refinement of `weight` times the loss."""
        if isinstance(self.target, Mapping):
            return replace(self, target={name: weight * most for name, most in self.target.items()})
        return self if self.target == -math.inf else replace(self, target=weight * self.target)


@dataclass(frozen=True)
class Schedule:
    """Which steps of a run are guided, by which step size, and which are refined.

    >>> schedule = Schedule(stop=0.5, step_size=10, refine={0.2: Refinement(0.5)})
    >>> [schedule.guides(step, 4) for step in range(4)]
    [True, True, False, False]
    >>> schedule.refinement_at(1, 4)
    Refinement(target=0.5, most=20)

    Args:
        start: Fraction of the run, from 0 to 1, at which guidance begins.
        stop: Fraction of the run at which it ends.
        step_size: Factor of the gradient, in latents (as the denoiser sees them) per unit of the gradient.
        final_scale: The step size at step i of n is step_size * sqrt(linspace(1, final_scale, n)[i]).
        refine: Fractions of the run, each with the refinement of the first step at or after it.

    Raises:
        MethodError: if the window ends before it starts, a step size is negative, or a fraction is not from 0 to 1.

    Source: the schedule of Attend-and-Excite's code; its `scale_range` (1, 0.5) is final_scale=0.5.
    """

    start: float = 0.0
    stop: float = 0.5
    step_size: float = 20.0
    final_scale: float = 1.0
    refine: Mapping[float, Refinement] = field(default_factory=dict)

    def __post_init__(self) -> None:
        refine = self.refine if isinstance(self.refine, Mapping) else {}
        fractions = {"start": self.start, "stop": self.stop, **{f"refine at {f}": f for f in refine}}
        for name, fraction in fractions.items():
            if not (is_number(fraction) and 0 <= fraction <= 1):
                raise MethodError(f"{name} is {fraction}; expected a fraction of the run, from 0 to 1")
        if self.start > self.stop:
            raise MethodError(f"start is {self.start} and stop is {self.stop}; expected a stop after the start")
        for name, number in {"step_size": self.step_size, "final_scale": self.final_scale}.items():
            if not (is_number(number) and number >= 0):
                raise MethodError(f"{name} is {number}; expected a number from 0 on")
        if not isinstance(self.refine, Mapping) or not all(isinstance(one, Refinement) for one in refine.values()):
            raise MethodError(f"refine is {self.refine!r}; expected refinements by fractions, as in {{0.2: Refinement(0.5)}}")
        check_settings(self)  # also freezes `refine`, so that it can be hashed

    def guides(self, index: int, steps: int) -> bool:
        """Return whether step `index` of `steps` is guided."""
        return self.start - _TOLERANCE <= index / steps < self.stop - _TOLERANCE

    def step_size_at(self, index: int, steps: int) -> float:
        """Return the step size at step `index` of `steps`."""
        along = index / (steps - 1) if steps > 1 else 0.0
        return self.step_size * math.sqrt(1 + (self.final_scale - 1) * along)

    def refinement_at(self, index: int, steps: int) -> Refinement | None:
        """Return the refinement at step `index` of `steps`, or None. If two fall on one step, the later one counts."""
        here = [fraction for fraction in self.refine if math.ceil(fraction * steps - _TOLERANCE) == index]
        return self.refine[max(here)] if here else None


def _is_loss(value: object) -> bool:
    """Return whether `value` is a number, infinity included."""
    return isinstance(value, int | float) and not isinstance(value, bool) and not math.isnan(value)
