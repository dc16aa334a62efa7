"""Files: written whole or not at all; one that cannot be read or written is an error of one line."""

from __future__ import annotations

import os
import re
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, BinaryIO, TypeVar

from PIL import Image

from . import schema
from .errors import OutputError, UnbleedError

T = TypeVar("T")
_PREFIX = ".unbleed-"
PICTURE_FORMATS = ("PNG", "JPEG", "WEBP", "AVIF", "GIF", "BMP", "TIFF", "PPM")


@contextmanager
def atomic_file(path: Path, remedy: str = "choose another --out") -> Iterator[BinaryIO]:
    """Open a new file for writing. It is renamed to `path` when the block ends, and removed if the block raises.

    Its folder is made if it is missing. Until the end the file has a temporary name in that folder and is created exclusively,
    so never through a link. A link at `path` itself is replaced, not followed.

    >>> with atomic_file(folder / "report.md") as file:  # doctest: +SKIP
    ...     file.write(b"# Report")

    Raises `OutputError` if it cannot be written; `remedy` ends the message.
    """
    temporary = path.parent / f"{_PREFIX}{secrets.token_hex(8)}.tmp"
    with writing(path, remedy):
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("xb") as file:
            try:
                yield file
                file.close()
                temporary.replace(path)
            except BaseException:
                file.close()
                temporary.unlink(missing_ok=True)
                raise


def atomic_write(path: Path, content: str | bytes, remedy: str = "choose another --out") -> Path:
    """Write a file as `atomic_file` does, whole or not at all, and return its path."""
    with atomic_file(path, remedy) as file:
        file.write(content.encode() if isinstance(content, str) else content)
    return path


def clear_unfinished(folder: Path, *, older_than_s: float = 0.0) -> None:
    """Remove temporary files that `atomic_file` left in a folder when its process was killed."""
    now = time.time()
    for left in folder.glob(f"{_PREFIX}*.tmp"):
        if now - left.lstat().st_mtime >= older_than_s:
            left.unlink(missing_ok=True)


def slug(text: str, length: int = 60) -> str:
    """Return a text as part of a file name, of at most `length` bytes: file systems count bytes, not letters."""
    whole = re.sub(r"[^\w]+", "-", text.lower(), flags=re.UNICODE).strip("-_")
    return whole.encode()[:length].decode(errors="ignore").rstrip("-") or "picture"


@contextmanager
def writing(path: Path, remedy: str = "choose another --out") -> Iterator[None]:
    """Turn an `OSError` of a block that writes `path` into an `OutputError`."""
    try:
        yield
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror or error}; {remedy}") from error


def check_writable(folder: Path) -> None:
    """Raise `OutputError` before the work if `folder` cannot be made or written to.

    A test file is made and removed in the folder, or in its closest parent that exists. Nothing else is made or removed.
    """
    try:
        there = next(path for path in (folder, *folder.absolute().parents) if _exists(path))
        probe = there / f"{_PREFIX}{secrets.token_hex(8)}.tmp"
        probe.open("xb").close()
        probe.unlink()
    except OSError as error:
        raise OutputError(f"{folder} cannot be written to: {error.strerror or error}; choose another --out") from error


def _exists(path: Path) -> bool:
    try:
        os.stat(path)
    except FileNotFoundError:
        if path.is_symlink():  # mkdir would fail on it
            raise
        return False
    return True


# ------------------------------------------------------------------------------------------------------ reading


def read_bytes(path: Path, *, error: type[UnbleedError], remedy: str) -> bytes:
    """Return the bytes of a file. A pipe or a device is refused: reading it might never end.

    Raises `error` if the file cannot be read, and `FileNotFoundError` if it does not exist.
    """
    try:
        if os.path.exists(path) and not os.path.isfile(path):
            raise error(f"{path} is not a file; {remedy}")
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(path) from None
    except OSError as reason:
        raise error(f"{path} cannot be read ({reason.strerror or reason}); {remedy}") from reason


def read_json(path: Path, kind: type[T], *, error: type[UnbleedError], remedy: str) -> T:
    """Return the JSON document in a file as a `kind` (see `schema`).

    Raises `error` with the file, the field, its value and what was expected, and `FileNotFoundError`.
    """
    data = read_bytes(path, error=error, remedy=remedy)
    with understanding(path, error=error, remedy=remedy):
        return schema.check(schema.parse(data), kind)


@contextmanager
def understanding(source: object, *, error: type[UnbleedError], remedy: str) -> Iterator[None]:
    """Turn the `SchemaError` of a block that reads a document into `error`, which names the `source` of the document."""
    try:
        yield
    except schema.SchemaError as reason:
        raise error(f"{source} cannot be understood: {reason}; {remedy}") from reason


def open_image(source: Path | IO[bytes]) -> Image.Image:
    """Open an image in one of `PICTURE_FORMATS`, whatever its file is called. Raises as `PIL.Image.open` does.

    Other formats are not tried: pillow passes EPS to Ghostscript, which runs the program in the file.
    """
    Image.init()
    return Image.open(source, formats=[name for name in PICTURE_FORMATS if name in Image.OPEN])
