"""The packages of `unbleed.bench` with their import levels: a package may import from packages of lower levels only.

python tools/import_levels.py          # prints the levels; exits with 1 if an import breaks the rule

Imports inside functions count as well.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "src"
BENCH = "unbleed.bench"
LEVELS = (
    ("extras",),
    ("plan",),
    ("storage", "metrics", "suites"),
    ("sampling", "scoring"),
    ("analysis", "exchange"),
    ("reporting",),
    ("studies",),
    ("api",),
)
LEVEL = {package: level for level, packages in enumerate(LEVELS) for package in packages}
APPLICATIONS = ("unbleed.bench", "unbleed.cli", "unbleed.rating", "unbleed.studio")  # all that may import the benchmark

Imports = dict[str, set[str]]


def imports(source: Path = SOURCE) -> Imports:
    """Return {module: modules of unbleed that it imports}, for every module below `source`."""
    files = {_module(file.relative_to(source)): file for file in sorted((source / "unbleed").rglob("*.py"))}
    return {name: set(_imported(name, file, files)) - {name} for name, file in files.items()}


def _module(path: Path) -> str:
    return ".".join((*path.parts[:-1], *((path.stem,) if path.stem != "__init__" else ())))


def _imported(name: str, file: Path, known: Mapping[str, Path]) -> Iterator[str]:
    package = name.split(".") if file.stem == "__init__" else name.split(".")[:-1]
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            base = [*base, *([node.module] if node.module else [])]
            for alias in node.names:  # `from x import y` imports the module x.y if there is one, else x
                module, member = ".".join(base), ".".join([*base, alias.name])
                yield from ([member] if member in known else [module] if module in known else [])


def package_of(module: str) -> str:
    """Return the package of a module of the benchmark.

    >>> package_of("unbleed.bench.plan.jobs"), package_of("unbleed.bench.api")
    ('plan', 'api')
    """
    return module.removeprefix(BENCH).strip(".").partition(".")[0]


def upward(found: Imports) -> list[str]:
    """Return the imports inside the benchmark that do not go to a lower level or stay in their package."""
    bench = [name for name in found if name.startswith(f"{BENCH}.")]
    unknown = sorted({package_of(name) for name in bench} - LEVEL.keys())
    wrong = [
        f"{name} (level {LEVEL[package_of(name)]}) imports {other} (level {LEVEL[package_of(other)]})"
        for name in bench
        for other in sorted(found[name])
        if other in bench and package_of(name) in LEVEL and package_of(other) in LEVEL
        if package_of(other) != package_of(name) and LEVEL[package_of(other)] >= LEVEL[package_of(name)]
    ]
    return [*(f"{BENCH}.{name} has no level" for name in unknown), *wrong]


def circles(found: Imports) -> list[str]:
    """Return a circle of imports between modules of the benchmark, if there is one.

    The `__init__` of a package is left out: it imports the package's modules, which may import the package's name.
    """
    bench = {name for name in found if name.startswith(f"{BENCH}.")}
    modules = {name for name in bench if not any(other.startswith(f"{name}.") for other in bench)}
    graph = {name: found[name] & modules for name in modules}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return [" imports ".join(reversed(error.args[1]))]
    return []


def from_engine(found: Imports) -> list[str]:
    """Return the imports of the benchmark by modules that are neither of the benchmark nor an application."""
    return [
        f"{name} imports {other}"
        for name, others in found.items()
        if not name.startswith(APPLICATIONS)
        for other in sorted(others)
        if other.startswith(BENCH)
    ]


def main() -> int:
    found = imports()
    for level, packages in enumerate(LEVELS):
        for package in packages:
            own = [name for name in found if name.startswith(BENCH) and package_of(name) == package]
            others = {package_of(other) for name in own for other in found[name] if other.startswith(f"{BENCH}.")}
            below = sorted(others - {package}, key=lambda name: (LEVEL[name], name))
            print(f"{level}  {package:10} {len(own):3} modules  imports {', '.join(below) or '-'}")
    wrong = [*upward(found), *circles(found), *from_engine(found)]
    for line in wrong:
        print(line, file=sys.stderr)
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
