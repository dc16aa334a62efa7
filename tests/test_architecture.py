"""The import direction of the package is the one in docs/architecture.md: each row imports only from rows above it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "unbleed"
ENTRY = {"__init__", "__main__"}


def rows() -> dict[tuple[str, ...], int]:
    """Return the row of each module of the table, by its path inside the package."""
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    table = page.partition("## Layout")[2].partition("## Words")[0]
    lines = [line for line in table.splitlines() if line.startswith("| `")]
    named = [(re.findall(r"`([\w/]+)`", line.split("|")[1]), row) for row, line in enumerate(lines)]
    return {tuple(name.strip("/").split("/")): row for names, row in named for name in names}


def row_of(module: tuple[str, ...], table: dict[tuple[str, ...], int]) -> int | None:
    """Return the row of a module: that of the longest path in the table that it is in."""
    return next((table[module[:end]] for end in range(len(module), 0, -1) if module[:end] in table), None)


def imports(source: str, package: tuple[str, ...]) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Yield (line, module) of the relative imports of a file in `package`, those inside functions too."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = package[: len(package) - node.level + 1]
            module = (*base, *(node.module.split(".") if node.module else ()))
            for alias in node.names:
                yield node.lineno, (*module, alias.name)


def upward(files: dict[tuple[str, ...], str], table: dict[tuple[str, ...], int]) -> list[str]:
    """Return the imports, as "file:line imports module", from a row further down."""
    found = []
    for path, source in files.items():
        own = row_of(path, table)
        for line, module in imports(source, path[:-1]):
            other = row_of(module, table)
            if own is not None and other is not None and other > own:
                found.append(f"{'/'.join(path)}.py:{line} imports {'.'.join(module)}")
    return found


def files() -> dict[tuple[str, ...], str]:
    paths = sorted(SOURCE.rglob("*.py"))
    return {path.relative_to(SOURCE).with_suffix("").parts: path.read_text(encoding="utf-8") for path in paths}


def test_every_module_is_in_the_table() -> None:
    assert {path[0] for path in files()} - ENTRY == {name[0] for name in rows()}


def test_imports_go_upwards_in_the_table_only() -> None:
    assert upward(files(), rows()) == []


def test_an_import_from_a_lower_row_is_found() -> None:
    table = {("losses",): 0, ("emoji",): 1, ("loading",): 2, ("emoji", "training"): 3}
    good = {("emoji", "training", "model"): "from ...loading import load\nfrom ..scenes import Scene"}
    bad = {
        ("losses", "base"): "def late():\n    from .. import emoji",
        ("emoji", "scenes"): "from .training.model import train",
    }
    assert upward(good, table) == []
    assert upward(bad, table) == ["losses/base.py:2 imports emoji", "emoji/scenes.py:1 imports emoji.training.model.train"]
