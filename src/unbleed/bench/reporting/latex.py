"""A report's scores as LaTeX tables with booktabs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from ..analysis.bootstrap import FEW_PROMPTS, MIN_PROMPTS
from ..analysis.summary import Report, ScoreRow, ScoreTable
from ..metrics.base import Score
from .number_format import cost_text, formatter, interval, plural
from .text import better_or_worse, by_method, values_caption

_SPECIAL = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "−": "$-$",
    "–": "--",
    "×": r"$\times$",
    "↓": r"$\downarrow$",
    "…": r"\ldots{}",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
}
_MARKS = {"better": r"$^{\ast}$", "worse": r"$^{\dagger}$", "": ""}


def escaped(text: str) -> str:
    """Return a text with LaTeX's special characters escaped.

    >>> print(escaped("50 % of a_b & {c}\\\\d"))
    50 \\% of a\\_b \\& \\{c\\}\\textbackslash{}d
    """
    return re.sub("|".join(map(re.escape, _SPECIAL)), lambda found: _SPECIAL[found[0]], " ".join(text.split()))


def latex(report: Report) -> str:
    """Return the tables over all prompts: for each method a line of values and a line of intervals."""
    lines = ["% needs \\usepackage{booktabs} and, for \\textquotedbl, \\usepackage[T1]{fontenc}"]
    for table in report.tables or (ScoreTable("", ()),):
        scores = [score for score in table.scores if any(row.metric == score.name for row in report.rows)]
        lines += _of_table(report, table, scores)
    return "\n".join(lines) + "\n"


def _of_table(report: Report, table: ScoreTable, scores: Sequence[Score]) -> list[str]:
    name = re.sub(r"\W+", "-", f"{report.run.suite['name']} {table.metric}").strip("-").lower()
    heads = ["method", *(score.title + " ↓" * (not score.higher_is_better) for score in scores), "seconds"]
    lines = [
        r"\begin{table}",
        r"\centering\small",
        rf"\caption{{{_caption(report, scores)}}}",
        rf"\label{{tab:{name}}}",
        rf"\begin{{tabular}}{{l{'c' * len(scores)}r}}",
        r"\toprule",
        _line(map(escaped, heads)),
        r"\midrule",
    ]
    of_methods = by_method(report.rows)
    for cost in report.costs:
        seconds = escaped(cost_text(cost.seconds_per_picture, cost.relative_seconds))
        lines += _of_method(cost.method, scores, of_methods.get(cost.method, {}), seconds)
    if report.overall:
        lines.append(r"\midrule")
        for method, of in by_method(report.overall).items():
            lines += _of_method(f"{method}, mean over groups", scores, of, "")
    return [*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}"]


def _of_method(method: str, scores: Sequence[Score], of: dict[str, ScoreRow], seconds: str) -> list[str]:
    values, intervals = [], []
    for score in scores:
        row, form = of.get(score.name), formatter(score)
        values.append("--" if row is None else escaped(form(row.mean)) + _MARKS[better_or_worse(row, score)])
        ends = "" if row is None else interval(row.low, row.high, form)
        intervals.append(rf"{{\scriptsize {escaped(ends)}}}" if ends else "")
    lines = [_line([escaped(method), *values, seconds])]
    return [*lines, _line(["", *intervals, ""])] if any(intervals) else lines


def _caption(report: Report, scores: Sequence[Score]) -> str:
    run = report.run
    text = f"{run.title}: {plural(run.prompts, 'prompt')}, {plural(run.seeds, 'seed')} per prompt."
    if scores:
        text += f" {values_caption(report, scores, report.rows)}"
    if MIN_PROMPTS <= run.prompts < FEW_PROMPTS and scores:
        text += f" With fewer than {FEW_PROMPTS} prompts, intervals may be too narrow."
    marked = rf" {_MARKS['better']}\,better, {_MARKS['worse']}\,worse than {escaped(report.baseline)} ($p < 0.05$ after Holm)."
    return escaped(text) + marked * any(row.p is not None for row in report.rows)


def _line(cells: Iterable[str]) -> str:
    return " & ".join(cells) + r" \\"
