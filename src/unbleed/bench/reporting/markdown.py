"""A report as Markdown: the result, the tables, the facts."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence

from ..analysis.summary import Report, Row, Table
from ..metrics.base import Score
from .number_format import cost_words, counted, with_span, words_for, words_for_differences
from .text import by_method, cautions, exchanges, facts, in_differences, in_values, notes, result

Cell = Callable[[Score, Row], str]


def markdown(report: Report) -> str:
    """Return the whole of a report."""
    lines = [f"# {plain(report.run['title'])}", "", plain(result(report)), "", *map(plain, cautions(report)), ""]
    for group, rows in {"All prompts": report.rows, **report.subsets}.items():
        count = report.run["groups"].get(group, report.run["prompts"])
        overall = report.overall if rows is report.rows else ()
        tables = [line for table in report.tables for line in _of_table(report, table, rows, overall)]
        lines += [f"## {plain(group)} ({counted(count, 'prompt')})", "", *tables] if tables else []
    if not report.scores:
        lines += ["## Cost", *_costs(report)]
    if texts := exchanges(report):
        lines += ["## Mended and spoilt", "", *(f"- {plain(text)}" for text in texts), ""]
    lines += ["## How this was measured", "", *(f"- {plain(f'{score.title}: {score.about}')}" for score in report.scores), ""]
    lines += [*(f"- {plain(note)}" for note in notes(report)), ""]
    lines += [f"- {plain(f'{name}: {words}')}" for name, words in facts(report).items() if words]
    for c in report.contenders:
        settings = json.dumps(dict(c.settings)).replace("`", r"\u0060")
        lines.append(f"- settings of {plain(c.label)}: `{settings}`")
    return "\n".join(lines) + "\n"


def plain(text: str) -> str:
    """Return a text in one line in which Markdown finds no markup.

    >>> print(plain("a|b *c* <d> $e$ snake_case"))
    a\\|b \\*c\\* \\<d> \\$e\\$ snake_case
    """
    return re.sub(r"([\\`*\[\]|$~]|<(?=[\w/!?])|(?<!\w)_|_(?!\w)|^[#>])", r"\\\1", " ".join(text.split()))


def _of_table(report: Report, table: Table, rows: Sequence[Row], overall: Sequence[Row]) -> list[str]:
    scores = [score for score in table.scores if any(row.metric == score.name for row in rows)]
    if not scores:
        return []
    lines = [f"### {table.metric}", ""] if len(report.tables) > 1 else []
    lines += [in_values(report, scores, rows)]
    lines += _cells(scores, rows, overall, _value)
    if len(report.contenders) > 1:
        lines += [plain(in_differences(report, scores, rows))]
        others = [[row for row in of if row.difference is not None] for of in (rows, overall)]
        lines += _cells(scores, others[0], others[1], _difference)
    return lines


def _value(score: Score, row: Row) -> str:
    return with_span(row.mean, row.low, row.high, words_for(score))


def _difference(score: Score, row: Row) -> str:
    words, difference = words_for_differences(score), row.difference or 0.0
    return with_span(difference, row.difference_low, row.difference_high, words) + " ✱" * row.significant


def _cells(scores: Sequence[Score], rows: Sequence[Row], overall: Sequence[Row], cell: Cell) -> list[str]:
    lines = _head(["method", *(s.title + " ↓" * (not s.higher_is_better) for s in scores), "seconds per picture"])
    for method, of in by_method(rows).items():
        lines.append(_line(method, *_said(scores, of, cell), cost_words(*next(iter(of.values())).cost)))
    for method, of in by_method(overall).items():
        lines.append(_line(f"{method}, mean over groups", *_said(scores, of, cell), ""))
    return [*lines, ""]


def _said(scores: Sequence[Score], of: dict[str, Row], cell: Cell) -> list[str]:
    return [cell(score, of[score.name]) if score.name in of else "–" for score in scores]


def _costs(report: Report) -> list[str]:
    lines = _head(["method", "pictures", "seconds per picture"])
    for cost in report.costs:
        lines.append(_line(cost.method, str(cost.pictures), cost_words(cost.seconds_per_picture, cost.relative_seconds)))
    return [*lines, ""]


def _head(names: Sequence[str]) -> list[str]:
    return ["", _line(*names), f"|{'---|' * len(names)}"]


def _line(*cells: str) -> str:
    return f"| {' | '.join(map(plain, cells))} |"
