"""The report of a run: its figures as data, and as `report.html`, `report.md`, `rows.csv` and `pictures.csv`.

The data and the CSV files hold shares from 0 to 1; the page and the Markdown report say percent and points.
"""

from __future__ import annotations

import base64
import csv
import importlib
import io
import json
import random
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..emoji.findings import Finding
from ..errors import BenchError, OutputError
from .contenders import Contender
from .plan import Plan
from .scores import METRICS
from .statistics import DRAWS, arrange, bootstrap
from .store import PictureRow
from .suites import Case

SIGNIFICANT = 0.05
FEW_PROMPTS = 20  # with fewer the page warns of its intervals
SHEETS = 24  # prompts whose pictures the page shows,
COLUMNS = 4  # and how many seeds of each
THUMBNAIL = 128  # pixels

# A method has a colour and a shape throughout the page; here the shapes as letters, and as matplotlib calls them
SHAPES = "●■▲◆▼★✚⬢"
_MARKERS = "os^Dv*Ph"


@dataclass(frozen=True)
class Row:
    """One metric of one method, from 0 to 1. The baseline has no difference and no p."""

    method: str
    metric: str
    mean: float
    low: float
    high: float
    difference: float | None
    difference_low: float | None
    difference_high: float | None
    p: float | None
    p_holm: float | None
    pictures: int
    seconds_per_picture: float

    @property
    def significant(self) -> bool:
        return self.p_holm is not None and self.p_holm < SIGNIFICANT


@dataclass(frozen=True)
class Report:
    """The figures over all prompts and over each group of prompts, the facts of the run, and the pictures behind them."""

    rows: tuple[Row, ...]
    subsets: Mapping[str, tuple[Row, ...]]
    run: Mapping[str, Any]
    contenders: tuple[Contender, ...]
    cases: tuple[Case, ...]
    pictures: tuple[PictureRow, ...]

    @property
    def baseline(self) -> str:
        return self.run["baseline"]

    def to_json(self) -> dict[str, Any]:
        return {
            "rows": [asdict(row) for row in self.rows],
            "subsets": {group: [asdict(row) for row in rows] for group, rows in self.subsets.items()},
            "run": dict(self.run),
        }


def build(plan: Plan, rows: Iterable[PictureRow], *, draws: int = DRAWS, date: str = "") -> Report:
    """Return the report of a run's pictures, which may be those of some of its prompts only.

    The baseline is the contender "none", or the first where there is none of that name.
    """
    pictures, cases = tuple(rows), plan.suite.cases
    labels = [c.label for c in plan.contenders]
    baseline = labels.index("none") if "none" in labels else 0
    values = arrange(((r.contender, r.case, r.seed, [r.scores[m.name] for m in METRICS]) for r in pictures), labels)
    prompts = sorted({r.case for r in pictures})
    groups = sorted({group for p in prompts for group in cases[p].groups})
    masks = {group: np.array([group in cases[p].groups for p in prompts]) for group in groups}
    seconds = arrange(((r.contender, r.case, r.seed, [r.seconds]) for r in pictures), labels)[:, 0]

    def rows_of(mask: NDArray[np.bool_]) -> tuple[Row, ...]:
        found = bootstrap(values, baseline=baseline, draws=draws, prompts=mask)
        return tuple(
            Row(*[label, metric.name, *(_number(a[c, m]) for a in vars(found).values()), times.size, float(times.mean())])
            for c, (label, times) in enumerate(zip(labels, seconds[:, mask], strict=True))
            for m, metric in enumerate(METRICS)
        )

    facts = {
        "suite": {"name": plan.suite.name, "about": plan.suite.about, "first_seed": plan.suite.first_seed},
        "date": date,
        "baseline": labels[baseline],
        "prompts": len(prompts),
        "prompts_left_out": len(cases) - len(prompts),
        "groups": {group: int(mask.sum()) for group, mask in masks.items()},
        "pictures": len(pictures),
        "draws": draws,
    }
    return Report(
        rows=rows_of(np.ones(len(prompts), dtype=bool)),
        subsets={group: rows_of(mask) for group, mask in masks.items()},
        run=plan.to_json() | facts,
        contenders=plan.contenders,
        cases=cases,
        pictures=pictures,
    )


def _number(value: np.float64) -> Any:
    return None if np.isnan(value) else float(value)


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
        "rows.csv": _csv(["group", *(field.name for field in fields(Row))], rows),
        "pictures.csv": _csv(["prompt", "seed", "method", *(m.name for m in METRICS), "seconds"], pictures),
    }
    paths = {name.replace(".csv", "").replace("report.", ""): folder / name for name in texts}
    try:
        for path, text in zip(paths.values(), texts.values(), strict=True):
            path.write_text(text, encoding="utf-8", newline="")
    except OSError as error:
        raise OutputError(f"{folder} cannot be written: {error.strerror}; make room, or copy the run elsewhere") from error
    return paths


def _csv(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([head, *rows])
    return text.getvalue()


# ------------------------------------------------------------------------------------- words


def percent(share: float) -> str:
    return f"{100 * share:.1f}".replace("-", "−")


def points(share: float) -> str:
    """Return a difference with its sign; one that rounds to zero has none."""
    return re.sub(r"^[+-]0\.0$", "0.0", f"{100 * share:+.1f}").replace("-", "−")


def span(low: float, high: float, words: Callable[[float], str] = percent) -> str:
    return f"{words(low)} to {words(high)}"


def verdict(row: Row) -> str:
    """Return "better" or "worse" where a difference is significant, "" elsewhere."""
    if not row.significant or row.difference is None:
        return ""
    higher = {m.name: m.higher_is_better for m in METRICS}[row.metric]
    return "better" if (row.difference > 0) == higher else "worse"


def faults(case: Case, finding: Finding) -> list[str]:
    """Return what is wrong with a picture, in short words; nothing exactly when it counts as all correct."""
    wrong: list[str] = []
    for entity in case.entities:
        colours = [thing.colour for thing in finding.things if thing.noun == entity.noun]
        if not colours:
            wrong.append(f"no {entity.noun}")
        elif entity.colour not in colours:
            wrong.append(f"{entity.noun} is {colours[0]}" if colours[0] else f"{entity.noun} not {entity.colour}")
    extra = Counter(t.noun for t in finding.things) - Counter(e.noun for e in case.entities)
    wrong += [f"extra {noun}" if count == 1 else f"{count} extra {noun}" for noun, count in extra.items()]
    return wrong + ["blend"] * bool(finding.blends)


def result(report: Report) -> str:
    """Return the run's result in one sentence: of the method that draws most pictures all-correct.

    A best-of-N is passed over where there is another: its pictures are chosen by the judge that counts them.
    """
    success = [row for row in report.rows if row.metric == "all_correct"]
    base = next(row for row in success if row.method == report.baseline)
    others = [row for row in success if row is not base]
    guided = [row for row in others if row.method not in {c.label for c in report.contenders if c.draws > 1}]
    candidates = guided or others
    if not candidates:
        interval = span(base.low, base.high)
        return f"{base.method} draws {percent(base.mean)} % of the pictures all-correct (95 % interval {interval})."
    best = max(candidates, key=lambda row: row.mean)
    name = f"{best.method}, the best of {len(candidates)} methods," if len(candidates) > 1 else best.method
    time = f"at {best.seconds_per_picture / base.seconds_per_picture:.1f} times the time"
    difference, low, high = best.difference or 0.0, best.difference_low or 0.0, best.difference_high or 0.0
    if low <= 0 <= high or not best.significant:
        counted = "" if low <= 0 <= high else ", with the number of methods counted in"
        return (
            f"No difference can be shown between {base.method} and {name.rstrip(',')}{counted}: {points(difference)} points of "
            f"pictures all-correct (95 % interval {span(low, high, points)}), {time}."
        )
    low, high = sorted((abs(low), abs(high)))
    return (
        f"{name} draws {percent(abs(difference))} points {'more' if difference > 0 else 'fewer'} pictures all-correct than "
        f"{base.method} (95 % interval {span(low, high)}), {time}."
    )


def facts(report: Report) -> dict[str, str]:
    """Return the facts of the run, {name: words}."""
    run = report.run
    machine = {name: value for name, value in run["machine"].items() if value is not None}
    return {
        "suite": f"{run['suite']['name']}: {run['suite']['about']}",
        "model": f"{run['model']}, fingerprint {run['model_fingerprint'][:16]}",
        "judge": f"fingerprint {run['judge'][:16]}",
        "date": run["date"],
        "pictures": f"{run['pictures']} of {len(report.contenders)} methods",
        "prompts": f"{run['prompts']} of {run['prompts'] + run['prompts_left_out']}",
        "seeds": f"{run['seeds']} per prompt from {run['suite']['first_seed']}, the same for all methods",
        "sampling": f"{run['steps']} steps, guidance scale {run['guidance_scale']:g}, {run['dtype']}",
        "batches": f"{run['batch_size']} pictures at once",
        "machine": ", ".join(f"{name} {value}" for name, value in machine.items()),
        "versions": ", ".join(f"{name} {value}" for name, value in run["versions"].items()),
    }


def notes(report: Report) -> list[str]:
    """Return how the figures were made, and what they are not."""
    run = report.run
    texts = [
        "All methods drew the same prompts from the same seeds, so they are compared picture by picture. Intervals are 95 % "
        f"percentile intervals of a paired hierarchical bootstrap of {run['draws']:,} draws: prompts with replacement, then "
        "seeds within each prompt, the same draw for all methods and metrics. With several seeds per prompt they are rather "
        f"too wide than too narrow; from fewer than {FEW_PROMPTS} prompts, as in a small group, they may be too narrow.",
        f"A mark (✱) stands where the difference to {report.baseline} has p < {SIGNIFICANT} after Holm's correction for the "
        "number of methods compared. Metrics and groups are not corrected for each other.",
        "The judge is a network and can err. It judges all methods alike.",
        "Seconds per picture are the mean of the wall clock on the machine named here, with everything that a method does.",
    ]
    best_of = [f"{c.label} draws {c.draws} unguided pictures for each seed" for c in report.contenders if c.draws > 1]
    if best_of:
        texts.append(
            f"{'; '.join(best_of)} and keeps the one that the judge likes best; its time is that of all of them. The judge "
            "that picks is the judge that counts, so its figure is optimistic."
        )
    return texts


def cautions(report: Report) -> list[str]:
    """Return what a reader must know before the figures."""
    count, left_out = report.run["prompts"], report.run["prompts_left_out"]
    texts = [f"The run is not finished: {left_out} of {count + left_out} prompts are left out."] if left_out else []
    few = f"Intervals from fewer than {FEW_PROMPTS} prompts may be too narrow; this report has {count}."
    return texts + [few] * (count < FEW_PROMPTS)


def markdown(report: Report) -> str:
    """Return the report as Markdown: the result, the tables, the facts."""
    lines = [f"# {report.run['suite']['name']} on {report.run['model']}", "", result(report), "", *cautions(report), ""]
    for group, rows in {"All prompts": report.rows, **report.subsets}.items():
        count = report.run["groups"].get(group, report.run["prompts"])
        lines += [f"## {group} ({count} prompts)", "", "Percent, with 95 % intervals."]
        lines += _table(rows, lambda row: f"{percent(row.mean)} ({span(row.low, row.high)})")
        if len(report.contenders) > 1:
            lines += [f"Differences to {report.baseline} in points, with 95 % intervals; ✱ where p < {SIGNIFICANT} after Holm."]
            lines += _table([row for row in rows if row.difference is not None], _difference)
    lines += ["## How this was measured", "", *(f"- {m.title}: {m.about}" for m in METRICS), ""]
    lines += [*(f"- {note}" for note in notes(report)), ""]
    lines += [f"- {name}: {words}" for name, words in facts(report).items() if words]
    lines += [f"- settings of {c.label}: `{json.dumps(dict(c.settings))}`" for c in report.contenders]
    return "\n".join(lines) + "\n"


def _difference(row: Row) -> str:
    low, high = row.difference_low or 0.0, row.difference_high or 0.0
    return f"{points(row.difference or 0.0)} ({span(low, high, points)}){' ✱' * row.significant}"


def _table(rows: Iterable[Row], cell: Callable[[Row], str]) -> list[str]:
    heads = ["method", *(m.title + " ↓" * (not m.higher_is_better) for m in METRICS), "seconds per picture"]
    lines = ["", f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
    for method, of in by_method(rows).items():
        name, seconds = method.replace("|", "\\|"), of["all_correct"].seconds_per_picture
        lines.append(f"| {' | '.join([name, *map(cell, of.values()), f'{seconds:.2f}'])} |")
    return [*lines, ""]


def by_method(rows: Iterable[Row]) -> dict[str, dict[str, Row]]:
    """Return {method: {metric: row}}."""
    table: dict[str, dict[str, Row]] = {}
    for row in rows:
        table.setdefault(row.method, {})[row.metric] = row
    return table


# ------------------------------------------------------------------------------------- the page


def html(report: Report) -> str:
    """Return the report as one HTML document that needs nothing else: pictures, plots and style are inside."""
    jinja2 = _extra("jinja2")
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined)
    template = environment.from_string(Path(__file__).with_name("report.html.j2").read_text(encoding="utf-8"))
    words = (percent, points, span, verdict, faults, result, cautions, facts, notes, by_method, data_uri)
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


def _extra(name: str) -> Any:
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
_INK, _RULE = "#fe0100", "#fe0200"
_COLOURS = {_INK: "currentColor", _RULE: "var(--rule)"} | {f"#fe00{n:02x}": f"var(--method-{n})" for n in range(len(SHAPES))}
_WIDTH = 400  # px; a narrow page shrinks a plot to about 340, and its text of 13 px to 11


def plots(report: Report) -> dict[str, str]:
    """Return the plots of the page as SVG: success over time, differences of each metric, success in each group."""
    success = [row for row in report.rows if row.metric == "all_correct"]
    styles = _styles(report)

    def mark(axes: Any, row: Row, x: Sequence[float], y: Sequence[float]) -> None:
        """Draw an interval from its low end over its mean to its high end."""
        colour, shape = styles[row.method]
        axes.plot(x, y, _MARKERS[shape] + "-", markevery=[1], color=list(_COLOURS)[2 + colour], markersize=7, linewidth=1.8)

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
        axes.axvline(0, color=_INK, linewidth=1)
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
    matplotlib, figures, markupsafe = _extra("matplotlib"), _extra("matplotlib.figure"), _extra("markupsafe")
    look = {"axes.edgecolor": _RULE, "axes.labelcolor": _INK, "xtick.color": _RULE, "ytick.color": _RULE, "grid.color": _RULE}
    look |= {"xtick.labelcolor": _INK, "ytick.labelcolor": _INK, "axes.spines.top": False, "axes.spines.right": False}
    look |= {"font.size": 13, "axes.labelsize": 13, "axes.grid": True, "axes.axisbelow": True, "grid.linewidth": 0.8}
    with matplotlib.rc_context({**look, "svg.fonttype": "none", "svg.hashsalt": title}):
        figure = figures.Figure(figsize=(_WIDTH / 72, height / 72), layout="constrained")
        draw(figure.add_subplot())
        stream = io.StringIO()
        figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None})
    body = re.sub(r"(?s)^.*?<svg[^>]*>|<metadata>.*?</metadata>", "", stream.getvalue())
    body = re.sub(r' id="[\w.]+_\d+"|font-family:[^;"]*;?', "", body)  # names that plots would share; our own font
    body = re.sub("|".join(_COLOURS), lambda found: _COLOURS[found[0]], body)
    head = f'<svg viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="{markupsafe.escape(title)}">'
    return markupsafe.Markup(head + body)
