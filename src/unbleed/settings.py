"""Settings of losses, edits and methods: declared with a default, a source and a help text, checked against annotations.

A frozen dataclass declares in its annotations which values it accepts, and calls `check_settings` after it is made:

>>> from dataclasses import dataclass
>>> @dataclass(frozen=True)
... class Blur:
...     sigma: NotNegative = 0.5
...     def __post_init__(self):
...         check_settings(self)
>>> Blur(sigma=-1)
Traceback (most recent call last):
unbleed.errors.MethodError: sigma of Blur is -1; expected a number from 0 on
"""

from __future__ import annotations

import functools
import inspect
import math
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, field, fields
from types import NoneType, UnionType
from typing import Annotated, Any, Generic, Literal, NamedTuple, TypeVar, Union, get_args, get_origin, get_type_hints

from .errors import MethodError


class Range(NamedTuple):
    """The numbers from `low` to `high`, or above `low` where it is `open`."""

    low: float
    high: float
    expected: str
    open: bool = False

    def has(self, value: float) -> bool:
        return (self.low < value if self.open else self.low <= value) and value <= self.high


Positive = Annotated[float, Range(0, math.inf, "a number above 0", open=True)]
NotNegative = Annotated[float, Range(0, math.inf, "a number from 0 on")]
Share = Annotated[float, Range(0, 1, "a number from 0 to 1")]
AtLeastOne = Annotated[int, Range(1, math.inf, "a whole number from 1 on")]
WholeNumber = Annotated[int, Range(0, math.inf, "a whole number from 0 on")]

K = TypeVar("K")
V = TypeVar("V")


class FrozenMapping(Mapping[K, V], Generic[K, V]):
    """A mapping that can be hashed. It equals a dict of the same items.

    >>> hash(FrozenMapping({0.2: 0.5})) == hash(FrozenMapping({0.2: 0.5}))
    True
    >>> FrozenMapping({0.2: 0.5}) == {0.2: 0.5}
    True
    """

    def __init__(self, values: Mapping[K, V]) -> None:
        self._values = dict(values)

    def __getitem__(self, key: K) -> V:
        return self._values[key]

    def __iter__(self) -> Iterator[K]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __hash__(self) -> int:
        return hash(frozenset(self._values.items()))

    def __repr__(self) -> str:
        return repr(self._values)


def setting(default: Any, source: str = "", *, help: str = "") -> Any:
    """Declare a field of a frozen dataclass: its default, where the default comes from, and what the field does.

    >>> from dataclasses import dataclass, fields
    >>> @dataclass(frozen=True)
    ... class Blur:
    ...     sigma: NotNegative = setting(0.5, "the paper, section 3", help="standard deviation of the kernel, in pixels")
    >>> fields(Blur)[0].metadata["source"]
    'the paper, section 3'

    Args:
        default: The default value. A mapping is copied for each object.
        source: Where the default comes from: paper, code, or "ours". `unbleed methods NAME` prints it.
        help: What the setting does, its unit or its range. It is printed too, and goes into the docstring of the class.
    """
    metadata = {"source": source, "help": help}
    if isinstance(default, Mapping):
        return field(default_factory=lambda: dict(default), metadata=metadata)
    return field(default=default, metadata=metadata)


class Documented:
    """Base of dataclasses whose docstring ends with a list of their settings, made from `setting(..., help=...)`."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        lines = _arguments(cls)
        if cls.__doc__ and lines and "\nArgs:" not in inspect.cleandoc(cls.__doc__):
            cls.__doc__ = "\n".join([inspect.cleandoc(cls.__doc__), "", "Args:", *lines, ""])


def _arguments(kind: type) -> list[str]:
    """Return the lines for each setting of a class that says what it does. The decorator `dataclass` has yet to see `kind`."""
    known: dict[str, Field[Any]] = {}
    for base in reversed(kind.__mro__):
        known |= vars(base).get("__dataclass_fields__", {})
    known |= {name: value for name, value in vars(kind).items() if isinstance(value, Field)}
    lines = []
    for name, one in known.items():
        if what := one.metadata.get("help"):
            default = getattr(kind, name, one)
            if isinstance(default, Field):
                default = one.default if one.default is not MISSING else one.default_factory()  # type: ignore[misc]
            source = one.metadata["source"]
            text = f"{name}: {what[0].upper() + what[1:]}. Default: {default!r}{f' ({source})' if source else ''}."
            lines += textwrap.wrap(text, 120, initial_indent=" " * 4, subsequent_indent=" " * 8)
    return lines


def check_settings(owner: Any, name: str = "") -> None:
    """Raise `MethodError` for a field of the dataclass `owner` whose value does not fit its annotation.

    Mappings are frozen, and their keys become numbers where numbers are expected, since JSON has text keys only. A field
    whose annotation cannot be resolved, or is of a kind not known here, is not checked.
    """
    hints = _hints(type(owner))
    for one in fields(owner):
        if one.name not in hints:
            continue
        value, hint = getattr(owner, one.name), hints[one.name]
        if hasattr(hint, "__set__"):  # a descriptor checks its own values
            continue
        if get_origin(hint) is Mapping and isinstance(value, Mapping):
            value = FrozenMapping(_with_numbers(value) if get_args(hint)[0] is float else value)
            object.__setattr__(owner, one.name, value)
        if expected := _missed(value, hint):
            shown = f'"{value}"' if _is_unicode(value) else ascii(value) if isinstance(value, str) else repr(value)
            raise MethodError(f"{one.name} of {name or type(owner).__name__} is {shown}; expected {expected}")


def is_number(value: Any) -> bool:
    """Return whether `value` is a finite number, and not True or False."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_unicode(value: Any) -> bool:
    """Return whether `value` is a text without halves of surrogate pairs."""
    return isinstance(value, str) and not any("\ud800" <= sign <= "\udfff" for sign in value)


def _with_numbers(values: Mapping[Any, Any]) -> dict[Any, Any]:
    try:
        return {float(key): value for key, value in values.items()}
    except (TypeError, ValueError):
        return dict(values)  # rejected later, for its keys


@functools.cache
def _hints(kind: type) -> dict[str, Any]:
    """Return the annotations of a class, without those that cannot be resolved in its module."""
    found: dict[str, Any] = {}
    for base in reversed(kind.__mro__):
        for name, annotation in inspect.get_annotations(base).items():
            alone = type(base.__name__, (), {"__annotations__": {name: annotation}, "__module__": base.__module__})
            try:
                found[name] = get_type_hints(alone, include_extras=True)[name]
            except (NameError, AttributeError):
                found.pop(name, None)
    return found


def _missed(value: Any, hint: Any) -> str:
    """Return what `hint` expects if `value` does not fit it, else an empty text."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Annotated:
        ranges = [one for one in inner[1:] if isinstance(one, Range)]
        missed = _missed(value, inner[0])
        return next((one.expected for one in ranges if missed or not one.has(value)), missed)
    if origin in (Union, UnionType):
        missed = [_missed(value, one) for one in inner]
        return ", or ".join(missed) if all(missed) else ""
    if origin is Literal:
        return "" if value in inner else f"one of {', '.join(map(str, inner))}"
    if origin is Mapping:
        numbers = isinstance(value, Mapping) and all(is_number(x) for pair in value.items() for x in pair)
        return "" if inner != (float, float) or numbers else "numbers by fractions of the run, as in {0.2: 0.5}"
    if hint is float:
        return "" if is_number(value) else "a number"
    if hint is int:
        return "" if is_number(value) and isinstance(value, int) else "a whole number"
    if hint is bool:
        return "" if isinstance(value, bool) else "true or false"
    if hint is NoneType:
        return "" if value is None else "none"
    if hint is str:  # half of a surrogate pair cannot be written into a recipe
        return "" if _is_unicode(value) else "Unicode text"
    if isinstance(hint, type):
        return "" if isinstance(value, hint) else f"a {hint.__name__}"
    return ""
