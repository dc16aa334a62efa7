"""An extension of griffe, which reads docstrings for the site.

Examples outside an `Examples:` section become code blocks. The docstring of a class ends with a list of its own settings.
"""

from __future__ import annotations

import ast
from typing import Any

import griffe


class Doctests(griffe.Extension):
    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring:
            obj.docstring.value = fenced(obj.docstring.value)

    def on_class_members(self, *, cls: griffe.Class, **_: Any) -> None:
        lines = [line for member in cls.attributes.values() if (line := argument(member))]
        if cls.docstring and lines:
            cls.docstring.value = "\n".join([cls.docstring.value.rstrip(), "", "Args:", *lines, ""])


def argument(member: griffe.Attribute) -> str:
    """Return the line of a field that is declared as `setting(default, source, help=...)`, else an empty text."""
    if not str(member.value).startswith("setting("):
        return ""
    call = ast.parse(str(member.value), mode="eval").body
    assert isinstance(call, ast.Call)
    texts = {word.arg: ast.literal_eval(word.value) for word in call.keywords}
    source = f" ({ast.literal_eval(call.args[1])})" if len(call.args) > 1 else ""
    what = texts.get("help", "")
    return f"    {member.name}: {what[:1].upper()}{what[1:]}. Default: `{ast.unparse(call.args[0])}`{source}."


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
