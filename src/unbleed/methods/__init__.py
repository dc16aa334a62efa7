"""Every published method, one file each. The registry is the tuple below."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from ..errors import MethodError
from ..guidance.method import LossMethod, Method
from ..losses import Loss
from .attend_and_excite import AttendAndExcite
from .none import NoGuidance
from .syngen import SynGen

METHODS: dict[str, type[Method]] = {method.name: method for method in (NoGuidance, AttendAndExcite, SynGen)}

__all__ = ["METHODS", "AttendAndExcite", "NoGuidance", "SynGen", "method_from"]


def method_from(given: str | Method | Loss, settings: Mapping[str, Any] | None = None) -> Method:
    """Return the method that is meant by a name, a method or a bare loss, with some settings changed.

    Raises `MethodError` for a name or a setting that does not exist; the message has the nearest ones.
    """
    if isinstance(given, (Method, Loss)):
        if settings:
            raise MethodError(f"settings {', '.join(settings)} were given beside a method object; set them on the object")
        return given if isinstance(given, Method) else LossMethod(own_loss=given)
    if given not in METHODS:
        raise MethodError(f'there is no method "{given}"; {_nearest(given, METHODS)}')
    kind, settings = METHODS[given], dict(settings or {})
    known = [f.name for f in fields(kind)]
    for name, value in settings.items():
        if name not in known:
            raise MethodError(f'{given} has no setting "{name}"; {_nearest(name, known)}')
        if isinstance(value, Mapping):  # JSON knows only text as keys
            try:
                settings[name] = {float(k): float(v) for k, v in value.items()}
            except (TypeError, ValueError):
                raise MethodError(f"{name} of {given} is {dict(value)}; expected shares of the run and numbers") from None
    return kind(**settings)


def _nearest(word: str, known: Mapping[str, Any] | list[str]) -> str:
    near = difflib.get_close_matches(word, known, n=2, cutoff=0.5)
    return f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(known)}"
