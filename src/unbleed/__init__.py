"""Attention guidance for diffusers pipelines: every entity of the prompt appears, with its own attributes, in its own region.

>>> import unbleed
>>> [str(entity) for entity in unbleed.parse("a red cat and a blue bench").entities]
['red cat', 'blue bench']
"""

# Names are imported when they are first used, so that the command line starts quickly where torch is not needed. The names and
# their modules are listed in __init__.pyi, for type checkers and for this module.

import ast
import importlib
from pathlib import Path
from typing import Any

__version__ = "0.1.0"

_IMPORTS = [node for node in ast.parse(Path(__file__).with_suffix(".pyi").read_text()).body if isinstance(node, ast.ImportFrom)]
_HOMES = {alias.name: f"{__name__}.{node.module}" for node in _IMPORTS if node.module for alias in node.names}

__all__ = ["__version__", *_HOMES]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        value = getattr(importlib.import_module(_HOMES[name]), name)
        globals()[name] = value
        return value
    if (Path(__file__).parent / name / "__init__.py").is_file() or (Path(__file__).parent / f"{name}.py").is_file():
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
