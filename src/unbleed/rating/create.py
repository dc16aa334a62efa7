"""Beginning a study: the pairs of a run's images, copied without anything that tells which method made them."""

from __future__ import annotations

import io
import random
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from itertools import combinations
from pathlib import Path

from PIL import Image

from ..bench.scoring.results import ImageRow
from ..bench.scoring.run_folder import open_folder
from ..bench.storage.images import read_image
from ..bench.storage.store import Store
from ..errors import RatingError
from ..files import atomic_write, check_writable
from .study import MAX_TRIALS, REMEDY, Catch, Pair, Study, image_name, image_path, is_study, question_of, write_study

TILES = 6
"""A catch is cut into so many tiles by so many: too few pixels in each to show anything."""


def create(
    run: Path,
    folder: Path,
    methods: Sequence[str],
    *,
    question: str = "prompt",
    pairs: int | None = None,
    repeats: int | None = None,
    catches: int | None = None,
    break_every: int = 40,
    raters: int = 100,
    seed: int = 0,
    partial: bool = False,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> Study:
    """Begin a study of a run's images in `folder`, and return it.

    Args:
        methods: labels of the run's methods, at least two; every two of them are compared.
        question: a name in `QUESTIONS`, or the question itself.
        pairs: how many a rater sees; all by default, or as many as one may see.
        repeats: pairs that a rater sees twice; a tenth by default.
        catches: pairs with a known answer; a tenth by default.
        raters: how many people can join.
        partial: take the prompts that are finished, though others are not.
        report: called with the number of pairs that are copied, and of all.

    Raises:
        RatingError: the methods, numbers or question cannot be used, or there is a study already.
        BenchError: the run cannot be read, or is not finished.
        OutputError: the folder cannot be written.
    """
    if is_study(folder):
        raise RatingError(f"{folder} holds a study already; leave out --methods to go on with it, or {REMEDY}")
    asked = question_of(question)
    check_writable(folder)
    plan = Store(run).plan()
    labels = _methods(methods, [contender.label for contender in plan.contenders])
    best = any(one.draws > 1 for one in plan.contenders if one.label in labels)  # a metric must have chosen among draws
    rows = open_folder(run, None if best else (), allow_partial=partial, methods=labels).results.images
    if not rows:
        raise RatingError(f"{run} has no prompt with all pictures of {', '.join(labels)}; finish the run first")
    of = {(row.method, row.case, row.seed): row for row in rows}
    found = [
        (both, (of[labels[both[0]], case, seed], of[labels[both[1]], case, seed]))
        for case, seed in dict.fromkeys((row.case, row.seed) for row in rows)
        for both in combinations(range(len(labels)), 2)
    ]
    all_pairs: list[Pair] = []
    names: dict[Path, str] = {}
    for number, (both, images) in enumerate(found, start=1):
        first, second = (_copied(folder, row, names) for row in images)
        all_pairs.append(Pair(images[0].case, images[0].prompt, images[0].seed, both, (first, second)))
        report(number, len(found))
    different = [pair for pair in all_pairs if pair.images[0] != pair.images[1]]
    if not different:
        raise RatingError(f"{run} has no two pictures that differ between {', '.join(labels)}; there is nothing to rate")
    share = min(len(different), MAX_TRIALS * 5 // 6) if pairs is None else pairs
    _between("pairs per rater", share, 1, len(different))
    tenth = max(1, round(share / 10))
    repeats, catches = (tenth if count is None else count for count in (repeats, catches))
    for name, count in (("repeats", repeats), ("catches", catches)):
        _between(name, count, 0, share)
    _between("trials per rater", share + repeats + catches, 1, MAX_TRIALS)
    study = Study(
        title=plan.title,
        question=asked,
        methods=tuple(labels),
        pairs=tuple(different),
        catches=_catches(folder, different, catches, random.Random(f"{seed} catches")),
        pairs_per_rater=share,
        repeats=repeats,
        break_every=break_every,
        max_raters=raters,
        seed=seed,
        identical=len(all_pairs) - len(different),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    write_study(folder, study)
    return study


def _methods(asked: Sequence[str], there: Sequence[str]) -> list[str]:
    labels = [label.strip() for label in asked]
    for label in labels:
        if label not in there:
            raise RatingError(f'"{label}" is not a method of this run; expected two or more of {", ".join(there)}')
    if len(set(labels)) != len(labels) or len(labels) < 2:
        raise RatingError(f"--methods names {', '.join(labels)}; expected two or more of {', '.join(there)}, each once")
    return labels


def _between(name: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise RatingError(f"{value} {name}; expected {low} to {high}")


def _copied(folder: Path, row: ImageRow, names: dict[Path, str]) -> str:
    """Keep an image's pixels alone in the study's folder, and return its name."""
    if row.image not in names:
        names[row.image] = _keep(folder, read_image(row.image, row.sha256))
    return names[row.image]


def _keep(folder: Path, image: Image.Image) -> str:
    stream = io.BytesIO()
    Image.frombytes("RGB", image.size, image.tobytes()).save(stream, "PNG")  # all by one encoder: pixels alone can tell
    png = stream.getvalue()
    name = image_name(png)
    if not image_path(folder, name).exists():
        atomic_write(image_path(folder, name), png, REMEDY)
    return name


def _catches(folder: Path, pairs: Sequence[Pair], count: int, rng: random.Random) -> tuple[Catch, ...]:
    made: list[Catch] = []
    for pair in rng.sample(pairs, len(pairs)):
        if len(made) == count:
            break
        whole = rng.choice(pair.images)
        mixed = _keep(folder, shuffled(read_image(image_path(folder, whole)), rng))
        if mixed != whole:  # it is where an image has one colour
            made.append(Catch(pair.prompt, (whole, mixed)))
    if len(made) < count:
        raise RatingError(f"{len(made)} pictures change when their tiles are shuffled; expected {count}; take fewer --catches")
    return tuple(made)


def shuffled(image: Image.Image, rng: random.Random) -> Image.Image:
    """Return an image whose tiles are in random order; a rest at its right and lower edge stays.

    >>> grey = Image.linear_gradient("L").convert("RGB")
    >>> mixed = shuffled(grey, random.Random(0))
    >>> mixed.size == grey.size, mixed.tobytes() == grey.tobytes()
    (True, False)
    """
    wide, high = max(1, image.width // TILES), max(1, image.height // TILES)
    corners = [(x * wide, y * high) for y in range(image.height // high) for x in range(image.width // wide)]
    made = image.copy()
    for (x, y), (to_x, to_y) in zip(corners, rng.sample(corners, len(corners)), strict=True):
        made.paste(image.crop((x, y, x + wide, y + high)), (to_x, to_y))
    return made
