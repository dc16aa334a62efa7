"""What a method is to the guidance: a loss and a schedule."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Literal, get_args, get_origin, get_type_hints

from ..errors import MethodError
from ..losses import Loss
from .schedule import Schedule


@dataclass(frozen=True, kw_only=True)
class Method:
    """Base of all methods. The settings of a paper's method are fields of its subclass.

    `parity="paper"` does what the authors' code does where ours departs from it: steps are counted as calls of the
    denoiser (PNDM visits its second noise level twice, and both are guided), the guidance forward sees the latents
    without the scheduler's input scaling, and whatever else the method's own file names.

    `resolution` names the attention layers that are read by the side of their grid at the model's own picture size (16 on
    SD 1: the layers that are 16x16 at 512 pixels). None takes those that the papers read on this kind of model.
    """

    name: ClassVar[str] = ""
    paper: ClassVar[str] = ""
    year: ClassVar[int] = 0
    reconstruction: ClassVar[bool] = False

    parity: Literal["ours", "paper"] = "ours"
    resolution: int | None = None

    @property
    def loss(self) -> Loss | None:
        """The loss whose gradient moves the latents; None leaves them alone."""
        return None

    @property
    def schedule(self) -> Schedule:
        return Schedule()

    def __post_init__(self) -> None:
        """Refuse settings of the wrong kind when they are given, not in the middle of a run."""
        for name, expected in get_type_hints(type(self)).items():
            if get_origin(expected) is ClassVar:
                continue
            value = getattr(self, name)
            if get_origin(expected) is Literal and value not in get_args(expected):
                raise MethodError(f'{name} of {self.name} is "{value}"; expected one of {", ".join(get_args(expected))}')
            if value is None and type(None) in get_args(expected):
                continue
            number = {float: (int, float), int: int, int | None: int}.get(expected)
            if expected is bool and not isinstance(value, bool):
                raise MethodError(f"{name} of {self.name} is {value!r}; expected true or false")
            if number and not _is_number(value, number):
                raise MethodError(f"{name} of {self.name} is {value!r}; expected a number")
            if get_origin(expected) is Mapping and not (
                isinstance(value, Mapping) and all(_is_number(x, (int, float)) for pair in value.items() for x in pair)
            ):
                raise MethodError(
                    f"{name} of {self.name} is {value!r}; expected numbers by shares of the run, as in {{0.2: 0.5}}"
                )
        _ = self.schedule  # checks its own figures

    def settings(self) -> dict[str, Any]:
        """Return all settings by name, as JSON can hold them."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return {k: {str(a): b for a, b in v.items()} if isinstance(v, Mapping) else v for k, v in values.items()}


def _is_number(value: Any, kinds: Any) -> bool:
    return isinstance(value, kinds) and not isinstance(value, bool) and math.isfinite(value)


@dataclass(frozen=True, kw_only=True)
class LossMethod(Method):
    """A loss with a schedule of one's own: what `guide` makes of a bare loss."""

    name: ClassVar[str] = "loss"
    own_loss: Loss
    own_schedule: Schedule = field(default_factory=Schedule)

    @property
    def loss(self) -> Loss:
        return self.own_loss

    @property
    def schedule(self) -> Schedule:
        return self.own_schedule

    def settings(self) -> dict[str, Any]:
        return {"loss": repr(self.own_loss), "schedule": repr(self.own_schedule), "parity": self.parity}
