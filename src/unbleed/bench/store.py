"""The store: a folder that holds the pictures of any number of runs, each drawn or imported once, and what metrics saw in them.

    run.json                         the plan of the latest run
    setups.json                      {digest: all that the pictures of a setup depend on}
    pictures/                        a table: one row per picture that was drawn, or could not be
    images/<first 2 of key>/<key>.png
    metrics/<name>-<fingerprint>/    a table: one row per picture that the metric looked at; metric.json says how it was made

A picture is written under another name and renamed; its row comes after it. So a process may be killed at any moment: what has
a row is whole, and what has none is drawn again, to the same bits.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path

from filelock import FileLock, Timeout
from PIL import Image

from ..errors import BenchError
from .cases import Case
from .jobs import Job, Setup, canonical_json
from .painting import Painted
from .plan import Plan
from .table import Table, telling

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
}
SEEN = {"key": "string", "case": "string", "seen": "string"}


class Store:
    """The folder. Reading asks for nothing; writing happens in `with store.writing():`, one process at a time.

    A study that keeps other plans than a benchmark names another file, so that both may lie in one folder.
    """

    def __init__(self, folder: Path, *, plan_file: str = "run.json") -> None:
        self.folder, self.plan_file = folder, folder / plan_file
        self.pictures = Table(folder / "pictures", PICTURES)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the folder's lock; raise `BenchError` if another process does."""
        with telling(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.folder / ".lock", timeout=0)
            try:
                lock.acquire()
            except Timeout:
                raise BenchError(
                    f"another process is writing to {self.folder}; wait for it, or name another folder with --out"
                ) from None
        try:
            with telling(self.folder):
                for leftover in self.folder.glob("images/*/.*.tmp"):
                    leftover.unlink()
            yield
        finally:
            lock.release()

    # ------------------------------------------------------------------------------------------------- the plan

    def keep_plan(self, plan: Plan) -> None:
        replace_text(self.plan_file, json.dumps(plan.to_json(), ensure_ascii=False, indent=1) + "\n")
        path = self.folder / "setups.json"
        try:
            known = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            known = {}
        except (OSError, ValueError) as error:
            raise BenchError(f"{path} cannot be understood ({error}); remove it and run again") from error
        setups = known | {setup.digest: setup.content for setup in plan.setups.values()}
        if setups != known:
            replace_text(path, json.dumps(setups, ensure_ascii=False, indent=1) + "\n")

    def plan(self) -> Plan:
        """Return the plan of the latest run; raise `BenchError` where there is none."""
        try:
            return Plan.from_json(json.loads(self.plan_file.read_text(encoding="utf-8")))
        except (FileNotFoundError, NotADirectoryError):
            name = self.plan_file.name
            raise BenchError(
                f"{self.folder} has no {name}; expected a folder that unbleed bench run wrote, or import"
            ) from None
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise BenchError(f"{self.plan_file} cannot be understood ({error!r}); remove it and run again") from error

    # ------------------------------------------------------------------------------------------------- pictures

    def image(self, key: str) -> Path:
        return self.folder / "images" / key[:2] / f"{key}.png"

    def keep(self, setup: Setup, painted: Sequence[Painted]) -> None:
        """Write pictures, then their rows."""
        now = datetime.now(timezone.utc).isoformat(timespec="seconds")
        for one in painted:
            if one.png is not None:
                path = self.image(one.job.key)
                temporary = path.with_name(f".{path.name}.tmp")
                with telling(path):
                    path.parent.mkdir(parents=True, exist_ok=True)
                    temporary.write_bytes(one.png)
                    temporary.replace(path)
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
            }
            for one in painted
        )

    def drawn(self) -> tuple[set[str], dict[str, str], set[str]]:
        """Return the keys of the pictures that are there, {key: error} of those that could not be drawn, and the keys of
        those that have a row but no file any more."""
        there = {name[:-4] for folder in _folders(self.folder / "images") for name in os.listdir(folder)}
        drawn, failed, gone = set[str](), dict[str, str](), set[str]()
        for key, (error,) in self.pictures.read("error").items():
            if error is not None:
                failed[key] = error
            else:
                (drawn if key in there else gone).add(key)
        return drawn, failed, gone

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


def read_image(path: Path) -> Image.Image:
    """Return a picture of the store; raise `BenchError` when it is gone or damaged."""
    try:
        with Image.open(path) as image:
            return image.convert("RGB")
    except (OSError, ValueError, SyntaxError) as error:
        reason = getattr(error, "strerror", None) or error
        raise BenchError(f"{path} is damaged ({reason}); remove it and run again: it is drawn anew") from error


def replace_text(path: Path, text: str) -> None:
    """Write a file so that it is there in full or as it was before."""
    temporary = path.with_name(f".{path.name}.tmp")
    with telling(path):
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)


def _folders(images: Path) -> list[Path]:
    try:
        return [Path(entry.path) for entry in os.scandir(images) if entry.is_dir()]
    except FileNotFoundError:
        return []
