"""Method definitions: loss, schedule, update rule, noise search, edits.

A `Method` holds these parts. A `Composition` is a weighted sum of methods. Methods of papers are in `unbleed.methods`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import MISSING, Field, dataclass, field, fields, replace
from typing import Any, Literal, NamedTuple

from ..attention.family import Part
from ..errors import MethodError
from ..losses import Loss
from ..losses.base import LossFunction, as_loss, called
from ..settings import AtLeastOne, check_settings
from .edit import Edit
from .noise import NoiseSearch
from .noise_choice import NoiseChoice
from .schedule import Schedule
from .update import Descent

Parity = Literal["ours", "paper"]


class Parameter(NamedTuple):
    """One setting of a method, as `describe` returns it."""

    name: str
    value: Any
    default: Any
    source: str  # where the default comes from
    help: str  # what the setting does


class BaseMethod(ABC):
    """Base of all methods. Methods add up: `SynGen() + 0.5 * OverlapIoU()`."""

    name: str

    @abstractmethod
    def parts(self) -> Method:
        """Return the method in parts."""

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """Return all settings by name, as JSON can hold them."""

    @abstractmethod
    def describe(self) -> list[Parameter]:
        """Return every setting with its value, its default and the source of that."""

    @property
    def needs(self) -> tuple[str, ...]:
        """Which of gradient, parser and self-attention the method needs."""
        parts = self.parts()
        descending = parts.loss or isinstance(parts.noise, NoiseSearch)
        return (
            *(["gradient"] if descending else []),
            *(["parser"] if parts.losses or parts.edits else []),
            *(["self-attention"] if any(loss.reads_self_attention for loss in parts.losses) else []),
        )

    def __add__(self, other: BaseMethod | Loss | LossFunction) -> Composition:
        if not (isinstance(other, (BaseMethod, Loss)) or callable(other)):
            return NotImplemented
        return Composition((*_weighted(self), *_weighted(other if isinstance(other, BaseMethod) else _alone(other))))

    def __radd__(self, other: Loss | LossFunction | Literal[0]) -> BaseMethod:
        if other == 0:  # sum([...]) begins with it
            return self
        return _alone(other) + self if isinstance(other, Loss) or callable(other) else NotImplemented

    def __sub__(self, other: BaseMethod | Loss | LossFunction) -> Composition:
        if isinstance(other, BaseMethod):
            return self + -other
        return self + -as_loss(other) if isinstance(other, Loss) or callable(other) else NotImplemented

    def __neg__(self) -> Composition:
        return -1 * self

    def __mul__(self, weight: float) -> Composition:
        if not isinstance(weight, int | float):
            return NotImplemented
        return Composition(tuple((weight * own, method) for own, method in _weighted(self)))

    __rmul__ = __mul__


class _LossField:
    """A field of a dataclass for a loss; it also accepts a function or a class."""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, instance: Any, owner: type | None = None) -> Loss | None:
        return None if instance is None else vars(instance)[self.name]

    def __set__(self, instance: Any, value: Loss | LossFunction | None) -> None:
        vars(instance)[self.name] = None if value is None else as_loss(value, self.name)


@dataclass(frozen=True)
class Method(BaseMethod):
    """A method in parts.

    >>> from unbleed.guidance import Schedule
    >>> from unbleed.losses import BindingLoss, OverlapLoss
    >>> method = Method(BindingLoss() + 0.5 * OverlapLoss("iou"), Schedule(stop=0.3, step_size=10))
    >>> method.needs
    ('gradient', 'parser')

    Args:
        loss: Loss whose gradient moves the latents, or a function `f(maps, groups) -> (batch,)`; None moves nothing.
        schedule: When the run is guided, and by which step size.
        descent: How an update follows from the gradient.
        refinement: Loss of refined steps, where it differs from `loss`.
        noise: Search for the first noise, or choice among several; None keeps the pipeline's own.
        edits: Changes inside the denoiser, without a gradient to the latents.
        parity: "paper" repeats the authors' code where ours departs from it: steps are counted as calls of the denoiser (PNDM
            visits its second noise level twice, and both are guided), and the guidance sees the latents without the scheduler's
            input scaling. A method's own file lists what else changes.
        resolution: Attention layers to read, by the side of their grid at the model's own image size (16 on SD 1: the layers
            that are 16x16 at 512 pixels). None takes those that the papers read on this kind of model.
        layers: Part of the denoiser to read: "all", "down", "mid" or "up".
        name: Name for messages and sums.

    Raises:
        MethodError: For a part of the wrong kind.
    """

    loss: _LossField = _LossField()
    schedule: Schedule = field(default_factory=Schedule)
    descent: Descent = field(default_factory=Descent)
    refinement: _LossField = _LossField()
    noise: NoiseSearch | NoiseChoice | None = None
    edits: tuple[Edit, ...] = ()
    parity: Parity = "ours"
    resolution: AtLeastOne | None = None
    layers: Part = "all"
    name: str = "method"

    def __post_init__(self) -> None:
        check_settings(self, "a method")
        wrong = [edit for edit in self.edits if not isinstance(edit, Edit)] if isinstance(self.edits, tuple) else [self.edits]
        if wrong:
            raise MethodError(f"edits of a method has {wrong[0]!r}; expected a tuple of edits, as in (PhraseEdit(),)")
        if self.loss and self.descent.update == "velocity" and any(one.most for one in self.schedule.refine.values()):
            raise MethodError(
                f"{self.name} repeats updates at one step, but a velocity is corrected once a step; leave the repetitions out "
                "(thresholds={}, refinements={} or max_refinements=0), or take update=latents"
            )

    def parts(self) -> Method:
        return self

    @property
    def losses(self) -> tuple[Loss, ...]:
        """All losses that are evaluated: of a step, of its refinement, and of the search for the first noise."""
        return tuple(loss for loss in (self.loss, self.refinement, self.noise and self.noise.loss) if loss)

    def settings(self) -> dict[str, Any]:
        return {f.name: plain(getattr(self, f.name)) for f in fields(self) if f.name != "name"}

    def describe(self) -> list[Parameter]:
        return [parameter(self, f, "given") for f in fields(self) if f.name != "name"]


@dataclass(frozen=True)
class Composition(BaseMethod):
    """A weighted sum of methods: their losses add up, their edits all act, and the first one leads.

    The leader is the first method with a loss, if any has one; its schedule, update rule and layers are used. Its settings have
    plain names, those of the others have their method's name before them: `overlap-iou.floor`. Targets of a refinement are
    scaled by the leader's weight. A target for the whole loss (Attend-and-Excite's thresholds) applies to the whole sum, so
    with a loss below 0 in the sum it is reached sooner.

    Raises `MethodError` when a method occurs twice, when two change the noise or replace the text attention, or when a weight
    belongs to a method without a loss.
    """

    weighted: tuple[tuple[float, BaseMethod], ...]

    def __post_init__(self) -> None:
        names = [method.name for _, method in self.weighted]
        if len(set(names)) < len(names):
            raise MethodError(f"{self.name} names a method twice; add the weights up")
        for weight, method in self.weighted:
            if weight != 1 and method.parts().loss is None:
                raise MethodError(f"{method.name} has no loss, so the weight {weight:g} has no effect; leave the weight out")
            if not math.isfinite(weight):
                raise MethodError(f"the weight of {method.name} is {weight}; expected a finite number")
        if sum(method.parts().noise is not None for _, method in self.weighted) > 1:
            raise MethodError(f"two methods of {self.name} search for the first noise; keep one")
        if sum(edit.replaces_attention for _, method in self.weighted for edit in method.parts().edits) > 1:
            raise MethodError(f"two methods of {self.name} replace the text attention; keep one")

    @property
    def name(self) -> str:  # type: ignore[override]
        return " + ".join(method.name if weight == 1 else f"{weight:g}*{method.name}" for weight, method in self.weighted)

    def parts(self) -> Method:
        every = [(weight, method.parts()) for weight, method in self.weighted]
        weight, leader = next(((weight, parts) for weight, parts in every if parts.loss), (1.0, every[0][1]))
        losses = [(weight, parts.loss, parts.refinement or parts.loss) for weight, parts in every if parts.loss]
        refine = {at: refinement.scaled(weight) for at, refinement in leader.schedule.refine.items()}
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


def _alone(loss: Loss | LossFunction) -> Method:
    """Return a loss of a sum as a method with the loss's name: two losses of a sum are two methods."""
    return Method(loss, name=called(as_loss(loss)))


def _sum(weighted: list[tuple[float, Loss]]) -> Loss | None:
    total: Loss | None = None
    for weight, loss in weighted:
        part = loss if weight == 1 else weight * loss
        total = part if total is None else total + part
    return total


def plain(value: Any) -> Any:
    """Return a setting as JSON can hold it; an object becomes its `repr`."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    return value if value is None or isinstance(value, (bool, int, float, str)) else repr(value)


def parameter(method: Any, of: Field[Any], source: str = "") -> Parameter:
    """Return the field `of` of a method as `describe` lists it; `source` is that of a field that names none."""
    default = of.default if of.default is not MISSING else of.default_factory()  # type: ignore[misc]
    source, what = of.metadata.get("source", source), of.metadata.get("help", "")
    return Parameter(of.name, plain(getattr(method, of.name)), plain(default), source, what)
