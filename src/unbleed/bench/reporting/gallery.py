"""Gallery: a page with all images of a run, with filters and a detail view; it works without a network.

    index.html, pictures.js               the page and its data
    thumbs/<first 2 of key>/<key>.webp    thumbnails, made once

The data is a script, because a page opened from a file may load scripts but cannot fetch.
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
from ..scoring.results import ImageRow
from ..scoring.run_folder import RunFolder
from ..scoring.verdicts import is_verdict
from ..storage.images import thumbnail
from ..storage.owned_files import OwnFiles
from .captions import caption
from .html import template
from .number_format import formatter

SIZE = 256  # pixels
PAGE = 60  # images


def gallery(run: RunFolder, out: Path, *, on_progress: Callable[[int, int], None] = lambda done, total: None) -> list[Path]:
    """Write the gallery of a run to `out` and return its page and data. Existing thumbnails are kept.

    Raises `BenchError` if an extra is not installed or an image is missing, `OutputError` if `out` cannot be written to or has
    a file of the same name that no gallery wrote.
    """
    rows = run.results.images
    if not rows:
        raise BenchError(f"{run.path} has no complete prompt to show; finish the run first")
    page = template("gallery.html.j2").render(run=run, total=len(rows))
    data = "window.GALLERY = " + json.dumps(contents(run), ensure_ascii=False, separators=(",", ":")) + ";\n"
    images, own = {row.image: row for row in rows}, OwnFiles(out)
    own.check(["index.html", "pictures.js"])
    for done, (image, row) in enumerate(images.items()):
        on_progress(done, len(images))
        target = out / "thumbs" / image.stem[:2] / f"{image.stem}.webp"
        with writing(target):
            exists = target.is_file() and target.stat().st_size > 0
        if not exists:
            atomic_write(target, thumbnail(image, SIZE, row.sha256))
    on_progress(len(images), len(images))
    own.write("pictures.js", data)
    return [own.write("index.html", page), out / "pictures.js"]


def contents(run: RunFolder) -> dict[str, Any]:
    """Return the page's data: lists of names, and for each image indices into them with its caption and scores.

    An image is [method, prompt, seed, key, verdict, change, words, scores]. The verdict is an index into `verdicts`; the
    change is 1 or -1 if the primary score is better or worse than that of the baseline's image.
    """
    plan, rows, scores = run.plan, run.results.images, run.results.scores
    primary = next((s for s in scores if any(s.name in row.scores for row in rows)), None)
    sure = primary is not None and is_verdict(primary, rows)
    labels = [c.label for c in plan.contenders]
    baseline = "none" if "none" in labels else labels[0]
    before = {(row.case, row.seed): row for row in rows if row.method == baseline}
    values = [row.scores[primary.name] for row in rows if primary and primary.name in row.scores]
    thirds = np.quantile(values, (1 / 3, 2 / 3)).tolist() if values else []
    index = {case: number for number, case in enumerate(sorted({row.case for row in rows}))}
    groups = sorted({group for case in index for group in plan.suite.cases[case].groups})

    def entry(row: ImageRow) -> list[Any]:
        right, words = caption(row, primary, verdict=sure)
        kind, change = None, 0
        if primary and primary.name in row.scores:
            kind = int(not right) if sure else 2 - sum(row.scores[primary.name] > third for third in thirds)
            change = _change(primary, before[row.case, row.seed], row)
        values = [formatter(s)(row.scores[s.name]) if s.name in row.scores else None for s in scores]
        return [labels.index(row.method), index[row.case], row.seed, row.image.stem, kind, change, words, values]

    cases = [plan.suite.cases[case] for case in index]
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
        "scores": [s.title + ", %" * s.fraction for s in scores],
        "pictures": [entry(row) for row in rows],
    }


def _change(score: Score, before: ImageRow, after: ImageRow) -> int:
    """Return 1 if an image is better than the baseline's, -1 if it is worse, else 0."""
    if score.name not in before.scores:
        return 0
    gain = after.scores[score.name] - before.scores[score.name]
    return ((gain > 0) - (gain < 0)) * (1 if score.higher_is_better else -1)
