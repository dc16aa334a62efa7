"""The report as one HTML page: tables, plots and contact sheets, nothing fetched from anywhere."""

from __future__ import annotations

import base64
import functools
import io
import random
from pathlib import Path
from typing import Any

from PIL import Image

from ..analysis.changes import changes
from ..analysis.summary import Report
from ..extras import extra
from ..scoring.results import PictureRow
from ..storage.store import read_image
from .captions import Caption, caption
from .number_format import counted, span, times, unit, words_for, words_for_differences
from .plots import SHAPES, difference_plots, group_plot, styles, time_plot
from .text import adjective, better_or_worse, by_method, cautions, exchanges, facts, in_values, notes, ranking, result

SHEETS = 24  # prompts whose pictures the page shows,
COLUMNS = 4  # and how many seeds of each
CHANGES = 6  # pictures lost and won that the page shows of each method
MOST = 768  # pictures on contact sheets, and as many of those lost and won; with many methods fewer of each are shown
THUMBNAIL = 128  # pixels


def html(report: Report) -> str:
    """Return the report as one HTML document that needs nothing else: pictures, plots and style are inside."""
    words = (counted, span, times, unit, words_for, words_for_differences, better_or_worse, adjective, ranking)
    words += (result, cautions, exchanges, facts, in_values, notes, by_method)
    plots = {"time": time_plot(report), "groups": group_plot(report), "differences": difference_plots(report)}
    return template("report.html.j2").render(
        {function.__name__: function for function in words},
        data_uri=functools.cache(data_uri),  # a baseline's picture stands beside several methods'
        report=report,
        caption=functools.partial(_caption, report),
        styles=styles(report),
        shapes=SHAPES,
        plots=plots,
        sheets=choose_sheets(report),
        changes=changes(report),
        changes_shown=_fewer(CHANGES, 4 * (len(report.contenders) - 1), 2),
        seeds=_seeds(report),
        pictures=report.by_place,
    )


def template(name: str, folder: Path | None = None) -> Any:
    """Return a template of a folder, by default that of this file; it knows the style that all pages share as `theme`."""
    jinja2, here = extra("jinja2"), Path(__file__)
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined)
    environment.globals["theme"] = extra("markupsafe").Markup(here.with_name("theme.css").read_text(encoding="utf-8"))
    return environment.from_string(((folder or here.parent) / name).read_text(encoding="utf-8"))


def choose_sheets(report: Report) -> dict[str, list[int]]:
    """Return the cases whose pictures are shown: half drawn at random, half those where the methods disagree most."""
    half = _fewer(SHEETS, len(report.contenders) * len(_seeds(report)), 4) // 2
    cases = sorted({r.case for r in report.pictures})
    shuffled = random.Random(0).sample(cases, len(cases))
    disputed = _spread(report)
    rest = [case for case in shuffled[half:] if disputed.get(case)]
    rest.sort(key=lambda case: -disputed[case])
    chosen = {"Drawn at random": shuffled[:half], "Where the methods disagree most": rest[:half]}
    return {title: cases for title, cases in chosen.items() if cases}


def _spread(report: Report) -> dict[int, float]:
    """Return {case: how far apart the methods' primary scores are, summed over its seeds}."""
    values: dict[tuple[int, int], list[float]] = {}
    for r in report.pictures:
        if report.primary and report.primary.name in r.scores:
            values.setdefault((r.case, r.seed), []).append(r.scores[report.primary.name])
    spread: dict[int, float] = {}
    for (case, _), of in values.items():
        spread[case] = spread.get(case, 0) + max(of) - min(of)
    return spread


def _seeds(report: Report) -> list[int]:
    return sorted({r.seed for r in report.pictures})[:COLUMNS]


def _fewer(count: int, pictures: int, least: int) -> int:
    """Return how many are shown, each of so many pictures, so that the page stays small: `count` or less."""
    return max(least, min(count, MOST // max(pictures, 1)))


def _caption(report: Report, picture: PictureRow) -> Caption:
    return caption(report.cases[picture.case], picture, report.primary, verdict=report.verdict)


def data_uri(path: Path, sha256: str | None) -> str:
    """Return a picture as a small WebP inside an address."""
    return "data:image/webp;base64," + base64.b64encode(thumbnail(path, THUMBNAIL, sha256)).decode()


def thumbnail(path: Path, size: int, sha256: str | None = None) -> bytes:
    """Return a picture as a WebP of at most `size` pixels; raise `BenchError` when it is gone, damaged or another."""
    small = read_image(path, sha256)
    small.thumbnail((size, size), Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    small.save(stream, "WEBP", quality=80)
    return stream.getvalue()
