"""The report as one HTML page with tables, plots and images; nothing is fetched."""

from __future__ import annotations

import base64
import functools
import random
from pathlib import Path
from typing import Any

from ..analysis.changes import changes
from ..analysis.summary import Report
from ..extras import extra
from ..scoring.results import ImageRow
from ..storage.images import thumbnail
from .captions import Caption, caption
from .number_format import by_unit, difference_formatter, formatter, interval, multiple, plural
from .plots import SHAPES, difference_plots, group_plot, styles, time_plot
from .text import (
    adjective,
    agreement,
    axis_label,
    better_or_worse,
    by_method,
    cautions,
    facts,
    fixed_and_broken,
    notes,
    result,
    values_caption,
)

SHEETS = 24  # prompts whose images the page shows
COLUMNS = 4  # seeds shown per prompt
CHANGES = 6  # lost and won images shown per method
MAX_IMAGES = 768  # on contact sheets, and the same number of lost and won ones; with many methods fewer prompts are shown
THUMBNAIL = 128  # pixels


def html(report: Report) -> str:
    """Return the report as a self-contained HTML document: images, plots and style are inside."""
    functions = (by_unit, difference_formatter, formatter, interval, multiple, plural, adjective, axis_label, better_or_worse)
    functions += (agreement, by_method, cautions, facts, fixed_and_broken, notes, result, values_caption)
    plots = {"time": time_plot(report), "groups": group_plot(report), "differences": difference_plots(report)}
    return template("report.html.j2").render(
        {function.__name__: function for function in functions},
        data_uri=functools.cache(data_uri),  # the baseline's images appear beside those of several methods
        report=report,
        caption=functools.partial(_caption, report),
        styles=styles(report),
        shapes=SHAPES,
        plots=plots,
        sheets=choose_sheets(report),
        changes=changes(report),
        changes_shown=_fewer(CHANGES, 4 * (len(report.contenders) - 1), 2),
        seeds=_seeds(report),
        images=report.image_of,
    )


def template(name: str, folder: Path | None = None) -> Any:
    """Return a Jinja template of `folder`, by default this one; `theme` contains the style that all pages share."""
    jinja2, here = extra("jinja2"), Path(__file__)
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined)
    environment.globals["theme"] = extra("markupsafe").Markup(here.with_name("theme.css").read_text(encoding="utf-8"))
    return environment.from_string(((folder or here.parent) / name).read_text(encoding="utf-8"))


def choose_sheets(report: Report) -> dict[str, list[int]]:
    """Return {title: cases to show}: half chosen at random, half where the methods disagree most."""
    half = _fewer(SHEETS, len(report.contenders) * len(_seeds(report)), 4) // 2
    cases = sorted({row.case for row in report.images})
    shuffled = random.Random(0).sample(cases, len(cases))
    disputed = _spread(report)
    rest = [case for case in shuffled[half:] if disputed.get(case)]
    rest.sort(key=lambda case: -disputed[case])
    chosen = {"Chosen at random": shuffled[:half], "Where the methods disagree most": rest[:half]}
    return {title: cases for title, cases in chosen.items() if cases}


def _spread(report: Report) -> dict[int, float]:
    """Return {case: range of the methods' primary scores, summed over its seeds}."""
    values: dict[tuple[int, int], list[float]] = {}
    for row in report.images:
        if report.primary and report.primary.name in row.scores:
            values.setdefault((row.case, row.seed), []).append(row.scores[report.primary.name])
    spread: dict[int, float] = {}
    for (case, _), of_seed in values.items():
        spread[case] = spread.get(case, 0) + max(of_seed) - min(of_seed)
    return spread


def _seeds(report: Report) -> list[int]:
    return sorted({row.seed for row in report.images})[:COLUMNS]


def _fewer(count: int, images: int, least: int) -> int:
    """Return how many items of `images` images each to show, from `least` to `count`, so that the page stays small."""
    return max(least, min(count, MAX_IMAGES // max(images, 1)))


def _caption(report: Report, image: ImageRow) -> Caption:
    return caption(image, report.primary, verdict=report.verdict)


def data_uri(path: Path, sha256: str | None) -> str:
    """Return a thumbnail as a data URI."""
    return "data:image/webp;base64," + base64.b64encode(thumbnail(path, THUMBNAIL, sha256)).decode()
