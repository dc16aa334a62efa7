"""Temporarily replace attributes of one object, and copy an object as it was before."""

from __future__ import annotations

import copy
from contextlib import ExitStack
from typing import Any

_ABSENT = object()
_REPLACED = "_unbleed_replaced"  # of the owner: {attribute: [what the instance itself had, *replacements]}, the last in force


def replace_attribute(undo: ExitStack, owner: Any, name: str, value: Any) -> None:
    """Set an attribute of the instance, and put back what the instance itself had (or nothing) at the end.

    Replacements of one attribute may end in any order: the last one that has not ended is in force.
    """
    replaced = vars(owner).setdefault(_REPLACED, {})
    values = replaced.setdefault(name, [vars(owner).get(name, _ABSENT)])
    values.append(value)
    setattr(owner, name, value)

    def end() -> None:
        values.remove(value)
        if values[-1] is _ABSENT:
            delattr(owner, name)
        else:
            setattr(owner, name, values[-1])
        if len(values) == 1:
            del replaced[name]
        if not replaced:
            vars(owner).pop(_REPLACED, None)

    undo.callback(end)


def unpatched_copy(owner: Any) -> Any:
    """Return a deep copy of an object without what `replace_attribute` has put there."""
    replaced = vars(owner).get(_REPLACED, {})
    state = {name: value for name, value in vars(owner).items() if name not in replaced and name != _REPLACED}
    state |= {name: values[0] for name, values in replaced.items() if values[0] is not _ABSENT}
    twin = object.__new__(type(owner))
    vars(twin).update(copy.deepcopy(state))
    return twin
