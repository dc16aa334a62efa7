"""Extensions of griffe, which reads the docstrings for the site: doctests become code blocks, settings become arguments."""

from __future__ import annotations

import ast
from typing import Any

import griffe


class Doctests(griffe.Extension):
    """Doctests outside an `Examples:` section become fenced code blocks."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring:
            obj.docstring.value = fenced(obj.docstring.value)


class Settings(griffe.Extension):
    """`name: type = setting(default, source, help=...)` is a field with that default; the class documents it as an argument."""

    def on_attribute_instance(self, *, attr: griffe.Attribute, **_: Any) -> None:
        call = attr.value
        if not (isinstance(call, griffe.ExprCall) and call.canonical_path.rpartition(".")[2] == "setting"):
            return
        given = {one.name: one.value for one in call.arguments if isinstance(one, griffe.ExprKeyword)}
        given |= zip(
            ("default", "source"), (one for one in call.arguments if not isinstance(one, griffe.ExprKeyword)), strict=False
        )
        about, source = (ast.literal_eval(str(given.get(name, "''"))) for name in ("help", "source"))
        attr.value = given["default"]
        if about:
            attr.extra["unbleed"]["about"] = (
                f"{about[0].upper()}{about[1:]}.{f' Source of the default: {source}.' if source else ''}"
            )

    def on_class(self, *, cls: griffe.Class, **_: Any) -> None:
        about = {name: text for name, attr in cls.attributes.items() if (text := attr.extra["unbleed"].get("about"))}
        if about and cls.docstring and "\nArgs:\n" not in cls.docstring.value:
            lines = "".join(f"    {name}: {text}\n" for name, text in about.items())
            cls.docstring.value = f"{cls.docstring.value.rstrip()}\n\nArgs:\n{lines}"


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
