"""Files that a command wrote into a folder, so that it replaces those and no others.

.unbleed-files    a line "<sha256>  <name>" per file, in the format of sha256sum
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from ...errors import OutputError
from ...files import atomic_file, atomic_write, writing

LIST = ".unbleed-files"


class OwnFiles:
    """The files of a folder that are unchanged since a command wrote them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.written: dict[str, set[str]] = {}  # {name: sha256 of the content}; two hashes while a file is being replaced
        try:
            lines = (folder / LIST).read_bytes().decode(errors="replace").splitlines()
        except (FileNotFoundError, NotADirectoryError):
            lines = []
        except OSError as error:
            raise OutputError(f"{folder / LIST} cannot be read ({error.strerror or error}); choose another --out") from error
        for line in lines:
            sha256, _, name = line.partition("  ")
            self.written.setdefault(name, set()).add(sha256)

    def check(self, names: Iterable[str]) -> None:
        """Raise `OutputError` if a file of one of these names exists that was not written here, or has changed since."""
        for name in names:
            path = self.folder / name
            with writing(path):
                foreign = (path.exists() or path.is_symlink()) and not self._is_own(name)
            if foreign:
                raise OutputError(
                    f"{path} was not written by this command, or was changed since; move it away, or choose another --out"
                )

    @contextmanager
    def file(self, name: str) -> Iterator[BinaryIO]:
        """Open a file as `atomic_file` does. Its hash is stored before the file appears, so a kill loses no ownership."""
        path = self.folder / name
        with atomic_file(path) as file:
            yield file
            file.flush()
            before = _sha256(path) if self._is_own(name) else None
            self.written[name] = {sha256 for sha256 in (before, _sha256(Path(file.name))) if sha256}
            lines = [f"{sha256}  {name}\n" for name, hashes in sorted(self.written.items()) for sha256 in sorted(hashes)]
            atomic_write(self.folder / LIST, "".join(lines))

    def write(self, name: str, text: str) -> Path:
        with self.file(name) as file:
            file.write(text.encode())
        return self.folder / name

    def remove(self, names: Iterable[str]) -> None:
        """Delete files; raise `OutputError` as `check` does."""
        names = list(names)
        self.check(names)
        for name in names:
            with writing(self.folder / name):
                (self.folder / name).unlink(missing_ok=True)

    def _is_own(self, name: str) -> bool:
        path = self.folder / name
        return path.is_file() and not path.is_symlink() and _sha256(path) in self.written.get(name, ())


def write_texts(texts: Mapping[str, str], folder: Path, own: OwnFiles | None = None) -> None:
    """Write {file name: text} into `folder`, each file whole; raise `OutputError` if it cannot be written.

    With `own`, only files that it lists are replaced. Without, any are: a run's folder holds nothing else of these names.
    """
    if own is not None:
        own.check(texts)
    for name, text in texts.items():
        if own is None:
            atomic_write(folder / name, text, "make room, or copy the run elsewhere")
        else:
            own.write(name, text)


def _sha256(path: Path) -> str:
    total = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            total.update(block)
    return total.hexdigest()
