"""An extension of griffe, which reads docstrings for the site: examples outside an `Examples:` section become code blocks."""

from __future__ import annotations

from typing import Any

import griffe


class Doctests(griffe.Extension):
    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
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
