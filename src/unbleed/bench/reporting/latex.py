"""A report's scores as LaTeX tables for a paper: booktabs and nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from ..analysis.bootstrap import FEW_PROMPTS, MIN_PROMPTS
from ..analysis.summary import Report, Row, Table
from ..metrics.base import Score
from .number_format import cost_words, counted, span, words_for
from .text import better_or_worse, by_method, in_values

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
    """Return a text in which nothing is a command.

    >>> print(escaped("50 % of a_b & {c}\\\\d"))
    50 \\% of a\\_b \\& \\{c\\}\\textbackslash{}d
    """
    return re.sub("|".join(map(re.escape, _SPECIAL)), lambda found: _SPECIAL[found[0]], " ".join(text.split()))


def latex(report: Report) -> str:
    """Return the tables over all prompts: a line of values for each method, and one of their intervals."""
    lines = ["% needs \\usepackage{booktabs} and, for \\textquotedbl, \\usepackage[T1]{fontenc}"]
    for table in report.tables or (Table("", ()),):
        scores = [score for score in table.scores if any(row.metric == score.name for row in report.rows)]
        lines += _of_table(report, table, scores)
    return "\n".join(lines) + "\n"


def _of_table(report: Report, table: Table, scores: Sequence[Score]) -> list[str]:
    name = re.sub(r"\W+", "-", f"{report.run['suite']['name']} {table.metric}").strip("-").lower()
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
        seconds = escaped(cost_words(cost.seconds_per_picture, cost.relative_seconds))
        lines += _of_method(cost.method, scores, of_methods.get(cost.method, {}), seconds)
    if report.overall:
        lines.append(r"\midrule")
        for method, of in by_method(report.overall).items():
            lines += _of_method(f"{method}, mean over groups", scores, of, "")
    return [*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}"]


def _of_method(method: str, scores: Sequence[Score], of: dict[str, Row], seconds: str) -> list[str]:
    values, intervals = [], []
    for score in scores:
        row, words = of.get(score.name), words_for(score)
        values.append("--" if row is None else escaped(words(row.mean)) + _MARKS[better_or_worse(row, score)])
        interval = "" if row is None else span(row.low, row.high, words)
        intervals.append(rf"{{\scriptsize {escaped(interval)}}}" if interval else "")
    lines = [_line([escaped(method), *values, seconds])]
    return [*lines, _line(["", *intervals, ""])] if any(intervals) else lines


def _caption(report: Report, scores: Sequence[Score]) -> str:
    run = report.run
    what = f"{run['title']}: {counted(run['prompts'], 'prompt')}, {counted(run['seeds'], 'seed')} each."
    if scores:
        what += f" {in_values(report, scores, report.rows)}"
    if MIN_PROMPTS <= run["prompts"] < FEW_PROMPTS and scores:
        what += f" With fewer than {FEW_PROMPTS} prompts intervals may be too narrow."
    marked = rf" {_MARKS['better']}\,better, {_MARKS['worse']}\,worse than {escaped(report.baseline)} ($p < 0.05$ after Holm)."
    return escaped(what) + marked * any(row.p is not None for row in report.rows)


def _line(cells: Iterable[str]) -> str:
    return " & ".join(cells) + r" \\"
