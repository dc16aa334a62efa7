"""Every published method, one file each. The registry is the tuple below."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any

from ..errors import MethodError
from ..guidance.method import BaseMethod, Composition, Method, PaperMethod
from ..losses import Loss
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
from .self_cross import SelfCross
from .structure_diffusion import StructureDiffusion
from .suppress import Suppress
from .syngen import SynGen
from .syngen_entropy import SynGenEntropy

METHODS: dict[str, type[PaperMethod]] = {
    method.name: method
    for method in (
        NoGuidance,
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
}

__all__ = [
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
    "NoGuidance",
    "OverlapCC",
    "OverlapCoM",
    "OverlapIoU",
    "OverlapKL",
    "Predicated",
    "SelfCross",
    "StructureDiffusion",
    "Suppress",
    "SynGen",
    "SynGenEntropy",
    "method_from",
    "names_in",
]


def method_from(given: str | BaseMethod | Loss, settings: Mapping[str, Any] | None = None) -> BaseMethod:
    """Return the method that is meant by a name, a sum of names, a method or a bare loss, with some settings changed.

    >>> method_from("syngen + 0.5*overlap-iou", {"step_size": 10.0, "overlap-iou.floor": 1e-6}).name
    'syngen + 0.5*overlap-iou'

    Raises `MethodError` for a name or a setting that does not exist; the message has the nearest ones.
    """
    if isinstance(given, (BaseMethod, Loss)):
        if settings:
            raise MethodError(f"settings {', '.join(settings)} were given beside a method object; set them on the object")
        return given if isinstance(given, BaseMethod) else Method(given)
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
    for key, value in settings.items():
        if key not in known:
            raise MethodError(f'{name} has no setting "{key}"; {_nearest(key, known)}')
        if isinstance(value, Mapping):  # JSON knows only text as keys
            try:
                settings[key] = {float(k): float(v) for k, v in value.items()}
            except (TypeError, ValueError):
                raise MethodError(f"{key} of {name} is {dict(value)}; expected shares of the run and numbers") from None
    return kind(**settings)


def _nearest(word: str, known: Iterable[str]) -> str:
    known = list(known)
    near = difflib.get_close_matches(word, known, n=2, cutoff=0.5)
    return f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(known)}"
