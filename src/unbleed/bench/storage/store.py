"""The store: a folder that holds the pictures of any number of runs, each drawn or imported once, and what metrics saw in them.

    run.json                         the plan of the latest run
    setups.json                      {digest: all that the pictures of a setup depend on}
    pictures/                        a table: one row per picture that was drawn, or could not be
    images/<first 2 of key>/<key>.png
    metrics/<name>-<fingerprint>/    a table: one row per picture that the metric looked at; metric.json says how it was made

A picture is written under another name and renamed; its row, with the file's sha256, comes after it. So a process may be killed
at any moment: what has a row is whole, and what has none is drawn again, to the same bits. A file that was cut short or
replaced later differs from its row, and is drawn again too.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from PIL import Image

from ...errors import BenchError
from ...files import atomic_write, clear_unfinished, open_image, read_bytes, read_json, understanding, writing
from ..extras import extra
from ..plan.cases import Case
from ..plan.jobs import Job, JobResult, Setup, canonical_json
from ..plan.plan import Plan
from .table import MAKE_ROOM, Table

PICTURES = {
    "key": "string",
    "setup": "string",  # its digest
    "method": "string",
    "prompt": "string",
    "seed": "int64",
    "seconds": "double",  # none of a picture that was imported
    "together": "int64",  # pictures of its batch as drawn: fewer than planned where memory ran out
    "dtype": "string",  # as drawn: float32 where a lower precision gave no numbers
    "drawn": "string",  # when, UTC
    "error": "string",  # why it could not be drawn, with the traceback
    "sha256": "string",  # of the picture's file
}
ADDED = ("sha256",)  # columns that rows of older versions lack
PNG_BEGIN, PNG_END = b"\x89PNG\r\n\x1a\n", b"IEND\xaeB`\x82"
SEEN = {"key": "string", "case": "string", "seen": "string"}


class Store:
    """The folder. Reading asks for nothing; writing happens in `with store.writing():`, one process at a time.

    A study that keeps other plans than a benchmark names another file, so that both may lie in one folder.
    """

    def __init__(self, folder: Path, *, plan_file: str = "run.json") -> None:
        self.folder, self.plan_file = folder, folder / plan_file
        self.pictures = Table(folder / "pictures", PICTURES, added=ADDED)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the folder's lock; raise `BenchError` if another process does, or pyarrow is not installed."""
        extra("pyarrow")  # now, rather than when all pictures are there and their rows are compacted
        lock = self.folder / ".lock"
        with writing(self.folder, MAKE_ROOM):
            self.folder.mkdir(parents=True, exist_ok=True)
            if lock.is_symlink():
                raise BenchError(f"{lock} is a link, which is not written through; remove it and run again")
            holding = FileLock(lock, timeout=0)
            try:
                holding.acquire()
            except Timeout:
                raise BenchError(
                    f"another process is writing to {self.folder}; wait for it, or name another folder with --out"
                ) from None
        try:
            with writing(self.folder, MAKE_ROOM):
                clear_unfinished(self.folder, older_than_s=3600)  # a report may be writing here at this moment
                for folder in _folders(self.folder / "images"):
                    clear_unfinished(folder)
            yield
        finally:
            holding.release()

    # ------------------------------------------------------------------------------------------------- the plan

    def keep_plan(self, plan: Plan) -> None:
        write_json(self.plan_file, plan.to_json())
        path, known = self.folder / "setups.json", {}
        with suppress(FileNotFoundError):
            known = read_json(path, Mapping[str, Mapping[str, Any]], error=BenchError, remedy="remove it and run again")
        setups = {**known, **{setup.digest: setup.content for setup in plan.setups.values()}}
        if setups != known:
            write_json(path, setups)

    def plan(self) -> Plan:
        """Return the plan of the latest run; raise `BenchError` where there is none."""
        try:
            return plan_in(self.plan_file)
        except FileNotFoundError:
            name = self.plan_file.name
            raise BenchError(
                f"{self.folder} has no {name}; expected a folder that unbleed bench run wrote, or import"
            ) from None

    # ------------------------------------------------------------------------------------------------- pictures

    def image(self, key: str) -> Path:
        return self.folder / "images" / key[:2] / f"{key}.png"

    def keep(self, setup: Setup, painted: Sequence[JobResult]) -> None:
        """Write pictures, then their rows."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        for one in painted:
            if one.png is not None:
                atomic_write(self.image(one.job.key), one.png, MAKE_ROOM)
        self.pictures.append(
            {
                "key": one.job.key,
                "setup": setup.digest,
                "method": setup.method,
                "prompt": one.job.prompt,
                "seed": one.job.seed,
                "seconds": one.seconds,
                "together": one.together,
                "dtype": one.dtype,
                "drawn": now,
                "error": one.error,
                "sha256": None if one.png is None else hashlib.sha256(one.png).hexdigest(),
            }
            for one in painted
        )

    def drawn(self) -> tuple[set[str], dict[str, str], set[str]]:
        """Return the keys of the pictures that are there, {key: error} of those that could not be drawn, and the keys of
        those that have a row but no file any more."""
        there = {name[:-4] for folder in _folders(self.folder / "images") for name in _names(folder)}
        drawn, failed, gone = set[str](), dict[str, str](), set[str]()
        for key, (error,) in self.pictures.read("error").items():
            if error is not None:
                failed[key] = error
            else:
                (drawn if key in there else gone).add(key)
        return drawn, failed, gone

    def hashes(self) -> dict[str, str | None]:
        """Return {key: sha256 of the picture's file}; None in rows of older versions."""
        return {key: sha256 for key, (sha256,) in self.pictures.read("sha256").items()}

    def damaged(self, keys: Collection[str]) -> set[str]:
        """Return the keys of the pictures whose file is not what its row says: cut short, emptied, or another picture."""
        hashes, found = self.hashes(), set[str]()
        for key in keys:
            try:
                read_picture(self.image(key), hashes[key])
            except BenchError:
                found.add(key)
        return found

    # ------------------------------------------------------------------------------------------------- what was seen

    def seen(self, name: str, fingerprint: str) -> Table:
        """Return the table of a metric: what it saw in each picture, as JSON text."""
        return Table(self.folder / "metrics" / f"{name}-{fingerprint[:16]}", SEEN)


def row_key(job: Job, asked: str) -> str:
    """Return the key of what a metric saw: of the picture, and of what it was asked about it (`case_digest`)."""
    return f"{job.key}.{asked}"


def case_digest(case: Case) -> str:
    """Return what tells the question about a picture from others: all of the case but the groups that it is counted in."""
    asked = {"entities": [[e.noun, list(e.modifiers)] for e in case.entities], "annotations": dict(case.annotations)}
    return hashlib.sha256(canonical_json(asked).encode()).hexdigest()[:8]


def read_picture(path: Path, sha256: str | None = None) -> bytes:
    """Return the bytes of a picture of a run; raise `BenchError` when it is gone, or not what its row says.

    Where the row has no hash, the file must begin and end as a PNG.
    """
    again = "run the benchmark (or the import) again: it is made anew"
    try:
        data = read_bytes(path, error=BenchError, remedy=again)
    except FileNotFoundError:
        raise BenchError(f"{path} is gone; {again}") from None
    if sha256 is not None and hashlib.sha256(data).hexdigest() != sha256:
        raise BenchError(f"{path} is not the picture that its row means: its sha256 is another; {again}")
    if not data.startswith(PNG_BEGIN) or PNG_END not in data:
        raise BenchError(f"{path} is damaged: no whole PNG; {again}")
    return data


def read_image(path: Path, sha256: str | None = None) -> Image.Image:
    """Return a picture of a run; raise `BenchError` as `read_picture` does, and when it cannot be decoded."""
    data = read_picture(path, sha256)
    try:
        with open_image(io.BytesIO(data)) as image:
            return image.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise BenchError(f"{path} is damaged ({error}); remove it and run again: it is made anew") from error


def plan_in(path: Path) -> Plan:
    """Return the plan in a file; raise `BenchError` naming the field that cannot be."""
    remedy = "remove it and run again, or name another folder"
    plan = read_json(path, Plan, error=BenchError, remedy=remedy)
    with understanding(path, error=BenchError, remedy=remedy):
        plan.check()
    return plan


def write_json(path: Path, value: Any) -> None:
    atomic_write(path, json.dumps(value, ensure_ascii=False, indent=1) + "\n", MAKE_ROOM)


def _folders(images: Path) -> list[Path]:
    try:
        return [Path(entry.path) for entry in os.scandir(images) if entry.is_dir()]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise _no_pictures(images, error) from error


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError as error:
        raise _no_pictures(folder, error) from error


def _no_pictures(folder: Path, error: OSError) -> BenchError:
    reason = error.strerror or error
    return BenchError(f"{folder} cannot be read ({reason}); expected a folder of pictures: move it away and run again")
