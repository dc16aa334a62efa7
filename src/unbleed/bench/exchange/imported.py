"""Pictures from elsewhere: a table that says whose picture each file is becomes a run like one that was drawn here.

    file        of a picture, relative to the table
    prompt      what it should show
    method      whose it is [all are of one, called as the table is]
    seed        a number from 0 [counted within prompt and method, in the order of the rows]
    entities    "red cat; blue bench", as in a suite of your own
    group

A picture's key holds the sha256 of its file, so a file that changed is another picture. What is wrong with the table is said
before anything is written, and the plan is written last: a folder keeps its run until the new one is whole.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image, ImageOps

from ...errors import BenchError
from ...files import PICTURE_FORMATS, check_writable, open_image
from ..plan.cases import Case, Suite
from ..plan.jobs import JobResult
from ..plan.plan import Plan
from ..plan.variants import Variant
from ..storage.store import Store
from ..suites.own import add_case, case_in, in_row, rows_in, text_in

COLUMNS = ("file", "prompt", "method", "seed", "entities", "group")  # the first two there must be
NAME = "imported"  # as which the model of such pictures goes


@dataclass(frozen=True)
class Picture:
    """A row of the table."""

    line: int
    file: Path
    prompt: str
    method: str
    seed: int


@dataclass(frozen=True)
class Imported:
    """What an import has come to."""

    plan: Plan
    pictures: int  # of the table
    new: int  # that were not in the folder yet


def import_pictures(table: Path, out: Path, *, report: Callable[[int, int], None] = lambda done, total: None) -> Imported:
    """Make the pictures of a table a run in the folder `out`; what is there already is not imported again.

    Raises `BenchError` for a table that cannot be understood, a picture that is missing or cannot be read, and unless every
    method has the same seeds of every prompt.
    """
    cases, pictures = read_pictures(table)
    check_writable(out)
    plan = plan_of(table, cases, pictures)
    files = {(p.method, p.prompt, p.seed): p.file for p in pictures}
    store = Store(out)
    with store.writing():
        store.pictures.mend()
        there, new = store.drawn()[0], 0
        there -= store.damaged(there & {job.key for job in plan.jobs()})
        for done, job in enumerate(plan.jobs()):
            report(done, len(pictures))
            if job.key in there:
                continue
            file = files[job.setup.method, job.prompt, job.seed]
            data = _bytes(file)
            if _digest(data) != job.file:
                raise BenchError(f"{file} changed while it was imported; import the table again when nothing writes to it")
            store.keep(job.setup, [JobResult(job, as_png(data, file), seconds=None)])
            new += 1
        report(len(pictures), len(pictures))
        store.pictures.compact()
        if not store.plan_file.exists() or store.plan() != plan:
            store.keep_plan(plan)
    return Imported(plan, len(pictures), new)


def read_pictures(table: Path) -> tuple[tuple[Case, ...], tuple[Picture, ...]]:
    """Return the cases of a table and its pictures. Raises `BenchError` as `import_pictures` does."""
    cases: dict[str, tuple[int, Case]] = {}
    found: dict[tuple[str, str, int | Path], Picture] = {}
    counted, numbered = Counter[tuple[str, str]](), True
    for line, row in rows_in(text_in(table, "a row per picture"), table, COLUMNS[:2], COLUMNS[2:]):
        numbered = "seed" in row
        with in_row(table, line):
            case = case_in(row)
            picture = _picture(row, line, table, case.prompt)
            own = (picture.method, picture.prompt)
            if not numbered:
                picture = replace(picture, seed=counted[own])
                counted[own] += 1
            for what, said in ((picture.seed, f"seed {picture.seed}"), (picture.file, row["file"])):
                other = found.setdefault((*own, what), picture)
                if other is not picture:
                    raise ValueError(
                        f'{said} of "{picture.prompt}" by {picture.method} is also in line {other.line}; name each picture once'
                    )
        add_case(cases, case, table, line)
    pictures = tuple(dict.fromkeys(found.values()))
    if not pictures:
        raise BenchError(f"{table} has no picture; expected a row for each")
    _check_complete(table, pictures, numbered)
    if missing := [p for p in pictures if not os.path.isfile(p.file)]:
        more = f", nor are those of {len(missing) - 1} more rows" if len(missing) > 1 else ""
        raise BenchError(
            f"{table}, line {missing[0].line}: {missing[0].file} is not there{more}; files are named relative to the table"
        )
    return tuple(case for _, case in cases.values()), pictures


def _picture(row: Mapping[str, str], line: int, table: Path, prompt: str) -> Picture:
    name, method, seed = row["file"].strip(), row.get("method", table.stem).strip(), row.get("seed", "0").strip()
    if not name or not method:
        raise ValueError(f"the {'method' if name else 'file'} is empty; expected a name")
    if not re.fullmatch("[0-9]{1,18}", seed):
        raise ValueError(f'seed "{seed}"; expected a whole number from 0')
    return Picture(line, table.parent / name, prompt, method, int(seed))


def _check_complete(table: Path, pictures: Sequence[Picture], numbered: bool) -> None:
    """Raise `BenchError` unless every method has the same seeds of every prompt: so they are compared picture by picture."""
    methods, prompts = (list(dict.fromkeys(names)) for names in zip(*((p.method, p.prompt) for p in pictures), strict=True))
    seeds = sorted({p.seed for p in pictures})
    there = {(p.prompt, p.method, p.seed) for p in pictures}
    missing = [(p, m, s) for p in prompts for m in methods for s in seeds if (p, m, s) not in there]
    if not missing:
        return
    prompt, method, seed = missing[0]
    what = f"with seed {seed}" if numbered else f"number {seed + 1}"
    more = f", and {len(missing) - 1} more are missing" if len(missing) > 1 else ""
    raise BenchError(
        f'{table} has no picture {what} of "{prompt}" by {method}{more}; expected the same '
        f"{'seeds' if numbered else f'{len(seeds)} pictures'} of every prompt by every method"
    )


def plan_of(table: Path, cases: Sequence[Case], pictures: Sequence[Picture]) -> Plan:
    """Return the plan of a table's pictures. Of how they were drawn nothing is known, and nothing is said."""
    files: dict[str, dict[str, dict[str, str]]] = {}
    for p in sorted(pictures, key=lambda p: p.seed):
        files.setdefault(p.method, {}).setdefault(p.prompt, {})[str(p.seed)] = _digest(_bytes(p.file))
    seeds = {p.seed for p in pictures}
    return Plan(
        suite=Suite(table.stem, f"pictures of {table.name}", tuple(cases), min(seeds)),
        seeds=len(seeds),
        contenders=tuple(Variant(method, method) for method in dict.fromkeys(p.method for p in pictures)),
        model=NAME,
        model_fingerprint=NAME,
        steps=0,
        guidance_scale=0,
        dtype="",
        batch_size=1,
        versions={},
        machine={"device": ""},
        imported=files,
    )


def as_png(data: bytes, file: Path) -> bytes:
    """Return a picture as PNG: its own bytes if it is one, else its pixels, upright. Raises `BenchError` for any other file."""
    try:
        with open_image(io.BytesIO(data)) as image:
            image.load()
            if image.format == "PNG":
                return data
            pixels = ImageOps.exif_transpose(image).convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        reason = f"none of {', '.join(PICTURE_FORMATS)}" if isinstance(error, Image.UnidentifiedImageError) else error
        raise BenchError(f"{file} is no picture that can be read ({reason}); replace it, or leave its row out") from error
    stream = io.BytesIO()
    pixels.save(stream, "PNG")
    return stream.getvalue()


def _bytes(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise BenchError(f"{file} cannot be read ({error.strerror or error}); replace it, or leave its row out") from error


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
