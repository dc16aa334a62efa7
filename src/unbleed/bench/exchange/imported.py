"""Import of existing images: a CSV table of image files becomes a run.

    file        path of an image, relative to the table
    prompt      its prompt
    method      the method that made it [default: one method for all, named after the table]
    seed        a whole number from 0 [default: counted within prompt and method, in the order of the rows]
    entities    "red cat; blue bench", as in a suite file
    group       the group of the prompt

An image's key contains the sha256 of its file, so a file that changed is another image. Errors in the table are reported before
anything is written, and the plan is written last: until an import is complete, the folder keeps its previous run.
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

COLUMNS = ("file", "prompt", "method", "seed", "entities", "group")  # the first two are required
NAME = "imported"  # name and fingerprint of the unknown model


@dataclass(frozen=True)
class ImageFile:
    """A row of the table."""

    line: int
    file: Path
    prompt: str
    method: str
    seed: int


@dataclass(frozen=True)
class Imported:
    """Counts of a finished import, with its plan."""

    plan: Plan
    images: int  # in the table
    new: int  # images that were not in the folder yet


def import_images(table: Path, out: Path, *, on_progress: Callable[[int, int], None] = lambda done, total: None) -> Imported:
    """Import the images of a table into the folder `out`; images that are there already are skipped.

    Raises `BenchError` for an invalid table, an image that is missing or cannot be read, and unless every method has the same
    seeds for every prompt.
    """
    cases, images = read_table(table)
    check_writable(out)
    plan = plan_of(table, cases, images)
    files = {(image.method, image.prompt, image.seed): image.file for image in images}
    store = Store(out)
    with store.writing():
        store.pictures.mend()
        stored, new = store.state().done, 0
        stored -= store.damaged(stored & {job.key for job in plan.jobs()})
        for done, job in enumerate(plan.jobs()):
            on_progress(done, len(images))
            if job.key in stored:
                continue
            file = files[job.setup.method, job.prompt, job.seed]
            data = _bytes(file)
            if _digest(data) != job.file:
                raise BenchError(f"{file} changed while it was imported; import the table again when nothing writes to it")
            store.keep([JobResult(job, as_png(data, file), seconds=None)])
            new += 1
        on_progress(len(images), len(images))
        store.pictures.compact()
        if not store.plan_file.exists() or store.plan() != plan:
            store.keep_plan(plan)
    return Imported(plan, len(images), new)


def read_table(table: Path) -> tuple[tuple[Case, ...], tuple[ImageFile, ...]]:
    """Return the cases and image files of a table. Raises `BenchError` as `import_images` does."""
    cases: dict[str, tuple[int, Case]] = {}
    found: dict[tuple[str, str, int | Path], ImageFile] = {}
    counts, has_seeds = Counter[tuple[str, str]](), True
    for line, row in rows_in(text_in(table, "one row per image"), table, COLUMNS[:2], COLUMNS[2:]):
        has_seeds = "seed" in row
        with in_row(table, line):
            case = case_in(row)
            image = _image_file(row, line, table, case.prompt)
            own = (image.method, image.prompt)
            if not has_seeds:
                image = replace(image, seed=counts[own])
                counts[own] += 1
            for value, name in ((image.seed, f"seed {image.seed}"), (image.file, row["file"])):
                other = found.setdefault((*own, value), image)
                if other is not image:
                    raise ValueError(
                        f'{name} of "{image.prompt}" by {image.method} is also in line {other.line}; list each image once'
                    )
        add_case(cases, case, table, line)
    images = tuple(dict.fromkeys(found.values()))
    if not images:
        raise BenchError(f"{table} has no rows; expected one per image")
    _check_complete(table, images, has_seeds)
    if missing := [image for image in images if not os.path.isfile(image.file)]:
        more = f", nor do the files of {len(missing) - 1} more rows" if len(missing) > 1 else ""
        raise BenchError(
            f"{table}, line {missing[0].line}: {missing[0].file} does not exist{more}; paths are relative to the table"
        )
    return tuple(case for _, case in cases.values()), images


def _image_file(row: Mapping[str, str], line: int, table: Path, prompt: str) -> ImageFile:
    name, method, seed = row["file"].strip(), row.get("method", table.stem).strip(), row.get("seed", "0").strip()
    if not name or not method:
        raise ValueError(f"the {'method' if name else 'file'} is empty; expected a name")
    if not re.fullmatch("[0-9]{1,18}", seed):
        raise ValueError(f'seed "{seed}"; expected a whole number from 0')
    return ImageFile(line, table.parent / name, prompt, method, int(seed))


def _check_complete(table: Path, images: Sequence[ImageFile], has_seeds: bool) -> None:
    """Raise `BenchError` unless every method has the same seeds for every prompt; methods are compared image by image."""
    methods, prompts = (list(dict.fromkeys(names)) for names in zip(*((i.method, i.prompt) for i in images), strict=True))
    seeds = sorted({image.seed for image in images})
    given = {(image.prompt, image.method, image.seed) for image in images}
    missing = [(p, m, s) for p in prompts for m in methods for s in seeds if (p, m, s) not in given]
    if not missing:
        return
    prompt, method, seed = missing[0]
    what = f"with seed {seed}" if has_seeds else f"number {seed + 1}"
    more = f", and {len(missing) - 1} more are missing" if len(missing) > 1 else ""
    raise BenchError(
        f'{table} has no image {what} of "{prompt}" by {method}{more}; expected the same '
        f"{'seeds' if has_seeds else f'{len(seeds)} images'} for every prompt and method"
    )


def plan_of(table: Path, cases: Sequence[Case], images: Sequence[ImageFile]) -> Plan:
    """Return the plan of a table's images. Fields about sampling are empty, because nothing is known about it."""
    files: dict[str, dict[str, dict[str, str]]] = {}
    for image in sorted(images, key=lambda image: image.seed):
        files.setdefault(image.method, {}).setdefault(image.prompt, {})[str(image.seed)] = _digest(_bytes(image.file))
    seeds = {image.seed for image in images}
    return Plan(
        suite=Suite(table.stem, f"pictures of {table.name}", tuple(cases), min(seeds)),  # stored, so never reworded
        seeds=len(seeds),
        contenders=tuple(Variant(method, method) for method in dict.fromkeys(image.method for image in images)),
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
    """Return an image as PNG: its own bytes if it is one, else its pixels, turned upright by its EXIF orientation.

    Raises `BenchError` for a file that is not an image.
    """
    try:
        with open_image(io.BytesIO(data)) as image:
            image.load()
            if image.format == "PNG":
                return data
            pixels = ImageOps.exif_transpose(image).convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        reason = f"none of {', '.join(PICTURE_FORMATS)}" if isinstance(error, Image.UnidentifiedImageError) else error
        raise BenchError(f"{file} is not a readable image ({reason}); replace it, or remove its row") from error
    stream = io.BytesIO()
    pixels.save(stream, "PNG")
    return stream.getvalue()


def _bytes(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise BenchError(f"{file} cannot be read ({error.strerror or error}); replace it, or remove its row") from error


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
