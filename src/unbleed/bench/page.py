"""The report as one HTML page: tables, plots and contact sheets, nothing fetched from anywhere."""

from __future__ import annotations

import base64
import importlib
import io
import random
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from ..errors import BenchError
from .comparison import Report, Row
from .metrics.oracle import METRICS
from .wording import by_method, cautions, exchanges, facts, faults, notes, percent, points, result, span, verdict

SHEETS = 24  # prompts whose pictures the page shows,
COLUMNS = 4  # and how many seeds of each
THUMBNAIL = 128  # pixels

# A method has a colour and a shape throughout the page; here the shapes as letters, and as matplotlib calls them
SHAPES = "●■▲◆▼★✚⬢"
_MARKERS = "os^Dv*Ph"


def html(report: Report) -> str:
    """Return the report as one HTML document that needs nothing else: pictures, plots and style are inside."""
    jinja2 = extra("jinja2")
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined)
    template = environment.from_string(Path(__file__).with_name("report.html.j2").read_text(encoding="utf-8"))
    words = (percent, points, span, verdict, faults, result, cautions, exchanges, facts, notes, by_method, data_uri)
    return template.render(
        {function.__name__: function for function in words},
        report=report,
        metrics=METRICS,
        styles=_styles(report),
        shapes=SHAPES,
        plots=plots(report),
        sheets=choose_sheets(report),
        seeds=sorted({r.seed for r in report.pictures})[:COLUMNS],
        pictures={(r.contender, r.case, r.seed): r for r in report.pictures},
    )


def extra(name: str) -> Any:
    """Return a module of the extra `bench`; raise `BenchError` when it is not installed."""
    try:
        return importlib.import_module(name)
    except ImportError:
        raise BenchError(f'the report needs {name}, which is not installed: pip install "unbleed[bench]"') from None


def _styles(report: Report) -> dict[str, tuple[int, int]]:
    """Return the numbers of each method's colour and shape, no pair twice in 64; the baseline has the first of both."""
    labels = sorted((c.label for c in report.contenders), key=lambda label: label != report.baseline)
    count = len(SHAPES)
    return {label: (number % count, (number + number // count) % count) for number, label in enumerate(labels)}


def choose_sheets(report: Report) -> dict[str, list[int]]:
    """Return the cases whose pictures are shown: half drawn at random, half those where the methods disagree most."""
    verdicts: dict[int, dict[int, set[float]]] = {}
    for r in report.pictures:
        verdicts.setdefault(r.case, {}).setdefault(r.seed, set()).add(r.scores["all_correct"])
    disputed = {case: sum(len(seen) > 1 for seen in of.values()) for case, of in verdicts.items()}
    shuffled = random.Random(0).sample(sorted(verdicts), len(verdicts))
    rest = [case for case in shuffled[SHEETS // 2 :] if disputed[case]]
    rest.sort(key=lambda case: -disputed[case])
    chosen = {"Drawn at random": shuffled[: SHEETS // 2], "Where the methods disagree most": rest[: SHEETS // 2]}
    return {title: cases for title, cases in chosen.items() if cases}


def data_uri(path: Path) -> str:
    """Return a picture as a small WebP inside an address."""
    stream = io.BytesIO()
    try:
        with Image.open(path) as image:
            small = image.convert("RGB")
    except OSError as error:
        raise BenchError(f"{path} cannot be read ({error}); run the benchmark again to draw it") from error
    small.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS)
    small.save(stream, "WEBP", quality=80)
    return "data:image/webp;base64," + base64.b64encode(stream.getvalue()).decode()


# ------------------------------------------------------------------------------------- plots

# matplotlib is given colours that occur nowhere else; the page says what they are, by day and by night
INK, _RULE = "#fe0100", "#fe0200"
PENS = [f"#fe00{n:02x}" for n in range(len(SHAPES))]
_COLOURS = {INK: "currentColor", _RULE: "var(--rule)"} | {pen: f"var(--method-{n})" for n, pen in enumerate(PENS)}
_ON_PAPER = {INK: "#1d1e22", _RULE: "#dedbd3"} | dict(zip(PENS, ("#6b6e76", "#0b62a8", "#c2500a", "#0c7d60"), strict=False))
_WIDTH = 400  # px; a narrow page shrinks a plot to about 340, and its text of 13 px to 11


def plots(report: Report) -> dict[str, str]:
    """Return the plots of the page as SVG: success over time, differences of each metric, success in each group."""
    success = [row for row in report.rows if row.metric == "all_correct"]
    styles = _styles(report)

    def mark(axes: Any, row: Row, x: Sequence[float], y: Sequence[float]) -> None:
        """Draw an interval from its low end over its mean to its high end."""
        colour, shape = styles[row.method]
        axes.plot(x, y, _MARKERS[shape] + "-", markevery=[1], color=PENS[colour], markersize=7, linewidth=1.8)

    def over_time(axes: Any) -> None:
        for row in success:
            mark(axes, row, [row.seconds_per_picture] * 3, [100 * row.low, 100 * row.mean, 100 * row.high])
        axes.set(xlabel="seconds per picture", ylabel="pictures all-correct, %")
        axes.set_xlim(0, 1.1 * max(row.seconds_per_picture for row in success) or 1)

    def intervals(axes: Any, words: str, categories: Mapping[str, Sequence[tuple[Row, float, float, float]]]) -> None:
        for place, marks in enumerate(categories.values()):
            for number, (row, value, low, high) in enumerate(marks):
                y = place + (number - (len(marks) - 1) / 2) * 0.8 / max(len(marks), 3)
                mark(axes, row, [100 * low, 100 * value, 100 * high], [y] * 3)
        axes.set(xlabel=words, yticks=range(len(categories)), yticklabels=list(categories))
        axes.set_ylim(len(categories) - 0.5, -0.5)  # the first on top
        axes.grid(visible=False, axis="y")

    def differences(axes: Any) -> None:
        axes.axvline(0, color=INK, linewidth=1)
        marks: dict[str, list[Any]] = {m.name: [] for m in METRICS}
        for row in report.rows:
            if row.difference is not None:
                marks[row.metric].append((row, row.difference, row.difference_low, row.difference_high))
        titled = {m.title + " ↓" * (not m.higher_is_better): marks[m.name] for m in METRICS}
        intervals(axes, f"points more than {report.baseline}", titled)

    def groups(axes: Any) -> None:
        named = {f"all ({report.run['prompts']})": report.rows}
        named |= {f"{group} ({report.run['groups'][group]})": rows for group, rows in report.subsets.items()}
        marks = {g: [(r, r.mean, r.low, r.high) for r in rows if r.metric == "all_correct"] for g, rows in named.items()}
        intervals(axes, "pictures all-correct, %", marks)

    row_height = max(26, 11 * len(styles) + 8)
    found = {"time": _svg("Pictures all-correct against seconds per picture", 320, over_time)}
    if len(styles) > 1:
        found["differences"] = _svg(f"Differences to {report.baseline}", 60 + row_height * len(METRICS), differences)
    if report.subsets:
        found["groups"] = _svg("Pictures all-correct per group", 60 + row_height * (1 + len(report.subsets)), groups)
    return found


def _svg(title: str, height: int, draw: Callable[[Any], None]) -> Any:
    """Return what `draw` draws as SVG that takes fonts and colours from the page."""
    markupsafe = extra("markupsafe")
    head = f'<svg viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="{markupsafe.escape(title)}">'
    return markupsafe.Markup(head + _drawn(title, _WIDTH, height, draw, _COLOURS))


def svg_on_paper(title: str, width: int, height: int, draw: Callable[[Any], None]) -> str:
    """Return what `draw` draws, in `INK` and the first four of `PENS`, as an SVG file on white paper; sizes in pixels."""
    head = f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" viewBox="0 0 {width} {height}" '
    head += f'width="{width}" height="{height}" font-family="system-ui, sans-serif" role="img">\n'
    head += f'<title>{extra("markupsafe").escape(title)}</title>\n<rect width="100%" height="100%" fill="#fff"/>\n'
    return head + _drawn(title, width, height, draw, _ON_PAPER)


def _drawn(title: str, width: int, height: int, draw: Callable[[Any], None], colours: Mapping[str, str]) -> str:
    """Return what `draw` draws as SVG without its head."""
    matplotlib, figures = extra("matplotlib"), extra("matplotlib.figure")
    look = {"axes.edgecolor": _RULE, "axes.labelcolor": INK, "xtick.color": _RULE, "ytick.color": _RULE, "grid.color": _RULE}
    look |= {"xtick.labelcolor": INK, "ytick.labelcolor": INK, "text.color": INK}
    look |= {"axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False}
    look |= {"font.size": 13, "axes.labelsize": 13, "axes.grid": True, "axes.axisbelow": True, "grid.linewidth": 0.8}
    with matplotlib.rc_context({**look, "svg.fonttype": "none", "svg.hashsalt": title}):
        figure = figures.Figure(figsize=(width / 72, height / 72), layout="constrained")
        draw(figure.add_subplot())
        stream = io.StringIO()
        figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None})
    body = re.sub(r"(?s)^.*?<svg[^>]*>|<metadata>.*?</metadata>", "", stream.getvalue())
    body = re.sub(r' id="[\w.]+_\d+"|font-family:[^;"]*;?', "", body)  # names that plots would share; our own font
    return re.sub("|".join(colours), lambda found: colours[found[0]], body)
