"""The files of a report: `report.html`, `report.md`, `rows.csv` and `pictures.csv`.

The CSV files hold shares from 0 to 1, as `--json` does; the page and the Markdown report say percent and points.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, fields
from pathlib import Path
from typing import Any

from ..errors import OutputError
from .comparison import Report, Row
from .metrics.oracle import METRICS
from .page import html
from .wording import markdown


def write(report: Report, folder: Path) -> dict[str, Path]:
    """Write the four files of a report, and return {kind: path}.

    Raises `BenchError` when the extra `bench` is not installed, `OutputError` when the folder cannot be written.
    """
    pictures = [
        [r.prompt, r.seed, r.contender, *(r.scores[m.name] for m in METRICS), round(r.seconds, 4)] for r in report.pictures
    ]
    rows = [[group, *astuple(row)] for group, rows in {"all": report.rows, **report.subsets}.items() for row in rows]
    texts = {
        "report.html": html(report),
        "report.md": markdown(report),
        "rows.csv": csv_text(["group", *(field.name for field in fields(Row))], rows),
        "pictures.csv": csv_text(["prompt", "seed", "method", *(m.name for m in METRICS), "seconds"], pictures),
    }
    write_texts(texts, folder)
    return {name.replace(".csv", "").replace("report.", ""): folder / name for name in texts}


def write_texts(texts: Mapping[str, str], folder: Path) -> None:
    """Write {file name: text} into `folder`; raise `OutputError` when it cannot be written."""
    try:
        for name, text in texts.items():
            (folder / name).write_text(text, encoding="utf-8", newline="")
    except OSError as error:
        raise OutputError(f"{folder} cannot be written: {error.strerror}; make room, or copy the run elsewhere") from error


def csv_text(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([head, *rows])
    return text.getvalue()
