"""Attributes set on somebody else's object for a while."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any


def replace_attribute(undo: ExitStack, owner: Any, name: str, value: Any) -> None:
    """Set an attribute of the instance, and put back what the instance itself had (or nothing) at the end."""
    if name in vars(owner):
        undo.callback(setattr, owner, name, vars(owner)[name])
    else:
        undo.callback(delattr, owner, name)
    setattr(owner, name, value)
