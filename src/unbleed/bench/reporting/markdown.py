"""A report as Markdown: the result, the tables, the facts."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence

from ..analysis.summary import Report, ScoreRow, ScoreTable
from ..metrics.base import Score
from .number_format import cost_text, difference_formatter, formatter, plural, with_interval
from .text import agreement, by_method, cautions, differences_caption, facts, fixed_and_broken, notes, result, values_caption

Cell = Callable[[Score, ScoreRow], str]


def markdown(report: Report) -> str:
    """Return the report without images and plots."""
    sentences = [result(report), *agreement(report)]
    lines = [f"# {plain(report.run.title)}", "", *map(plain, sentences), "", *map(plain, cautions(report)), ""]
    for group, rows in {"All prompts": report.rows, **report.subsets}.items():
        count = report.run.groups.get(group, report.run.prompts)
        overall = report.overall if rows is report.rows else ()
        tables = [line for table in report.tables for line in _of_table(report, table, rows, overall)]
        lines += [f"## {plain(group)} ({plural(count, 'prompt')})", "", *tables] if tables else []
    if not report.scores:
        lines += ["## Cost", *_costs(report)]
    if texts := fixed_and_broken(report):
        lines += ["## Fixed and broken images", "", *(f"- {plain(text)}" for text in texts), ""]
    lines += ["## How this was measured", "", *(f"- {plain(f'{score.title}: {score.about}')}" for score in report.scores), ""]
    lines += [*(f"- {plain(note)}" for note in notes(report)), ""]
    lines += [f"- {plain(f'{name}: {words}')}" for name, words in facts(report).items() if words]
    for c in report.contenders:
        settings = json.dumps(dict(c.settings)).replace("`", r"\u0060")
        lines.append(f"- settings of {plain(c.label)}: `{settings}`")
    return "\n".join(lines) + "\n"


def plain(text: str) -> str:
    """Return a text in one line with Markdown's markup escaped.

    >>> print(plain("a|b *c* <d> $e$ snake_case"))
    a\\|b \\*c\\* \\<d> \\$e\\$ snake_case
    """
    return re.sub(r"([\\`*\[\]|$~]|<(?=[\w/!?])|(?<!\w)_|_(?!\w)|^[#>])", r"\\\1", " ".join(text.split()))


def _of_table(report: Report, table: ScoreTable, rows: Sequence[ScoreRow], overall: Sequence[ScoreRow]) -> list[str]:
    scores = [score for score in table.scores if any(row.metric == score.name for row in rows)]
    if not scores:
        return []
    lines = [f"### {table.metric}", ""] if len(report.tables) > 1 else []
    lines += [values_caption(report, scores, rows)]
    lines += _cells(scores, rows, overall, _value)
    if len(report.contenders) > 1:
        lines += [plain(differences_caption(report, scores, rows))]
        others = [[row for row in of if row.difference is not None] for of in (rows, overall)]
        lines += _cells(scores, others[0], others[1], _difference)
    return lines


def _value(score: Score, row: ScoreRow) -> str:
    return with_interval(row.mean, row.low, row.high, formatter(score))


def _difference(score: Score, row: ScoreRow) -> str:
    form, difference = difference_formatter(score), row.difference or 0.0
    return with_interval(difference, row.difference_low, row.difference_high, form) + " ✱" * row.significant


def _cells(scores: Sequence[Score], rows: Sequence[ScoreRow], overall: Sequence[ScoreRow], cell: Cell) -> list[str]:
    lines = _head(["method", *(s.title + " ↓" * (not s.higher_is_better) for s in scores), "seconds per image"])
    for method, of in by_method(rows).items():
        lines.append(_line(method, *_row(scores, of, cell), cost_text(*next(iter(of.values())).cost)))
    for method, of in by_method(overall).items():
        lines.append(_line(f"{method}, mean over groups", *_row(scores, of, cell), ""))
    return [*lines, ""]


def _row(scores: Sequence[Score], of: dict[str, ScoreRow], cell: Cell) -> list[str]:
    return [cell(score, of[score.name]) if score.name in of else "–" for score in scores]


def _costs(report: Report) -> list[str]:
    lines = _head(["method", "images", "seconds per image"])
    for cost in report.costs:
        lines.append(_line(cost.method, str(cost.pictures), cost_text(cost.seconds_per_picture, cost.relative_seconds)))
    return [*lines, ""]


def _head(names: Sequence[str]) -> list[str]:
    return ["", _line(*names), f"|{'---|' * len(names)}"]


def _line(*cells: str) -> str:
    return f"| {' | '.join(map(plain, cells))} |"
