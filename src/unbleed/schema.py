"""Check parsed JSON against types, with errors that name the field.

A type is a dataclass, a `TypedDict`, or made of `str`, `int`, `float`, `bool`, `None`, `Any`, `Literal`, unions, `list`,
`tuple`, `Sequence` and `Mapping`. A dataclass refuses fields that it does not have; a `TypedDict` keeps them.

>>> from unbleed.bench.plan.cases import Expected
>>> check({"noun": "cat", "modifiers": ["red"]}, Expected)
Expected(noun='cat', modifiers=('red',))
>>> check({"noun": "cat", "modifiers": [5]}, Expected)
Traceback (most recent call last):
    ...
unbleed.schema.SchemaError: modifiers[0] is 5; expected a text
"""

from __future__ import annotations

import json
import math
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from functools import cache, partial
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints, is_typeddict

T = TypeVar("T")
Check = Callable[[Any], Any]

MAX_DEPTH = 64
"""Lists and objects inside each other. Python's own functions on nested data fail at a few hundred."""
_SHOWN = 60  # characters of a value


class SchemaError(ValueError):
    """A value of another type than expected. The path to it is built while the error propagates."""

    def __init__(self, said: str) -> None:
        super().__init__(said)
        self.said, self.path = said, ""

    def inside(self, step: str) -> SchemaError:
        """Return the error with the field (".name" or "[3]") in which it was found."""
        self.path = step + self.path
        return self

    def __str__(self) -> str:
        path = self.path.removeprefix(".")
        if len(path) > 2 * _SHOWN:
            path = f"{path[:_SHOWN]}…{path[-_SHOWN:]}"
        return f"{path or 'it'} {self.said}"


def parse(text: str | bytes) -> Any:
    """Return the value of a JSON text.

    Raises `SchemaError` for text that is not JSON, with the line if there are several, and for numbers such as NaN.
    """
    try:
        return json.loads(text, parse_constant=_not_json)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, " if "\n" in error.doc.strip() else ""
        raise SchemaError(f"is not JSON ({error.msg} at {where}character {error.colno})") from None
    except UnicodeDecodeError as error:
        raise SchemaError(f"is not UTF-8 (byte {error.start})") from None
    except RecursionError:
        raise SchemaError(f"is nested more than {MAX_DEPTH} levels deep") from None
    except SchemaError:
        raise
    except ValueError:  # an integer of thousands of digits
        raise SchemaError("holds a number of thousands of digits; expected one of at most 64 bits") from None


def _not_json(constant: str) -> Any:
    raise SchemaError(f"holds {constant}, which JSON does not have; expected a finite number, or null")


def check(value: Any, kind: type[T]) -> T:
    """Return parsed JSON as a `kind`.

    Raises `SchemaError`, which names the field, its value and what was expected.
    """
    return _checker(kind)(value)


@cache
def _checker(kind: Any) -> Check:
    """Return the function that checks values of a type."""
    origin, arguments = get_origin(kind), get_args(kind)
    if kind in _PLAIN:
        return _PLAIN[kind]
    if origin in (Union, types.UnionType):
        return _union(arguments)
    if origin is Literal:
        return _literal(arguments)
    if origin is tuple and Ellipsis not in arguments:
        return _fixed(arguments)
    if origin in (list, tuple, Sequence):
        return _list(arguments[0], tuple if origin is tuple else list)
    if origin in (dict, Mapping):
        return _mapping(arguments[1])
    if is_typeddict(kind):
        return _typed_dict(kind)
    if is_dataclass(kind):
        return _dataclass(kind)
    raise TypeError(f"{kind} is not a type that JSON can be checked against")


# ------------------------------------------------------------------------------------------------- plain values


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise _expected(value, "a text")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise SchemaError(f"holds half a character ({value[error.start]!a} alone); expected whole ones") from None
    return value


def _integer(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise _expected(value, "a whole number")
    if not -(2**63) <= value < 2**63:
        raise _expected(value, "a whole number of at most 64 bits")
    return value


def _number(value: Any) -> float:
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise _expected(value, "a number")
    try:
        finite = math.isfinite(value)
    except OverflowError:
        finite = False
    if not finite:
        raise _expected(value, "a finite number")
    return value


def _boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise _expected(value, "true or false")
    return value


def _nothing(value: Any) -> None:
    if value is not None:
        raise _expected(value, "null")


def _anything(value: Any, depth: int = 0) -> Any:
    """Check what holds for any JSON: whole characters, finite numbers, limited depth."""
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return _number(value)
    if isinstance(value, (list, dict)):
        if depth == MAX_DEPTH:
            raise SchemaError(f"is nested more than {MAX_DEPTH} levels deep")
        if isinstance(value, dict):
            list(map(_text, value))
        _each(value.items() if isinstance(value, dict) else enumerate(value), lambda step: partial(_anything, depth=depth + 1))
    return value


_PLAIN: dict[Any, Check] = {
    str: _text,
    int: _integer,
    float: _number,
    bool: _boolean,
    None: _nothing,
    type(None): _nothing,
    Any: _anything,
    object: _anything,
}
_WORDS = {
    str: "a text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    type(None): "null",
    list: "a list",
    tuple: "a list",
    Sequence: "a list",
    dict: "an object",
    Mapping: "an object",
}


# ---------------------------------------------------------------------------------------------------- containers


def _union(kinds: Sequence[Any]) -> Check:
    checks = [_checker(kind) for kind in kinds if kind is not type(None)]
    optional = len(checks) < len(kinds)
    if len(checks) == 1:  # its own message is more precise
        return lambda value: None if value is None else checks[0](value)
    words = " or ".join(dict.fromkeys(_WORDS.get(get_origin(kind) or kind, "an object") for kind in kinds))

    def one_of(value: Any) -> Any:
        if optional and value is None:
            return None
        for one in checks:
            try:
                return one(value)
            except SchemaError:
                continue
        raise _expected(value, words)

    return one_of


def _literal(values: Sequence[Any]) -> Check:
    words = " or ".join(json.dumps(value) for value in values)

    def literal(value: Any) -> Any:
        if not any(value == one and type(value) is type(one) for one in values):
            raise _expected(value, words)
        return value

    return literal


def _list(kind: Any, made: Callable[[list[Any]], Any]) -> Check:
    one = _checker(kind)

    def listed(value: Any) -> Any:
        if not isinstance(value, (list, tuple)):
            raise _expected(value, "a list")
        return made(_each(enumerate(value), lambda number: one))

    return listed


def _fixed(kinds: Sequence[Any]) -> Check:
    checks = [_checker(kind) for kind in kinds]

    def fixed(value: Any) -> tuple[Any, ...]:
        if not isinstance(value, (list, tuple)) or len(value) != len(checks):
            raise _expected(value, f"a list of {len(checks)}")
        return tuple(_each(enumerate(value), checks.__getitem__))

    return fixed


def _mapping(kind: Any) -> Check:
    one = _checker(kind)

    def mapping(value: Any) -> dict[str, Any]:
        items = _object(value)
        return dict(zip(map(_text, items), _each(items.items(), lambda name: one), strict=True))

    return mapping


def _typed_dict(kind: Any) -> Check:
    checks = {name: _checker(hint) for name, hint in get_type_hints(kind).items()}
    needed = [name for name in checks if name in kind.__required_keys__]

    def typed(value: Any) -> dict[str, Any]:
        items = _complete(_object(value), needed)
        return dict(zip(items, _each(items.items(), lambda name: checks.get(name, _anything)), strict=True))

    return typed


def _dataclass(kind: Any) -> Check:
    hints, own = get_type_hints(kind), [field for field in fields(kind) if field.init]
    checks = {field.name: _checker(hints[field.name]) for field in own}
    needed = [field.name for field in own if field.default is MISSING and field.default_factory is MISSING]

    def check_of(name: str) -> Check:
        if name not in checks:
            raise SchemaError(f"is unknown; known: {', '.join(checks)}")
        return checks[name]

    def made(value: Any) -> Any:
        items = _object(value)
        values = _each(items.items(), check_of)
        return kind(**dict(zip(_complete(items, needed), values, strict=True)))

    return made


def _each(items: Iterable[tuple[Any, Any]], check_of: Callable[[Any], Check]) -> list[Any]:
    """Return the values of (step, value) pairs, checked, with the step in an error's path."""
    found, step = [], None
    try:
        for step, item in items:
            found.append(check_of(step)(item))
    except SchemaError as error:
        raise error.inside(_step(step)) from None
    return found


def _complete(items: Mapping[str, Any], needed: Sequence[str]) -> Mapping[str, Any]:
    for name in needed:
        if name not in items:
            raise SchemaError("is missing").inside(_step(name))
    return items


def _object(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise _expected(value, "an object")
    return value


def _step(name: Any) -> str:
    """Return a step of a path: ".name" or "[3]"; names that are not identifiers in quotes."""
    if isinstance(name, int):
        return f"[{name}]"
    return f".{name}" if name.isidentifier() and name.isascii() else f".{_quoted(name)}"


def _expected(value: Any, words: str) -> SchemaError:
    return SchemaError(f"is {shown(value)}; expected {words}")


def shown(value: Any) -> str:
    """Return a short description of a value that any terminal can print."""
    if isinstance(value, Mapping):
        return "an object"
    if isinstance(value, (list, tuple)):
        return f"a list of {len(value)}"
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 10**_SHOWN:
        return "a number of more than 60 digits"
    return json.dumps(value)


def _quoted(text: str) -> str:
    cut = text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"
    return json.dumps(cut, ensure_ascii=False).encode(errors="backslashreplace").decode()
