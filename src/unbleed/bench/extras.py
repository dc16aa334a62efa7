"""Modules from optional dependencies (extras)."""

from __future__ import annotations

import importlib
import re
from importlib.metadata import requires
from typing import Any

from ..errors import BenchError


def extra(name: str, of: str = "bench") -> Any:
    """Import and return a module of an extra; raise `BenchError` if it is not installed."""
    try:
        return importlib.import_module(name)
    except ImportError:
        raise BenchError(f"this needs {name.partition('.')[0]}, which is not installed: {install_command(of)}") from None


def install_command(of: str) -> str:
    """Return the pip command that installs the packages of an extra.

    The packages are listed one by one, because `unbleed[bench]` is not on any index and `.[bench]` needs a checkout.

    >>> install_command("bench")
    'pip install "jinja2>=3.1" "matplotlib>=3.8" "pyarrow>=17"'
    """
    wanted = [line.partition(";") for line in requires("unbleed") or ()]
    named = sorted(need.strip() for need, _, marker in wanted if re.search(rf"""extra == ['"]{re.escape(of)}['"]""", marker))
    return "pip install " + " ".join(f'"{need}"' for need in named)
