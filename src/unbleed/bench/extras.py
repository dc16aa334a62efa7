"""Modules that come with the extras of the package."""

from __future__ import annotations

import importlib
from typing import Any

from ..errors import BenchError


def extra(name: str, of: str = "bench") -> Any:
    """Return a module of an extra; raise `BenchError` when it is not installed."""
    try:
        return importlib.import_module(name)
    except ImportError:
        raise BenchError(f'this needs {name.partition(".")[0]}, which is not installed: pip install "unbleed[{of}]"') from None
