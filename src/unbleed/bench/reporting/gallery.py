"""All pictures of a run as a page that needs no network: filters, small pictures, and a closer look at each.

    index.html, pictures.js               the page, and what it knows of the pictures
    thumbs/<first 2 of key>/<key>.webp    made once

The list lies in a script, since a page that was opened as a file may load one but not fetch anything.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import BenchError
from ...files import atomic_write, writing
from ..metrics.base import Score
from ..scoring.results import PictureRow
from ..scoring.run_folder import Folder
from ..scoring.verdicts import is_verdict
from ..storage.owned_files import OwnFiles
from .captions import caption
from .html import template, thumbnail
from .number_format import words_for

SIZE = 256  # pixels
PAGE = 60  # pictures


def gallery(run: Folder, out: Path, *, report: Callable[[int, int], None] = lambda done, total: None) -> list[Path]:
    """Write the gallery of a run to `out`, and return its files but for the thumbnails, which are made where they lack.

    Raises `BenchError` when an extra is not installed or a picture is gone, `OutputError` when `out` cannot be written, or has
    a file of such a name that no gallery wrote.
    """
    pictures = run.results.pictures
    if not pictures:
        raise BenchError(f"{run.path} has no complete prompt to show; finish the run first")
    page = template("gallery.html.j2").render(run=run, total=len(pictures))
    listed = "window.GALLERY = " + json.dumps(contents(run), ensure_ascii=False, separators=(",", ":")) + ";\n"
    images, own = {r.image: r for r in pictures}, OwnFiles(out)
    own.check(["index.html", "pictures.js"])
    for done, (image, row) in enumerate(images.items()):
        report(done, len(images))
        target = out / "thumbs" / image.stem[:2] / f"{image.stem}.webp"
        with writing(target):
            there = target.is_file() and target.stat().st_size > 0
        if not there:
            atomic_write(target, thumbnail(image, SIZE, row.sha256))
    report(len(images), len(images))
    own.write("pictures.js", listed)
    return [own.write("index.html", page), out / "pictures.js"]


def contents(run: Folder) -> dict[str, Any]:
    """Return what the page knows: names once, and of each picture the numbers of its names and what is said of it.

    A picture is [method, prompt, seed, key, verdict, change, words, scores]: the verdict is the number of one of `verdicts`,
    the change 1 or -1 where the primary score is better or worse than that of the baseline's picture.
    """
    plan, rows, scores = run.plan, run.results.pictures, run.results.scores
    primary = next((s for s in scores if any(s.name in r.scores for r in rows)), None)
    sure = primary is not None and is_verdict(primary, rows)
    labels = [c.label for c in plan.contenders]
    baseline = "none" if "none" in labels else labels[0]
    before = {(r.case, r.seed): r for r in rows if r.contender == baseline}
    values = [r.scores[primary.name] for r in rows if primary and primary.name in r.scores]
    thirds = np.quantile(values, (1 / 3, 2 / 3)).tolist() if values else []
    places = {case: place for place, case in enumerate(sorted({r.case for r in rows}))}
    groups = sorted({group for case in places for group in plan.suite.cases[case].groups})

    def entry(r: PictureRow) -> list[Any]:
        right, words = caption(plan.suite.cases[r.case], r, primary, verdict=sure)
        kind, change = None, 0
        if primary and primary.name in r.scores:
            kind = int(not right) if sure else 2 - sum(r.scores[primary.name] > third for third in thirds)
            change = _change(primary, before[r.case, r.seed], r)
        told = [words_for(s)(r.scores[s.name]) if s.name in r.scores else None for s in scores]
        return [labels.index(r.contender), places[r.case], r.seed, r.image.stem, kind, change, words, told]

    cases = [plan.suite.cases[case] for case in places]
    return {
        "page": PAGE,
        "baseline": baseline,
        "methods": labels,
        "settings": [json.dumps(dict(c.settings)) for c in plan.contenders],
        "groups": groups,
        "prompts": [[case.prompt, [groups.index(group) for group in case.groups]] for case in cases],
        "verdicts": ["right", "wrong"] if sure else ["high", "middle", "low"] if values else [],
        "sure": sure,
        "primary": primary.title if primary else "",
        "scores": [s.title + ", %" * s.share for s in scores],
        "pictures": [entry(r) for r in rows],
    }


def _change(score: Score, before: PictureRow, after: PictureRow) -> int:
    """Return 1 where a picture is better than the baseline's, -1 where it is worse, and 0."""
    if score.name not in before.scores:
        return 0
    gain = after.scores[score.name] - before.scores[score.name]
    return ((gain > 0) - (gain < 0)) * (1 if score.higher_is_better else -1)
