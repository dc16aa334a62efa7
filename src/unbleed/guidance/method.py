"""What a method is to the guidance: what is lowered, when, how the latents follow, and what else is changed.

A `Method` has these parts, and anyone can put one together. A `PaperMethod` is the settings of a paper, from which it makes
its parts; a `Composition` is a weighted sum of others.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import MISSING, Field, dataclass, field, fields, replace
from typing import Any, ClassVar, Literal, NamedTuple, get_args, get_origin, get_type_hints

from ..attention.families import Part
from ..errors import MethodError
from ..losses import Loss
from .edit import Edit
from .noise import NoiseSearch
from .schedule import Schedule
from .update import Descent, Direction

Parity = Literal["ours", "paper"]


class Parameter(NamedTuple):
    """A setting as `describe` tells it."""

    name: str
    value: Any
    default: Any
    source: str  # where the default comes from


class BaseMethod(ABC):
    """What `guide` takes. Methods add up: `SynGen() + 0.5 * OverlapIoU()`."""

    name: str

    @abstractmethod
    def parts(self) -> Method:
        """Return what the guidance works with."""

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """Return all settings by name, as JSON can hold them."""

    @abstractmethod
    def describe(self) -> list[Parameter]:
        """Return every setting with its value, its default and the source of that."""

    @property
    def needs(self) -> tuple[str, ...]:
        """What it asks of a model and a prompt, of gradient, parser and self-attention."""
        parts = self.parts()
        losses = [loss for loss in (parts.loss, parts.refinement, parts.noise and parts.noise.loss) if loss]
        return (
            *(["gradient"] if losses else []),
            *(["parser"] if losses or parts.edits else []),
            *(["self-attention"] if any(loss.reads_self_attention for loss in losses) else []),
        )

    def __add__(self, other: BaseMethod | Loss) -> Composition:
        if not isinstance(other, (BaseMethod, Loss)):
            return NotImplemented
        return Composition((*_weighted(self), *_weighted(other if isinstance(other, BaseMethod) else Method(other))))

    def __mul__(self, weight: float) -> Composition:
        return Composition(tuple((weight * own, method) for own, method in _weighted(self)))

    __rmul__ = __mul__


@dataclass(frozen=True)
class Method(BaseMethod):
    """A method in parts: `Method(SynGenLoss() + 0.5 * OverlapLoss("iou"), Schedule(stop=0.3, step_size=10))`.

    `parity="paper"` does what the authors' code does where ours departs from it: steps are counted as calls of the
    denoiser (PNDM visits its second noise level twice, and both are guided), the guidance forward sees the latents
    without the scheduler's input scaling, and whatever else a method's own file names.

    `resolution` names the attention layers that are read by the side of their grid at the model's own picture size (16 on
    SD 1: the layers that are 16x16 at 512 pixels); None takes those that the papers read on this kind of model. `layers`
    keeps those of one part of the denoiser.
    """

    loss: Loss | None = None  # whose gradient moves the latents
    schedule: Schedule = field(default_factory=Schedule)
    descent: Descent = field(default_factory=Descent)
    refinement: Loss | None = None  # in steps that are refined, where it is another than `loss`
    noise: NoiseSearch | None = None  # what becomes of the noise before the first step
    edits: tuple[Edit, ...] = ()  # what is changed inside the denoiser, without a gradient
    parity: Parity = "ours"
    resolution: int | None = None
    layers: Part = "all"
    name: str = "method"

    def parts(self) -> Method:
        return self

    def settings(self) -> dict[str, Any]:
        return {f.name: _plain(getattr(self, f.name)) for f in fields(self) if f.name != "name"}

    def describe(self) -> list[Parameter]:
        return [_parameter(self, f, "given") for f in fields(self) if f.name != "name"]


def setting(default: Any, source: str) -> Any:
    """Declare a setting of a paper's method: its default, and where that comes from."""
    metadata = {"source": source}
    if isinstance(default, Mapping):
        return field(default_factory=lambda: dict(default), metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass(frozen=True, kw_only=True)
class PaperMethod(BaseMethod):
    """Base of the methods of `unbleed.methods`: a frozen dataclass whose fields are the paper's settings."""

    name: ClassVar[str] = ""  # pyright: ignore[reportIncompatibleVariableOverride]
    paper: ClassVar[str] = ""
    year: ClassVar[int] = 0
    reconstruction: ClassVar[bool] = False

    parity: Parity = setting("ours", "see Method")
    resolution: int | None = setting(None, "the layers that the papers read on this kind of model")
    layers: Part = setting("all", "all layers of that resolution, as the papers do")
    direction: Direction = setting("plain", "the gradient as it is, as the papers do")
    limit: float | None = setting(None, "no limit, as the papers do")
    enough: float | None = setting(None, "guided to the end whatever the loss, as the papers do")

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
            number = {float: (int, float), float | None: (int, float), int: int, int | None: int}.get(expected)
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
        _ = self.parts()  # checks its own figures

    @abstractmethod
    def _parts(self) -> Method:
        """Return what the settings make, but for those that all methods share."""

    def parts(self) -> Method:
        return replace(
            self._parts(),
            descent=Descent(self.direction, self.limit, self.enough),
            parity=self.parity,
            resolution=self.resolution,
            layers=self.layers,
            name=self.name,
        )

    def settings(self) -> dict[str, Any]:
        return {f.name: _plain(getattr(self, f.name)) for f in fields(self)}

    def describe(self) -> list[Parameter]:
        return [_parameter(self, f, "") for f in fields(self)]


@dataclass(frozen=True)
class Composition(BaseMethod):
    """A weighted sum of methods: their losses add up, their edits all act, and the first one leads.

    The leader, which has a loss if any has one, says when, how far and at which layers. Settings are named as those of the
    leader, and those of the others with their method's name before them: `overlap-iou.floor`. Targets of a refinement are
    scaled by the leader's weight; one for the whole loss (Attend-and-Excite's thresholds) is for the whole sum, so that beside
    a loss below 0 it is soon reached.

    Raises `MethodError` when a method stands twice, when two change the noise or replace the text attention, or when a
    weight has no loss to weigh.
    """

    weighted: tuple[tuple[float, BaseMethod], ...]

    def __post_init__(self) -> None:
        names = [method.name for _, method in self.weighted]
        if len(set(names)) < len(names):
            raise MethodError(f"{self.name} names a method twice; add the weights up")
        for weight, method in self.weighted:
            if weight != 1 and method.parts().loss is None:
                raise MethodError(f"{method.name} has no loss that the weight {weight:g} could weigh; leave the weight out")
            if not math.isfinite(weight):
                raise MethodError(f"the weight of {method.name} is {weight}; expected a finite number")
        if sum(method.parts().noise is not None for _, method in self.weighted) > 1:
            raise MethodError(f"two methods of {self.name} look for the first noise; keep one")
        if sum(edit.replaces_attention for _, method in self.weighted for edit in method.parts().edits) > 1:
            raise MethodError(f"two methods of {self.name} put another text attention in place of the model's; keep one")

    @property
    def name(self) -> str:  # type: ignore[override]
        return " + ".join(method.name if weight == 1 else f"{weight:g}*{method.name}" for weight, method in self.weighted)

    def parts(self) -> Method:
        every = [(weight, method.parts()) for weight, method in self.weighted]
        weight, leader = next(((weight, parts) for weight, parts in every if parts.loss), (1.0, every[0][1]))
        losses = [(weight, parts.loss, parts.refinement or parts.loss) for weight, parts in every if parts.loss]
        refine = {share: refinement.scaled(weight) for share, refinement in leader.schedule.refine.items()}
        return replace(
            leader,
            schedule=replace(leader.schedule, refine=refine),
            loss=_sum([(weight, loss) for weight, loss, _ in losses]),
            refinement=_sum([(weight, loss) for weight, _, loss in losses]) if any(p.refinement for _, p in every) else None,
            noise=next((parts.noise for _, parts in every if parts.noise), None),
            edits=tuple(edit for _, parts in every for edit in parts.edits),
            name=self.name,
        )

    def settings(self) -> dict[str, Any]:
        return {name: value for name, value, *_ in self.describe()}

    def describe(self) -> list[Parameter]:
        rows = []
        for at, (_, method) in enumerate(self.weighted):
            before = f"{method.name}." if at else ""
            values = method.settings()
            rows += [row._replace(name=before + row.name, value=values[row.name]) for row in method.describe()]
        return rows


def _weighted(method: BaseMethod) -> tuple[tuple[float, BaseMethod], ...]:
    return method.weighted if isinstance(method, Composition) else ((1.0, method),)


def _sum(weighted: list[tuple[float, Loss]]) -> Loss | None:
    total: Loss | None = None
    for weight, loss in weighted:
        part = loss if weight == 1 else weight * loss
        total = part if total is None else total + part
    return total


def _plain(value: Any) -> Any:
    """Return a setting as JSON can hold it; an object as it would be written."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    return value if value is None or isinstance(value, (bool, int, float, str)) else repr(value)


def _parameter(method: Any, of: Field[Any], source: str) -> Parameter:
    default = of.default if of.default is not MISSING else of.default_factory()  # type: ignore[misc]
    return Parameter(of.name, _plain(getattr(method, of.name)), _plain(default), of.metadata.get("source", source))


def _is_number(value: Any, kinds: Any) -> bool:
    return isinstance(value, kinds) and not isinstance(value, bool) and math.isfinite(value)
