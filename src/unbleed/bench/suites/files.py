"""Files of published prompt sets: their folder, their hashes, and their download."""

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
    """Return the folder of published sets: `folder`, else `UNBLEED_SUITES`, else `unbleed/suites` in the user's cache."""
    if folder is not None:
        return folder
    if named := os.environ.get(VARIABLE):
        return Path(named).expanduser()
    cache = Path(os.environ.get("XDG_CACHE_HOME", ""))  # its specification says to ignore relative paths
    return (cache if cache.is_absolute() else Path.home() / ".cache") / "unbleed" / "suites"


def text_of(row: Published, folder: Path | None = None) -> str:
    """Return the text of a set's file.

    Raises `BenchError` if the file is missing, cannot be read, or has the wrong hash.
    """
    base = suite_folder(folder)
    data = _bytes_of(row, base)
    if data is None:
        raise BenchError(
            f"{row.name} is not in {base}: {row.path} is missing; it comes from {row.address}: run "
            f"{_command(row, folder)}, or name the folder that has it with --suite-dir or {VARIABLE}"
        )
    _check(row, base / row.path, data, f"remove it and run {_command(row, folder)}")
    return data.decode()


def download(name: str, folder: Path | None = None) -> Path:
    """Return the path of a published set's file, downloading it if it is missing.

    The file appears by one rename, after its sha256 was checked, or its form and length where no hash is known. An existing
    file is never replaced.

    Raises `BenchError` for a name that is not a published set, an existing file with the wrong hash, or an address that cannot
    be reached or returns something else; `OutputError` if the folder cannot be written to.
    """
    if name not in PUBLISHED:
        raise BenchError(f'"{name}" is not a published prompt set; those that can be downloaded are {", ".join(PUBLISHED)}')
    row = PUBLISHED[name]
    path = suite_folder(folder) / row.path
    if _bytes_of(row, suite_folder(folder)) is not None:
        text_of(row, folder)
        return path
    remedy = f"try again later, or put the file at {path} by other means"
    data = _fetch(row.address, remedy)
    _check(row, row.address, data, remedy)
    return atomic_write(path, data, "choose another --suite-dir")


def _bytes_of(row: Published, base: Path) -> bytes | None:
    path = base / row.path
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise BenchError(f"{path} cannot be read ({error.strerror or error}); expected the file of {row.name}") from error


def _fetch(address: str, remedy: str) -> bytes:
    try:
        with urlopen(address, timeout=TIMEOUT_S) as answer:
            return answer.read(MOST_BYTES)
    except HTTPError as error:
        error.close()
        raise BenchError(f"{address} answered {error.code} {error.reason}; {remedy}") from None
    except (OSError, HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise BenchError(f"{address} cannot be fetched ({reason}); {remedy}") from error


def _check(row: Published, source: object, data: bytes, remedy: str) -> None:
    found = hashlib.sha256(data).hexdigest()
    if row.sha256 is None:
        _check_form(row, source, data, remedy)
    elif found != row.sha256:
        raise BenchError(
            f"{source} is not the file of {row.name}: {len(data)} bytes with sha256 {found}, expected {row.sha256}; {remedy}"
        )


def _check_form(row: Published, source: object, data: bytes, remedy: str) -> None:
    """Raise `BenchError` if a file whose hash is not known is not of its set's form and length."""
    try:
        count = len(list(row.read(data.decode())))
    except (ValueError, KeyError, TypeError, AttributeError, StopIteration, RuntimeError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise BenchError(f"{source} is not of the form of {row.name} ({reason}); {remedy}") from error
    if count != row.prompts:
        raise BenchError(f"{source} is not the file of {row.name}: it has {count} prompts, expected {row.prompts}; {remedy}")


def _command(row: Published, folder: Path | None) -> str:
    elsewhere = "" if folder is None else f" --suite-dir {shlex.quote(str(folder))}"
    return f"unbleed bench download {row.name}{elsewhere}"
