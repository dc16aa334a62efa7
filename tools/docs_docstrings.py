"""An extension of griffe, which reads docstrings for the site.

Examples outside an `Examples:` section become code blocks. The docstrings of methods and losses are taken from the imported
classes, where they end with a list of the settings.
"""

from __future__ import annotations

import importlib
import inspect
from typing import Any

import griffe

from unbleed.settings import Documented


class Doctests(griffe.Extension):
    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        if (
            obj.docstring
            and obj.is_class
            and obj.module.path.startswith(("unbleed.methods.", "unbleed.losses.", "unbleed.edits."))
        ):
            kind = getattr(importlib.import_module(obj.module.path), obj.name, None)
            if isinstance(kind, type) and issubclass(kind, Documented):
                obj.docstring.value = inspect.getdoc(kind) or ""
        if obj.docstring:
            obj.docstring.value = fenced(obj.docstring.value)


def fenced(text: str) -> str:
    """Put every doctest into a fenced block, which ends at the next empty line."""
    lines: list[str] = []
    section, fence = "", None  # the last line that is not indented; the indentation of an open block
    for line in [*text.split("\n"), ""]:
        indent = line[: len(line) - len(line.lstrip())]
        if fence is None and line.lstrip().startswith(">>>") and section != "Examples:":
            fence = indent
            lines.append(f"{fence}```pycon")
        elif fence is not None and not line.strip():
            lines.append(f"{fence}```")
            fence = None
        elif fence is None and line.strip() and not indent:
            section = line.strip()
        lines.append(line)
    return "\n".join(lines[:-1])
