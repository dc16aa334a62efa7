"""The report of a study: `report.html`, `report.md`, `win_rates.csv`, `strengths.csv`, `raters.csv` and `answers.csv`.

The CSV files hold fractions from 0 to 1; the others say percent.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import asdict, astuple, fields
from pathlib import Path
from typing import Any, NamedTuple

from ..bench.reporting.html import template
from ..bench.reporting.markdown import plain
from ..bench.reporting.number_format import interval, p_value, percent, plural, signed, with_interval
from ..bench.reporting.writer import csv_text
from ..bench.storage.images import thumbnail
from ..bench.storage.owned_files import OwnFiles, write_texts
from .study import image_path
from .summary import VALUES, Comparison, RaterRow, Strength, Summary

SHOWN = 4  # pairs of images for each method that won
THUMBNAIL = 192  # pixels

ABOUT = (
    "Win rate: the fraction of answers in which the method won; ties and “both bad” are half a win for both. Only a rater's "
    "first answer to a pair counts; catch pairs do not.",
    "Intervals (95 %): variances clustered by prompt and by rater, Satterthwaite's degrees of freedom, on the log-odds scale. "
    "They hold for other prompts and other raters of the same kind.",
    "Sign test: exact and two-sided, over prompts; a prompt is won where the method won more of its answers than it lost. "
    "Prompts without a winner are left out. With several comparisons, p is adjusted by Holm's rule.",
    "Krippendorff's alpha, nominal: 1 is full agreement between raters, 0 that of chance.",
    "Repeats are shown with sides exchanged. In a catch pair, the tiles of one picture are shuffled; the other is the answer.",
)


class ShownPair(NamedTuple):
    """A pair of images that raters agreed on."""

    prompt: str
    seed: int
    winner: str
    loser: str
    images: tuple[str, str]  # addresses, the winner's first
    wins: int
    answers: int


def write(summary: Summary, study: Path, folder: Path, *, own: OwnFiles | None = None) -> dict[str, Path]:
    """Write the files of a report into `folder`, and return {name: path}.

    Args:
        study: the folder of the study, for its images.
        own: says which files may be replaced, in a folder that is not the study's.
    """
    texts = {"report.html": html(summary, study), "report.md": markdown(summary), **tables(summary)}
    write_texts(texts, folder, own)
    return {name: folder / name for name in texts}


def tables(summary: Summary) -> dict[str, str]:
    """Return {file name: CSV}."""
    pairs, methods = summary.study.pairs, summary.study.methods
    answers = [
        [
            one.rater + 1,
            pairs[one.pair].prompt,
            pairs[one.pair].seed,
            methods[pairs[one.pair].methods[1]],
            methods[pairs[one.pair].methods[0]],
            one.outcome,
            VALUES[one.outcome],
            one.side,
            one.seconds,
            one.at,
        ]
        for one in summary.answers
    ]
    head = ["rater", "prompt", "seed", "method", "against", "outcome", "value", "side", "seconds", "at"]
    texts = {"win_rates.csv": _rows(Comparison, summary.comparisons)}
    if summary.strengths:
        texts["strengths.csv"] = _rows(Strength, summary.strengths)
    return texts | {"raters.csv": _rows(RaterRow, summary.raters), "answers.csv": csv_text(head, answers)}


def _rows(kind: type[Any], rows: Sequence[Any]) -> str:
    return csv_text([field.name for field in fields(kind)], [astuple(row) for row in rows])


# ------------------------------------------------------------------------------------------------------- sentences


def result(summary: Summary) -> list[str]:
    """Return what came of each comparison, in a sentence."""
    return [_sentence(one) for one in summary.comparisons]


def _sentence(one: Comparison) -> str:
    rate = f"{percent(one.win_rate)} % of {plural(one.answers, 'answer')}"
    if one.low is None or one.high is None:
        return f"{one.method} won {rate} against {one.against}."
    within = f"{rate} ({interval(one.low, one.high)})"
    if one.low > 0.5:
        return f"{one.method} is preferred to {one.against}: it won {within}."
    if one.high < 0.5:
        return f"{one.against} is preferred to {one.method}, which won {within}."
    return f"No preference between {one.method} and {one.against} is shown: {one.method} won {within}."


def facts(summary: Summary) -> dict[str, str]:
    """Return how the raters answered, {what: words}."""
    study, rows = summary.study, [row for row in summary.raters if row.counted]
    moments = sorted(moment for row in rows for moment in (row.first, row.last))
    return {
        "question": study.question,
        "raters": f"{len(rows)}, who gave {plural(sum(row.answers for row in rows), 'answer')}",
        "agreement": _agreement(summary),
        "left picture": _of(summary.left, summary.decided, "decided answers") + f", {p_value(summary.side_p)}",
        "repeats answered the same": _of(summary.repeats_same, summary.repeats, "repeats"),
        "catch pairs answered right": _of(summary.catches_right, summary.catches, "catch pairs"),
        "pairs": f"{len(study.pairs):,} of {study.title}; {study.pairs_per_rater:,} for each rater",
        "answered": f"{moments[0][:10]} to {moments[-1][:10]}",
    }


def _agreement(summary: Summary) -> str:
    pairs = plural(summary.alpha_pairs, "pair") + " that several people rated"
    return f"not known: {pairs}" if summary.alpha is None else f"Krippendorff's alpha {summary.alpha:.2f}, of {pairs}"


def _of(part: int, whole: int, noun: str) -> str:
    return f"{percent(part / whole)} % of {whole:,} {noun}" if whole else f"no {noun}"


# ------------------------------------------------------------------------------------------------------- Markdown


def markdown(summary: Summary) -> str:
    """Return the report as Markdown."""
    lines = [f"# {plain(summary.study.question)}", "", *(f"- {plain(line)}" for line in result(summary)), ""]
    lines += [line for caution in summary.cautions for line in (plain(caution), "")]
    head = ["method", "against", "win rate, %", "won", "tied", "both bad", "lost", "prompts won", "prompts lost", "sign test"]
    lines += _table(
        head,
        [
            [
                one.method,
                one.against,
                with_interval(one.win_rate, one.low, one.high),
                one.wins,
                one.ties,
                one.both_bad,
                one.losses,
                one.prompts_won,
                one.prompts_lost,
                p_value(one.p_holm),
            ]
            for one in summary.comparisons
        ],
    )
    if summary.strengths:
        lines += ["## Strengths", "", *_table(["method", "log-odds"], [[one.method, said(one)] for one in ranked(summary)])]
    lines += ["## Raters", "", *(f"- {name}: {plain(words)}" for name, words in facts(summary).items()), ""]
    head = ["rater", "answers", "seconds", "left", "repeats the same", "catches right"]
    lines += _table(head, [[row.rater, *cells(row)] for row in summary.raters])
    lines += ["## How this was measured", "", *(f"- {plain(line)}" for line in ABOUT)]
    return "\n".join(lines) + "\n"


def _table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[str]:
    lines = [f"| {' | '.join(plain(str(cell)) for cell in row)} |" for row in (head, *rows)]
    return [lines[0], f"|{'---|' * len(head)}", *lines[1:], ""]


def said(one: Strength) -> str:
    """Return a strength with its interval."""
    return "not bounded by the answers" if one.strength is None else with_interval(one.strength, one.low, one.high, signed)


def ranked(summary: Summary) -> list[Strength]:
    """Return the strengths, the greatest first."""
    return sorted(summary.strengths, key=lambda one: -(one.strength or 0.0))


def cells(row: RaterRow) -> list[str]:
    """Return the cells of a rater's row in a table."""
    return [
        f"{row.answers} of {row.trials}" + ", left out" * (not row.counted),
        f"{row.median_seconds:.1f}",
        f"{row.left} of {row.left + row.right}",
        f"{row.repeats_same} of {row.repeats}",
        f"{row.catches_right} of {row.catches}",
    ]


# ------------------------------------------------------------------------------------------------------- HTML


def html(summary: Summary, study: Path) -> str:
    """Return the report as one HTML document that needs nothing else."""
    words = (cells, plural, p_value, percent, said, interval, with_interval)
    return template("report.html.j2", Path(__file__).parent).render(
        {function.__name__: function for function in words},
        summary=summary,
        result=result(summary),
        facts=facts(summary),
        ranked=ranked(summary),
        about=ABOUT,
        shown=clearest(summary, study),
        parts=parts,
    )


def parts(one: Comparison) -> list[tuple[str, int, float]]:
    """Return the parts of a bar: name, answers, percent."""
    counts = {"won": one.wins, "tied": one.ties, "both bad": one.both_bad, "lost": one.losses}
    return [(name, count, 100 * count / one.answers) for name, count in counts.items() if count]


def clearest(summary: Summary, study: Path) -> dict[str, list[ShownPair]]:
    """Return {method: pairs that it won by most answers}, so many as the page shows."""
    values: dict[int, list[float]] = {}
    for answer in summary.answers:
        values.setdefault(answer.pair, []).append(VALUES[answer.outcome])
    found: dict[str, list[ShownPair]] = {}
    for number in sorted(values, key=lambda number: -abs(sum(values[number]) - len(values[number]) / 2)):
        pair, of = summary.study.pairs[number], values[number]
        net = sum(of) - len(of) / 2
        winner = 1 if net > 0 else 0
        method, other = (summary.study.methods[pair.methods[index]] for index in (winner, 1 - winner))
        if not net or len(found.setdefault(method, [])) == SHOWN:
            continue
        images = (_address(study, pair.images[winner]), _address(study, pair.images[1 - winner]))
        wins = of.count(float(winner))
        found[method].append(ShownPair(pair.prompt, pair.seed, method, other, images, wins, len(of)))
    return {method: pairs for method, pairs in found.items() if pairs}


def _address(study: Path, name: str) -> str:
    """Return a small image inside an address."""
    return "data:image/webp;base64," + base64.b64encode(thumbnail(image_path(study, name), THUMBNAIL)).decode()


def to_json(summary: Summary) -> dict[str, Any]:
    """Return the result as a JSON document: everything but the pairs and the single answers."""
    facts = {"title": summary.study.title, "question": summary.study.question, "methods": list(summary.study.methods)}
    values = {name: value for name, value in vars(summary).items() if name not in ("study", "answers")}
    tuples = {name: [asdict(one) for one in values.pop(name)] for name in ("comparisons", "strengths", "raters")}
    return facts | values | tuples
