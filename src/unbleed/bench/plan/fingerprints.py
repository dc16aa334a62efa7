"""Fingerprints: hashes that identify a model, or a metric with its settings."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def of_files(folder: Path, files: Iterable[Path]) -> str:
    """Return the sha256 over files of a folder and their relative names."""
    total = hashlib.sha256()
    for file in sorted(files):
        total.update(f"{file.relative_to(folder).as_posix()}\0{file.stat().st_size}\0".encode())
        with file.open("rb") as stream:
            while block := stream.read(1 << 20):
                total.update(block)
    return total.hexdigest()


def of_values(**values: Any) -> str:
    """Return a hash of 16 hex digits over named values, which must be JSON.

    >>> of_values(model="a", strict=True) == of_values(strict=True, model="a") != of_values(model="a", strict=False)
    True
    """
    text = json.dumps(values, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
