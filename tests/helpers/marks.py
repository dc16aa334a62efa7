"""Which cases of a large parametrised test `make test` runs."""

from __future__ import annotations

from collections.abc import Container, Iterable
from typing import Any

import pytest


def quick(chosen: Container[Any], values: Iterable[Any], *, names: int = 1) -> list[Any]:
    """Return the values of a parametrised test's `names` arguments; all but the chosen ones are marked slow."""
    return [
        value if value in chosen else pytest.param(*(value if names > 1 else [value]), marks=pytest.mark.slow)
        for value in values
    ]
