"""When a run is guided, how large a step is, and where it is refined: all in shares of the run.

The papers give loop indices of a 50-step run. A share f of a run of n steps means the same noise level at any n: step i is
in a window up to f when i / n < f, and an event at f happens at the first step with i / n >= f.
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
    """Repeated updates at one noise level until the loss is at most `target`, or its parts are at most theirs.

    At most `most` updates are made, whatever the loss. Raises `MethodError` for a target that is neither a number nor numbers
    by name.
    """

    target: float | Mapping[str, float] = -math.inf  # never reached: `most` updates in any case
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
    """When a run is guided and by which step size. `refine` maps a share of the run to the refinement at that point.

    Raises `MethodError` for a window that ends before it starts, a negative step size, or a share outside 0 to 1.
    """

    start: float = 0.0
    stop: float = 0.5
    step_size: float = 20.0
    final_scale: float = 1.0  # the step size at index i is step_size * sqrt(linspace(1, final_scale, n)[i])
    refine: Mapping[float, Refinement] = field(default_factory=dict)

    def __post_init__(self) -> None:
        refine = self.refine if isinstance(self.refine, Mapping) else {}
        shares = {"start": self.start, "stop": self.stop, **{f"refine at {f}": f for f in refine}}
        for name, share in shares.items():
            if not (is_number(share) and 0 <= share <= 1):
                raise MethodError(f"{name} is {share}; it is a share of the run, from 0 to 1")
        if self.start > self.stop:
            raise MethodError(f"start is {self.start} and stop is {self.stop}; expected a window that stops after it starts")
        for name, number in {"step_size": self.step_size, "final_scale": self.final_scale}.items():
            if not (is_number(number) and number >= 0):
                raise MethodError(f"{name} is {number}; expected a number from 0 on")
        if not isinstance(self.refine, Mapping) or not all(isinstance(one, Refinement) for one in refine.values()):
            raise MethodError(f"refine is {self.refine!r}; expected refinements by shares, as in {{0.2: Refinement(0.5)}}")
        check_settings(self)  # keeps `refine` so that it can be hashed

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


def _is_loss(value: object) -> bool:
    """Return whether a loss can be compared with `value`, which may be infinite."""
    return isinstance(value, int | float) and not isinstance(value, bool) and not math.isnan(value)
