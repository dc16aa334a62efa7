"""Every method, one file each. The registry is the tuple below."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any

from ..errors import MethodError
from ..guidance.method import BaseMethod, Composition, Method, PaperMethod
from ..losses import Loss
from ..losses.base import LossFunction, as_loss
from .a_star import AStar
from .attend_and_excite import AttendAndExcite
from .attention_regulation import AttentionRegulation
from .composable import Composable
from .conform import Conform
from .divide_and_bind import DivideAndBind
from .ebama import EBAMA
from .ela import ELA
from .initno import InitNO
from .none import NoGuidance
from .overlap import OverlapCC, OverlapCoM, OverlapIoU, OverlapKL
from .predicated import Predicated
from .regions import Regions
from .registry import Kind, Registry
from .self_cross import SelfCross
from .structure_diffusion import StructureDiffusion
from .suppress import Suppress
from .syngen import SynGen
from .syngen_entropy import SynGenEntropy

METHODS = Registry(
    (
        NoGuidance,
        Regions,
        AttendAndExcite,
        SynGen,
        SynGenEntropy,
        AStar,
        StructureDiffusion,
        ELA,
        OverlapIoU,
        OverlapCoM,
        OverlapKL,
        OverlapCC,
        Suppress,
        DivideAndBind,
        Conform,
        EBAMA,
        Predicated,
        InitNO,
        SelfCross,
        AttentionRegulation,
        Composable,
    )
)
"""Every method by its name: a mapping from names to classes, in the order of `unbleed methods`."""

DEFAULT_METHOD = "regions"
"""What is used where no method is named: of those measured on the embedded model, the one that draws most pairs right."""

__all__ = [
    "DEFAULT_METHOD",
    "EBAMA",
    "ELA",
    "METHODS",
    "AStar",
    "AttendAndExcite",
    "AttentionRegulation",
    "Composable",
    "Conform",
    "DivideAndBind",
    "InitNO",
    "MethodLike",
    "NoGuidance",
    "OverlapCC",
    "OverlapCoM",
    "OverlapIoU",
    "OverlapKL",
    "Predicated",
    "Regions",
    "SelfCross",
    "StructureDiffusion",
    "Suppress",
    "SynGen",
    "SynGenEntropy",
    "method_from",
    "names_in",
    "register",
]


MethodLike = str | BaseMethod | type[BaseMethod] | Loss | type[Loss] | LossFunction
"""A label, a method, a loss, the class of one of them with its defaults, or a function `f(maps, groups) -> (batch,)`."""


def register(kind: Kind) -> Kind:
    """Make a method known by its name, and return its class:

        @unbleed.register
        @dataclass(frozen=True, kw_only=True)
        class Even(unbleed.PaperMethod):
            name: ClassVar[str] = "even"
            step_size: float = 20.0

            def _parts(self):
                return unbleed.Method(lambda maps, groups: ..., unbleed.Schedule(step_size=self.step_size))

    It can then be named wherever a label can, in sums too: `guide(pipe, "even + 0.5*syngen")`. The same class may be registered
    again, as when a cell of a notebook is run twice. What a package offers is found without a call, see `methods.registry`.

    Raises `MethodError` for anything but a dataclass that inherits from `PaperMethod`, for a name that cannot be a label or is
    another's, and for settings without a default.
    """
    return METHODS.add(kind)


def method_from(given: MethodLike, settings: Mapping[str, Any] | None = None) -> BaseMethod:
    """Return the method that is meant by a name, a sum of names, a method, a loss or a function, with some settings changed.

    >>> method_from("syngen + 0.5*overlap-iou", {"step_size": 10.0, "overlap-iou.floor": 1e-6}).name
    'syngen + 0.5*overlap-iou'

    Raises `MethodError` for a name or a setting that does not exist; the message has the nearest ones.
    """
    if not isinstance(given, str):
        if settings:
            raise MethodError(f"settings {', '.join(settings)} were given beside a method object; set them on the object")
        return _as_method(given)
    weighted = _read_sum(given)
    own: list[dict[str, Any]] = [{} for _ in weighted]
    for key, value in (settings or {}).items():
        before, dot, name = key.rpartition(".")
        places = [at for at, (_, method) in enumerate(weighted) if method == before] if dot else [0]
        if not places:
            raise MethodError(f'"{key}" is no setting of {given}; expected NAME or METHOD.NAME, as in overlap-iou.floor')
        own[places[0]][name] = value
    methods = [(weight, _made(name, changes)) for (weight, name), changes in zip(weighted, own, strict=True)]
    return methods[0][1] if len(methods) == 1 and methods[0][0] == 1 else Composition(tuple(methods))


def _as_method(given: Any) -> BaseMethod:
    if isinstance(given, type) and issubclass(given, BaseMethod | Loss):
        try:
            given = given()
        except TypeError as error:
            raise MethodError(f"{given.__name__} cannot be made without settings ({error}); give an object of it") from None
    if isinstance(given, BaseMethod):
        return given
    if isinstance(given, Loss) or (callable(given) and not isinstance(given, type)):
        return Method(as_loss(given))
    raise MethodError(
        f'{given!r} is not a method; expected a label such as "syngen", a method, a loss, or a function '
        "f(maps, groups) -> (batch,)"
    )


def names_in(text: str) -> list[str]:
    """Return the names of the methods in a sum such as "syngen + 0.5*overlap-iou"; raise `MethodError` for no such sum."""
    return [name for _, name in _read_sum(text)]


def _read_sum(text: str) -> list[tuple[float, str]]:
    weighted = []
    for term in text.split("+"):
        weight, star, name = term.rpartition("*")
        number = weight.strip()
        if star and not re.fullmatch(r"-?(\d+\.?\d*|\.\d+)(e-?\d+)?", number):
            raise MethodError(f'"{text}": "{number}" is no weight; expected a sum as in "syngen + 0.5*overlap-iou"')
        if name.strip() not in METHODS:
            raise MethodError(f'there is no method "{name.strip()}"; {_nearest(name.strip(), METHODS)}')
        weighted.append((float(number) if star else 1.0, name.strip()))
    return weighted


def _made(name: str, settings: dict[str, Any]) -> PaperMethod:
    kind = METHODS[name]
    known = [f.name for f in fields(kind)]
    for key in settings:
        if key not in known:
            raise MethodError(f'{name} has no setting "{key}"; {_nearest(key, known)}')
    return kind(**settings)


def _nearest(word: str, known: Iterable[str]) -> str:
    known = list(known)
    near = difflib.get_close_matches(word, known, n=2, cutoff=0.5)
    return f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(known)}"
