"""From what a user names or passes to a method: labels, sums of names, objects, classes, functions."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any

from ..errors import MethodError
from ..guidance.method import BaseMethod, Composition, Method
from ..losses import Loss
from ..losses.base import LossFunction, as_loss
from .base import PaperMethod
from .registry import METHODS

MethodLike = str | BaseMethod | type[BaseMethod] | Loss | type[Loss] | LossFunction
"""A label, a method, a loss, the class of one of them with its defaults, or a function `f(maps, groups) -> (batch,)`."""


def method_from(given: MethodLike, settings: Mapping[str, Any] | None = None) -> BaseMethod:
    """Return the method for a name, a sum of names, a method, a loss or a function, with some settings changed.

    >>> method_from("syngen + 0.5*overlap-iou", {"step_size": 10.0, "overlap-iou.floor": 1e-6}).name
    'syngen + 0.5*overlap-iou'

    Args:
        given: What the user passed as a method.
        settings: Changed settings by name, for names and sums of names. In a sum, those of the first method have plain names,
            those of the others their method's name before them.

    Raises:
        MethodError: For a name or a setting that does not exist; the message has the nearest ones.
    """
    if not isinstance(given, str):
        if settings:
            raise MethodError(f"settings {', '.join(settings)} were given with a method object; set them on the object")
        return _as_method(given)
    weighted = _read_sum(given)
    own: list[dict[str, Any]] = [{} for _ in weighted]
    for key, value in (settings or {}).items():
        before, dot, name = key.rpartition(".")
        positions = [at for at, (_, method) in enumerate(weighted) if method == before] if dot else [0]
        if not positions:
            raise MethodError(f'"{key}" is not a setting of {given}; expected NAME or METHOD.NAME, as in overlap-iou.floor')
        own[positions[0]][name] = value
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
    """Return the names of the methods in a sum such as "syngen + 0.5*overlap-iou"; raise `MethodError` for anything else."""
    return [name for _, name in _read_sum(text)]


def _read_sum(text: str) -> list[tuple[float, str]]:
    weighted = []
    for term in text.split("+"):
        weight, star, name = term.rpartition("*")
        number = weight.strip()
        if star and not re.fullmatch(r"-?(\d+\.?\d*|\.\d+)(e-?\d+)?", number):
            raise MethodError(f'"{text}": "{number}" is not a weight; expected a sum as in "syngen + 0.5*overlap-iou"')
        if text.strip() and not name.strip():
            raise MethodError(f'"{text}" lacks the name of a method; expected NAME, or a sum as in "syngen + 0.5*overlap-iou"')
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
