"""Modules that come with the extras of the package."""

from __future__ import annotations

import importlib
import re
from importlib.metadata import requires
from typing import Any

from ..errors import BenchError


def extra(name: str, of: str = "bench") -> Any:
    """Return a module of an extra; raise `BenchError` when it is not installed."""
    try:
        return importlib.import_module(name)
    except ImportError:
        raise BenchError(f"this needs {name.partition('.')[0]}, which is not installed: {install_command(of)}") from None


def install_command(of: str) -> str:
    """Return the command that installs an extra's packages, wherever unbleed itself came from.

    They are named one by one: `unbleed[bench]` is on no index, and `.[bench]` needs a checkout.

    >>> install_command("bench")
    'pip install "jinja2>=3.1" "matplotlib>=3.8" "pyarrow>=17"'
    """
    wanted = [line.partition(";") for line in requires("unbleed") or ()]
    named = sorted(need.strip() for need, _, marker in wanted if re.search(rf"""extra == ['"]{re.escape(of)}['"]""", marker))
    return "pip install " + " ".join(f'"{need}"' for need in named)
