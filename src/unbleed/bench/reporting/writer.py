"""The files of a report: `report.html`, `report.md`, `report.tex`, `rows.csv`, `pictures.csv` and `failures.csv`.

The CSV files contain fractions from 0 to 1, like `--json`; the others show percent and points.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import astuple, fields
from pathlib import Path
from typing import Any

from ..analysis.changes import changes
from ..analysis.summary import Report, ScoreRow
from ..scoring.results import ImageRow
from ..storage.owned_files import OwnFiles, write_texts
from .captions import caption
from .html import html
from .latex import latex
from .markdown import markdown

FAILURES = "method change prompt seed before after gain saw_before saw_after image_before image_after".split()


def write(report: Report, folder: Path, *, own: OwnFiles | None = None) -> dict[str, Path]:
    """Write the files of a report and return {kind: path}. Outside a run's folder, `own` lists the files that may be replaced.

    Raises `BenchError` if the extra `bench` is not installed, `OutputError` if the folder cannot be written to.
    """
    names = [score.name for score in report.scores]
    rows = [[group, *astuple(row)] for group, rows in _by_group(report).items() for row in rows]
    images = (
        [row.prompt, row.seed, row.method, *(row.scores.get(name, "") for name in names), _rounded(row.seconds)]
        for row in report.images
    )
    texts = {
        "report.html": html(report),
        "report.md": markdown(report),
        "report.tex": latex(report),
        "rows.csv": csv_text(["group", *(field.name for field in fields(ScoreRow))], rows),
        "pictures.csv": csv_text(["prompt", "seed", "method", *names, "seconds"], images),
        "failures.csv": csv_text(FAILURES, _failures(report, folder)),
    }
    write_texts(texts, folder, own)
    return {name.replace(".csv", "").replace("report.", ""): folder / name for name in texts}


def _by_group(report: Report) -> dict[str, tuple[ScoreRow, ...]]:
    return {"all": report.rows, **report.subsets} | ({"mean over groups": report.overall} if report.overall else {})


def _failures(report: Report, folder: Path) -> Iterator[list[Any]]:
    """Yield a row for each image that a method lost or won against the baseline."""
    if report.primary is None:
        return
    name = report.primary.name

    def described(image: ImageRow) -> str:
        right, words = caption(image, report.primary, verdict=report.verdict)
        return words or {True: "right", False: "wrong", None: ""}[right]

    for method, of in changes(report).items():
        for kind, found in (("lost", of.lost), ("won", of.won)):
            for change in found:
                both = (change.before, change.after)
                values, words = [row.scores[name] for row in both], [described(row) for row in both]
                paths = [os.path.relpath(row.image, folder) for row in both]
                yield [method, kind, change.after.prompt, change.after.seed, *values, change.gain, *words, *paths]


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 4)


def csv_text(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Return rows as CSV. Text that a spreadsheet would evaluate as a formula is prefixed with an apostrophe.

    >>> print(csv_text(["prompt", "gain"], [["=1+1", -0.5], ["a cat, a dog", 0.5]]), end="")
    prompt,gain
    '=1+1,-0.5
    "a cat, a dog",0.5
    """
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([head, *([_no_formula(cell) for cell in row] for row in rows)])
    return text.getvalue()


def _no_formula(cell: Any) -> Any:
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(("=", "+", "-", "@", "\t", "\r")) else cell
