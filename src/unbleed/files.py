"""Files: each appears whole or not at all, and one that cannot be read or written is named in one line."""

from __future__ import annotations

import os
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
    """Give a new file to write to. It gets the name `path` when the block ends, and is removed if the block raises.

    Its folder is made if it is not there. Until then the file has a name of its own beside `path`, is created exclusively and
    so never through a link. A link at `path` itself is replaced, not followed.

    >>> with atomic_file(folder / "report.md") as file:  # doctest: +SKIP
    ...     file.write(b"# Report")

    Raises `OutputError` when it cannot be written.
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
    """Write a file so that it is there in full or as it was before, and return its path; as `atomic_file` does."""
    with atomic_file(path, remedy) as file:
        file.write(content.encode() if isinstance(content, str) else content)
    return path


def clear_unfinished(folder: Path, *, older_than_s: float = 0.0) -> None:
    """Remove files that `atomic_file` left in a folder when its process was killed."""
    now = time.time()
    for left in folder.glob(f"{_PREFIX}*.tmp"):
        if now - left.lstat().st_mtime >= older_than_s:
            left.unlink(missing_ok=True)


@contextmanager
def writing(path: Path, remedy: str = "choose another --out") -> Iterator[None]:
    """Turn an `OSError` of a block that writes `path` into an `OutputError` of one line."""
    try:
        yield
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror or error}; {remedy}") from error


def check_writable(folder: Path) -> None:
    """Raise `OutputError` now, rather than after the work, where `folder` cannot be made or written to.

    A file is made for a try in the folder, or in the closest one above it that is there. Nothing else is made or removed.
    """
    try:
        there = next(place for place in (folder, *folder.absolute().parents) if _is_there(place))
        probe = there / f"{_PREFIX}{secrets.token_hex(8)}.tmp"
        probe.open("xb").close()
        probe.unlink()
    except OSError as error:
        raise OutputError(f"{folder} cannot be written to: {error.strerror or error}; choose another --out") from error


def _is_there(place: Path) -> bool:
    try:
        os.stat(place)
    except FileNotFoundError:
        if place.is_symlink():  # mkdir would fail on it
            raise
        return False
    return True


# ------------------------------------------------------------------------------------------------------ reading


def read_bytes(path: Path, *, error: type[UnbleedError], remedy: str) -> bytes:
    """Return the bytes of a file. A pipe or a device is refused: it could be waited for without end.

    Raises `error` with one line when it cannot be read, and `FileNotFoundError`.
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

    Raises `error` with the file, the field, what is there and what was expected, and `FileNotFoundError`.
    """
    data = read_bytes(path, error=error, remedy=remedy)
    with understanding(path, error=error, remedy=remedy):
        return schema.check(schema.parse(data), kind)


@contextmanager
def understanding(place: object, *, error: type[UnbleedError], remedy: str) -> Iterator[None]:
    """Turn the `SchemaError` of a block that reads a document into `error`, with the place of the document."""
    try:
        yield
    except schema.SchemaError as reason:
        raise error(f"{place} cannot be understood: {reason}; {remedy}") from reason


def open_image(source: Path | IO[bytes]) -> Image.Image:
    """Open a picture of one of `PICTURE_FORMATS`, whatever the file is called.

    Others are not tried: pillow hands EPS to Ghostscript, a program that runs what is in the file. Raises as `PIL.Image.open`.
    """
    Image.init()
    return Image.open(source, formats=[name for name in PICTURE_FORMATS if name in Image.OPEN])
