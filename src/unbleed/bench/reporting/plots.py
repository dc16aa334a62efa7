"""Plots of a report as SVG, made with matplotlib and coloured by the CSS of their page."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..analysis.summary import Report, ScoreRow, ScoreTable
from ..extras import extra
from ..metrics.base import Score
from .text import axis_label

MAX_LABEL = 32  # characters of a name in a plot

# Each method has a colour and a shape throughout the page: the shapes as characters, and as matplotlib's markers
SHAPES = "●■▲◆▼★✚⬢"
_MARKERS = "os^Dv*Ph"

# Placeholder colours for matplotlib, replaced by the page's CSS variables, which differ in light and dark mode
INK, _RULE = "#fe0100", "#fe0200"
PENS = [f"#fe00{n:02x}" for n in range(len(SHAPES))]
_COLOURS = {INK: "currentColor", _RULE: "var(--rule)"} | {pen: f"var(--method-{n})" for n, pen in enumerate(PENS)}
_ON_PAPER = {INK: "#1d1e22", _RULE: "#dedbd3"} | dict(zip(PENS, ("#6b6e76", "#0b62a8", "#c2500a", "#0c7d60"), strict=False))
_WIDTH = 400  # px; a narrow page shrinks a plot to about 340, and its text of 13 px to 11

Mark = tuple[ScoreRow, float, float, float]  # row, value, ends of the interval (the value itself if there is none)


def styles(report: Report) -> dict[str, tuple[int, int]]:
    """Return {method: (index of its colour, index of its shape)}, unique for up to 64 methods; the baseline has (0, 0)."""
    labels = sorted((c.label for c in report.contenders), key=lambda label: label != report.baseline)
    count = len(SHAPES)
    return {label: (number % count, (number + number // count) % count) for number, label in enumerate(labels)}


def time_plot(report: Report) -> Any:
    """Return a plot of the primary score over seconds per image; None without scores or times."""
    ranked, factor = _ranked(report, report.rows)
    timed = [(row, row.seconds_per_picture) for row in ranked if row.seconds_per_picture is not None]
    if not timed:
        return None

    def draw(axes: Any) -> None:
        for row, seconds in timed:
            _, value, low, high = _of_value(row, factor)
            _mark(report, axes, row, [seconds] * 3, [low, value, high])
        axes.set(xlabel="seconds per image", ylabel=axis_label(report))
        axes.set_xlim(0, 1.1 * max(seconds for _, seconds in timed) or 1)

    words = axis_label(report).removesuffix(", %")
    return _svg(f"{words[0].upper()}{words[1:]} against seconds per image", 320, draw)


def group_plot(report: Report) -> Any:
    """Return a plot of the primary score over all prompts and in each group; None without groups."""
    if not report.subsets or report.primary is None:
        return None
    named = {f"all ({report.run.prompts})": report.rows}
    named |= {f"{group} ({report.run.groups[group]})": rows for group, rows in report.subsets.items()}
    marks: dict[str, list[Mark]] = {}
    for group, rows in named.items():
        ranked, factor = _ranked(report, rows)
        marks[group] = [_of_value(row, factor) for row in ranked]
    words = axis_label(report).removesuffix(", %")
    title = f"{words[0].upper()}{words[1:]} per group"
    return _svg(title, _height(report, len(marks)), lambda axes: _intervals(report, axes, axis_label(report), marks))


def difference_plots(report: Report) -> list[Any]:
    """Return plots of the differences to the baseline: all fractions in one plot, other scores in one per table."""
    if len(report.contenders) < 2:
        return []
    fractions = [score for score in report.scores if score.fraction]
    others = [[score for score in table.scores if not score.fraction] for table in _by_metric(report.tables)]
    plots = [_difference_plot(report, scores, number) for number, scores in enumerate([fractions, *others])]
    return [plot for plot in plots if plot is not None]


def _difference_plot(report: Report, scores: Sequence[Score], number: int) -> Any:
    factor = 100 if any(score.fraction for score in scores) else 1
    marks: dict[str, list[Mark]] = {}
    for score in scores:
        of = [
            _of_ends(row, factor, row.difference, row.difference_low, row.difference_high)
            for row in report.rows
            if row.metric == score.name and row.difference is not None
        ]
        if of:
            marks[score.title + " ↓" * (not score.higher_is_better)] = of
    if not marks:
        return None

    def draw(axes: Any) -> None:
        axes.axvline(0, color=INK, linewidth=1)
        _intervals(report, axes, f"{'points ' * (factor == 100)}more than {label(report.baseline)}", marks)

    title = f"Differences to {report.baseline}" + f", {scores[0].title}" * (number > 0)
    return _svg(title, _height(report, len(marks)), draw)


def _of_value(row: ScoreRow, factor: int) -> Mark:
    return _of_ends(row, factor, row.mean, row.low, row.high)


def _of_ends(row: ScoreRow, factor: int, value: float, low: float | None, high: float | None) -> Mark:
    return row, factor * value, factor * (value if low is None else low), factor * (value if high is None else high)


def _by_metric(tables: Sequence[ScoreTable]) -> list[ScoreTable]:
    """Return tables whose scores share a scale: those of one metric, or single scores."""
    single = [ScoreTable("", (score,)) for table in tables if not table.metric for score in table.scores]
    return [*(table for table in tables if table.metric), *single]


def _ranked(report: Report, rows: Sequence[ScoreRow]) -> tuple[list[ScoreRow], int]:
    """Return the rows of the primary score, and 100 if it is a fraction, else 1."""
    score = report.primary
    return [row for row in rows if score is not None and row.metric == score.name], 100 if score and score.fraction else 1


def label(name: str) -> str:
    """Return a name for a plot: in one line, without control characters, shortened.

    >>> label("a\\nb"), label("x" * 40)
    ('a b', 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…')
    """
    shown = "".join(letter for letter in " ".join(name.split()) if letter.isprintable())
    return shown if len(shown) <= MAX_LABEL else shown[: MAX_LABEL - 1] + "…"


def _height(report: Report, categories: int) -> int:
    return 60 + max(26, 11 * len(report.contenders) + 8) * categories


def _mark(report: Report, axes: Any, row: ScoreRow, x: Sequence[float], y: Sequence[float]) -> None:
    """Draw an interval with a marker at its mean; `x` and `y` are (low, mean, high)."""
    colour, shape = styles(report)[row.method]
    axes.plot(x, y, _MARKERS[shape] + "-", markevery=[1], color=PENS[colour], markersize=7, linewidth=1.8)


def _intervals(report: Report, axes: Any, words: str, categories: Mapping[str, Sequence[Mark]]) -> None:
    for line, marks in enumerate(categories.values()):
        for number, (row, value, low, high) in enumerate(marks):
            y = line + (number - (len(marks) - 1) / 2) * 0.8 / max(len(marks), 3)
            _mark(report, axes, row, [low, value, high], [y] * 3)
    axes.set(xlabel=words, yticks=range(len(categories)), yticklabels=[label(name) for name in categories])
    axes.set_ylim(len(categories) - 0.5, -0.5)  # the first on top
    axes.grid(visible=False, axis="y")


def _svg(title: str, height: int, draw: Callable[[Any], None]) -> Any:
    """Return a plot as inline SVG that takes fonts and colours from its page."""
    markupsafe = extra("markupsafe")
    head = f'<svg viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="{markupsafe.escape(title)}">'
    return markupsafe.Markup(head + _body(title, _WIDTH, height, draw, _COLOURS))


def svg_on_paper(title: str, width: int, height: int, draw: Callable[[Any], None]) -> str:
    """Return a plot that uses `INK` and the first four of `PENS` as an SVG file on white; sizes in pixels."""
    head = f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" viewBox="0 0 {width} {height}" '
    head += f'width="{width}" height="{height}" font-family="system-ui, sans-serif" role="img">\n'
    head += f'<title>{extra("markupsafe").escape(title)}</title>\n<rect width="100%" height="100%" fill="#fff"/>\n'
    return head + _body(title, width, height, draw, _ON_PAPER)


def _body(title: str, width: int, height: int, draw: Callable[[Any], None], colours: Mapping[str, str]) -> str:
    """Return the SVG of a plot without its opening tag."""
    matplotlib, figures = extra("matplotlib"), extra("matplotlib.figure")
    style = {"axes.edgecolor": _RULE, "axes.labelcolor": INK, "xtick.color": _RULE, "ytick.color": _RULE, "grid.color": _RULE}
    style |= {"xtick.labelcolor": INK, "ytick.labelcolor": INK, "text.color": INK}
    style |= {"axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False}
    style |= {"text.parse_math": False, "text.usetex": False}  # show names literally
    style |= {"font.size": 13, "axes.labelsize": 13, "axes.grid": True, "axes.axisbelow": True, "grid.linewidth": 0.8}
    with matplotlib.rc_context({**style, "svg.fonttype": "none", "svg.hashsalt": title}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")  # text is rendered with the reader's fonts
        figure = figures.Figure(figsize=(width / 72, height / 72), layout="constrained")
        draw(figure.add_subplot())
        stream = io.StringIO()
        figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None})
    body = re.sub(r"(?s)^.*?<svg[^>]*>|<metadata>.*?</metadata>", "", stream.getvalue())

    def restyle(tag: re.Match[str]) -> str:  # only inside tags, because the text between them contains user's names
        text = re.sub(r' id="[\w.]+_\d+"|font-family:[^;"]*;?', "", tag[0])  # ids would clash between plots of a page
        return re.sub("|".join(colours), lambda found: colours[found[0]], text)

    return re.sub(r"<[^>]*>", restyle, body)
