"""The files of published sets: where they lie, that they are the right ones, and how they come there."""

from __future__ import annotations

import hashlib
import os
import shlex
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

from ...errors import BenchError
from ...files import atomic_write
from .published import PUBLISHED, Published

VARIABLE = "UNBLEED_SUITES"
TIMEOUT_S = 60
MOST_BYTES = 64 << 20  # the largest of the files has 2 MB


def suite_folder(folder: Path | None = None) -> Path:
    """Return the folder of published sets: as given, else `UNBLEED_SUITES`, else `unbleed/suites` in the user's cache."""
    if folder is not None:
        return folder
    if named := os.environ.get(VARIABLE):
        return Path(named).expanduser()
    cache = Path(os.environ.get("XDG_CACHE_HOME", ""))  # to be ignored unless absolute, says its specification
    return (cache if cache.is_absolute() else Path.home() / ".cache") / "unbleed" / "suites"


def text_of(row: Published, folder: Path | None = None) -> str:
    """Return the text of a set's file.

    Raises `BenchError` when the file is not there, cannot be read, or is not the one that the set means.
    """
    base = suite_folder(folder)
    data = _bytes_of(row, base)
    if data is None:
        raise BenchError(
            f"{row.name} is not in {base}, where {row.path} is missing; it comes from {row.address}: run "
            f"{_command(row, folder)}, or name the folder that has it with --suite-dir or {VARIABLE}"
        )
    _check(row, base / row.path, data, f"remove it and run {_command(row, folder)}")
    return data.decode()


def download(name: str, folder: Path | None = None) -> Path:
    """Return the place of a published set's file, fetched if it is not there.

    It appears under its name by one rename, after its sha256 was found right. A file that is there is never replaced.

    Raises `BenchError` for a name that is no published set, a file that is there and another, an address that cannot be reached
    or gives something else, and `OutputError` for a folder that cannot be written to.
    """
    if name not in PUBLISHED:
        raise BenchError(f'"{name}" is no published prompt set, and only those are fetched: {", ".join(PUBLISHED)}')
    row = PUBLISHED[name]
    path = suite_folder(folder) / row.path
    if _bytes_of(row, suite_folder(folder)) is not None:
        text_of(row, folder)
        return path
    otherwise = f"try again later, or put the file at {path} by other means"
    data = _fetch(row.address, otherwise)
    _check(row, row.address, data, otherwise)
    return atomic_write(path, data, "choose another --suite-dir")


def _bytes_of(row: Published, base: Path) -> bytes | None:
    path = base / row.path
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise BenchError(f"{path} cannot be read ({error.strerror or error}); expected the file of {row.name}") from error


def _fetch(address: str, otherwise: str) -> bytes:
    try:
        with urlopen(address, timeout=TIMEOUT_S) as answer:
            return answer.read(MOST_BYTES)
    except HTTPError as error:
        error.close()
        raise BenchError(f"{address} answered {error.code} {error.reason}; {otherwise}") from None
    except (OSError, HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise BenchError(f"{address} cannot be fetched ({reason}); {otherwise}") from error


def _check(row: Published, place: object, data: bytes, otherwise: str) -> None:
    seen = hashlib.sha256(data).hexdigest()
    if seen != row.sha256:
        raise BenchError(
            f"{place} is not the file of {row.name}: {len(data)} bytes with sha256 {seen}, expected {row.sha256}; {otherwise}"
        )


def _command(row: Published, folder: Path | None) -> str:
    elsewhere = "" if folder is None else f" --suite-dir {shlex.quote(str(folder))}"
    return f"unbleed bench download {row.name}{elsewhere}"
