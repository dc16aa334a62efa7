"""Files that appear whole under their name, and folders that can be written to."""

from __future__ import annotations

import secrets
from pathlib import Path

from .errors import OutputError


def write_whole(path: Path, data: bytes) -> Path:
    """Write a file that appears under its name when it is whole; its folder is made. Raise `OutputError` if it cannot be.

    The temporary file beside it is always a new one: nothing that is there already is written to, and no link is followed.
    """
    temporary = path.with_name(f".unbleed-{secrets.token_hex(8)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("xb") as file:
                file.write(data)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror or error}; choose another --out") from error
    return path


def check_writable(folder: Path) -> None:
    """Raise `OutputError` now, rather than after the work, where `folder` cannot be made or written to.

    The folder is made and written to for a try, and what was made is taken away again.
    """
    made = [place for place in (folder, *folder.parents) if not place.exists()]
    probe = folder / ".unbleed-write-test"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
        for place in made:
            place.rmdir()
    except OSError as error:
        raise OutputError(f"{folder} cannot be written to: {error.strerror or error}; choose another --out") from error
