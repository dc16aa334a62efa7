"""The files of a report: `report.html`, `report.md`, `report.tex`, `rows.csv`, `pictures.csv` and `failures.csv`.

The CSV files hold shares from 0 to 1, as `--json` does; the others say percent and points.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, fields
from pathlib import Path
from typing import Any

from ...files import atomic_write
from ..analysis.changes import changes
from ..analysis.summary import Report, Row
from ..scoring.results import PictureRow
from ..storage.owned_files import OwnFiles
from .captions import caption
from .html import html
from .latex import latex
from .markdown import markdown

FAILURES = "method change prompt seed before after gain saw_before saw_after image_before image_after".split()


def write(report: Report, folder: Path, *, own: OwnFiles | None = None) -> dict[str, Path]:
    """Write the files of a report, and return {kind: path}. In a folder that is not a run's, `own` says which it may replace.

    Raises `BenchError` when the extra `bench` is not installed, `OutputError` when the folder cannot be written.
    """
    names = [score.name for score in report.scores]
    rows = [[group, *astuple(row)] for group, rows in _by_group(report).items() for row in rows]
    pictures = (
        [r.prompt, r.seed, r.contender, *(r.scores.get(name, "") for name in names), _rounded(r.seconds)]
        for r in report.pictures
    )
    texts = {
        "report.html": html(report),
        "report.md": markdown(report),
        "report.tex": latex(report),
        "rows.csv": csv_text(["group", *(field.name for field in fields(Row))], rows),
        "pictures.csv": csv_text(["prompt", "seed", "method", *names, "seconds"], pictures),
        "failures.csv": csv_text(FAILURES, _failures(report, folder)),
    }
    write_texts(texts, folder, own)
    return {name.replace(".csv", "").replace("report.", ""): folder / name for name in texts}


def _by_group(report: Report) -> dict[str, tuple[Row, ...]]:
    return {"all": report.rows, **report.subsets} | ({"mean over groups": report.overall} if report.overall else {})


def _failures(report: Report, folder: Path) -> Iterator[list[Any]]:
    """Yield a line for each picture that a method lost or won against the baseline."""
    if report.primary is None:
        return
    name = report.primary.name

    def said(picture: PictureRow) -> str:
        right, words = caption(report.cases[picture.case], picture, report.primary, verdict=report.verdict)
        return words or {True: "right", False: "wrong", None: ""}[right]

    for method, of in changes(report).items():
        for kind, found in (("lost", of.lost), ("won", of.won)):
            for change in found:
                both = (change.before, change.after)
                values, seen = [r.scores[name] for r in both], [said(r) for r in both]
                images = [os.path.relpath(r.image, folder) for r in both]
                yield [method, kind, change.after.prompt, change.after.seed, *values, change.gain, *seen, *images]


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 4)


def write_texts(texts: Mapping[str, str], folder: Path, own: OwnFiles | None = None) -> None:
    """Write {file name: text} into `folder`, each whole; raise `OutputError` when it cannot be written."""
    if own is not None:
        own.check(texts)
    for name, text in texts.items():
        if own is None:
            atomic_write(folder / name, text, "make room, or copy the run elsewhere")
        else:
            own.write(name, text)


def csv_text(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Return rows as CSV. A text that a spreadsheet would take for a formula begins with an apostrophe instead.

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
