"""The store: a folder with the images of any number of runs, each sampled or imported once, and the outputs of metrics.

    run.json                         the plan of the latest run
    setups.json                      {digest: everything that the images of a setup depend on}
    pictures/                        table with one row per image that was sampled or failed
    images/<first 2 of key>/<key>.png
    metrics/<name>-<fingerprint>/    table with one row per image that the metric ran on; metric.json has its settings

An image is written under a temporary name and renamed; then its row is appended, with the sha256 of the file. The process may
be killed at any moment: an image with a row is complete, and one without is sampled again, to the same bits. A file that was
truncated or replaced later no longer matches its row and is sampled again too.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from filelock import FileLock, Timeout

from ...errors import BenchError
from ...files import atomic_write, clear_unfinished, read_json, understanding, writing
from ..extras import extra
from ..plan.cases import Case
from ..plan.jobs import Job, JobResult, canonical_json
from ..plan.plan import Plan
from .images import read_png
from .table import MAKE_ROOM, Table

PICTURES = {
    "key": "string",
    "setup": "string",  # its digest
    "method": "string",
    "prompt": "string",
    "seed": "int64",
    "seconds": "double",  # null for an imported image
    "together": "int64",  # images in its batch: fewer than planned if memory ran out
    "dtype": "string",  # precision used: float32 if a lower one gave NaN or inf
    "drawn": "string",  # time in UTC
    "error": "string",  # why it failed, with the traceback
    "sha256": "string",  # of the image file
}
ADDED = ("sha256",)  # columns that rows of older versions lack
OUTPUTS = {"key": "string", "case": "string", "seen": "string"}  # seen: the metric's raw output as JSON


class StoredImages(NamedTuple):
    """Keys of the images that exist, {key: error} of those that failed, and keys with a row whose file is missing."""

    done: set[str]
    errors: dict[str, str]
    missing: set[str]


class Store:
    """A folder of images and rows.

    Reading needs no lock; writing happens inside `with store.writing():`, in one process at a time. A study passes another
    `plan_file`, so that it can share a folder with a benchmark.
    """

    def __init__(self, folder: Path, *, plan_file: str = "run.json") -> None:
        self.folder, self.plan_file = folder, folder / plan_file
        self.pictures = Table(folder / "pictures", PICTURES, added=ADDED)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the folder's lock; raise `BenchError` if another process holds it or pyarrow is not installed."""
        extra("pyarrow")  # fail now rather than after sampling, when rows are compacted
        lock = self.folder / ".lock"
        with writing(self.folder, MAKE_ROOM):
            self.folder.mkdir(parents=True, exist_ok=True)
            if lock.is_symlink():
                raise BenchError(f"{lock} is a symbolic link, which is not followed; remove it and run again")
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
        """Return the plan of the latest run; raise `BenchError` if there is none."""
        try:
            return plan_in(self.plan_file)
        except FileNotFoundError:
            name = self.plan_file.name
            raise BenchError(
                f"{self.folder} has no {name}; expected a folder written by unbleed bench run or unbleed bench import"
            ) from None

    # --------------------------------------------------------------------------------------------------- images

    def image(self, key: str) -> Path:
        return self.folder / "images" / key[:2] / f"{key}.png"

    def keep(self, results: Sequence[JobResult]) -> None:
        """Write images, then their rows."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        for result in results:
            if result.png is not None:
                atomic_write(self.image(result.job.key), result.png, MAKE_ROOM)
        self.pictures.append(
            {
                "key": result.job.key,
                "setup": result.job.setup.digest,
                "method": result.job.setup.method,
                "prompt": result.job.prompt,
                "seed": result.job.seed,
                "seconds": result.seconds,
                "together": result.together,
                "dtype": result.dtype,
                "drawn": now,
                "error": result.error,
                "sha256": None if result.png is None else hashlib.sha256(result.png).hexdigest(),
            }
            for result in results
        )

    def state(self) -> StoredImages:
        """Return which images exist, failed or are missing."""
        files = {name[:-4] for folder in _folders(self.folder / "images") for name in _names(folder)}
        found = StoredImages(set(), {}, set())
        for key, (error,) in self.pictures.read("error").items():
            if error is not None:
                found.errors[key] = error
            else:
                (found.done if key in files else found.missing).add(key)
        return found

    def hashes(self) -> dict[str, str | None]:
        """Return {key: sha256 of the image file}; None in rows of older versions."""
        return {key: sha256 for key, (sha256,) in self.pictures.read("sha256").items()}

    def damaged(self, keys: Collection[str]) -> set[str]:
        """Return the keys of images whose file does not match its row: truncated, emptied or replaced."""
        hashes, found = self.hashes(), set[str]()
        for key in keys:
            try:
                read_png(self.image(key), hashes[key])
            except BenchError:
                found.add(key)
        return found

    # -------------------------------------------------------------------------------------------------- metrics

    def outputs(self, name: str, fingerprint: str) -> Table:
        """Return the table of a metric's raw outputs, one row per image."""
        return Table(self.folder / "metrics" / f"{name}-{fingerprint[:16]}", OUTPUTS)


def row_key(job: Job, digest: str) -> str:
    """Return the key of a metric's output for an image and a case (`case_digest`)."""
    return f"{job.key}.{digest}"


def case_digest(case: Case) -> str:
    """Return a hash of what a metric is asked about an image: the entities and annotations of its case."""
    asked = {"entities": [[e.noun, list(e.modifiers)] for e in case.entities], "annotations": dict(case.annotations)}
    return hashlib.sha256(canonical_json(asked).encode()).hexdigest()[:8]


def plan_in(path: Path) -> Plan:
    """Return the plan in a file; raise `BenchError` naming an invalid field."""
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
        raise _unreadable(images, error) from error


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError as error:
        raise _unreadable(folder, error) from error


def _unreadable(folder: Path, error: OSError) -> BenchError:
    reason = error.strerror or error
    return BenchError(f"{folder} cannot be read ({reason}); expected a folder of images: move it away and run again")
