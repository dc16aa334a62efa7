"""The files of a study of causes: `causes.md`, `causes.csv` and `causes.svg`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import astuple
from pathlib import Path
from typing import Any

from ..analysis.bootstrap import MIN_PROMPTS, few_prompts
from ..reporting.number_format import percent, span, with_span
from ..reporting.plots import INK, PENS, svg_on_paper
from ..reporting.text import run_facts
from ..reporting.writer import csv_text, write_texts
from .missing_entities import QUANTITIES, Causes, Difference, Row, windows

FEW_PICTURES = 20  # of one kind; with fewer the report warns of its intervals

_LINES = dict(zip((quantity.name for quantity in QUANTITIES), (":", "--", "-"), strict=True))


def write(causes: Causes, folder: Path) -> dict[str, Path]:
    """Write the three files, and return {kind: path}.

    Raises `BenchError` when the extra `bench` is not installed, `OutputError` when the folder cannot be written.
    """
    head = ["quantity", "step", "share of the run", "auc", "low", "high"]
    texts = {
        "causes.md": markdown(causes),
        "causes.csv": csv_text(head, [astuple(row) for row in causes.rows]),
        "causes.svg": plot(causes),
    }
    write_texts(texts, folder)
    return {name.removeprefix("causes."): folder / name for name in texts}


def result(causes: Causes) -> str:
    """Return what the means over all steps say, the best first: those significantly above chance before others."""
    means = sorted((r for r in causes.rows if r.step == "mean"), key=lambda r: (_end(r.auc, r.low) > 0.5, r.auc), reverse=True)
    best, second, third = means
    alike = [row.quantity for row in (second, third) if _ahead(causes, best, row) <= 0]
    if all(row.low is None for row in means):
        words = "The AUC of the mean over all steps, for a missing entity,"
    elif _end(best.auc, best.low) <= 0.5:
        words = "No quantity predicts a missing entity significantly better than chance: the AUC of the mean over all steps"
    elif alike:
        words = (
            f"{best.quantity.capitalize()} predicts a missing entity better than chance, but not significantly better than "
            f"{' or '.join(alike)}: the AUC of the mean over all steps"
        )
    else:
        words = f"{best.quantity.capitalize()} predicts a missing entity best: the AUC of the mean over all steps"
    told = f"{_said(best, '95 % interval ')} for {best.quantity}, {_said(second)} for {second.quantity}"
    sentence = f"{words} is {told} and {_said(third)} for {third.quantity}."
    if all(row.low is None for row in means):
        return sentence
    against = [row.quantity for row in means if _end(row.auc, row.high) < 0.5]
    return sentence + "".join(f" {name.capitalize()} is significantly below 0.5, against its hypothesis." for name in against)


def markdown(causes: Causes) -> str:
    """Return the study as Markdown: the result, the tables, how it was measured, the facts."""
    run, names = causes.run, list(windows(causes.run["recorded_steps"]))
    lines = [f"# Why entities go missing: {run['suite']['name']} on {run['model']}", "", result(causes), ""]
    lines += [text for caution in cautions(causes) for text in (caution, "")]
    lines += [
        f"{causes.pictures} pictures, of which {percent(causes.missing)} % miss an entity. Area under the ROC curve (AUC) for "
        '"an entity is missing", with 95 % intervals: 0.5 is chance, more speaks for the hypothesis, less against it.',
        "",
        f"| quantity | hypothesis | {' | '.join(names)} |",
        "|---|---|" + "---|" * len(names),
    ]
    for quantity in QUANTITIES:
        cells = [_said(row) for row in causes.rows if row.quantity == quantity.name and row.step in names]
        lines += [f"| {quantity.name} | missing where {'high' if quantity.high else 'low'} | {' | '.join(cells)} |"]
    lines += ["", "![AUC by step](causes.svg)", "", "Differences of two AUCs, with 95 % intervals.", ""]
    lines += [f"| difference | {' | '.join(names)} |", "|---|" + "---|" * len(names)]
    for pair in dict.fromkeys((d.quantity, d.other) for d in causes.differences):
        cells = [_said_difference(d) for d in causes.differences if (d.quantity, d.other) == pair]
        lines += [f"| {' − '.join(pair)} | {' | '.join(cells)} |"]
    lines += ["", "## How this was measured", "", *(f"- {note}" for note in notes(causes)), "", "## The run", ""]
    return "\n".join([*lines, *(f"- {name}: {words}" for name, words in facts(causes).items())]) + "\n"


def cautions(causes: Causes) -> list[str]:
    """Return what a reader must know before the figures."""
    lost = round(causes.missing * causes.pictures)
    kinds = [(lost, "miss an entity"), (causes.pictures - lost, "show every entity")]
    few = [
        f"No interval is given where fewer than {MIN_PROMPTS} pictures {what}; here {n}."
        if n < MIN_PROMPTS
        else f"Intervals may be too narrow where fewer than {FEW_PICTURES} pictures {what}; here {n}."
        for n, what in kinds
        if n < FEW_PICTURES
    ]
    return few_prompts(causes.run["prompts"]) + few


def notes(causes: Causes) -> list[str]:
    """Return how the figures were made, and what they are not."""
    run = causes.run
    ends = [(name, sorted({steps[0], steps[-1]})) for name, steps in windows(run["recorded_steps"]).items() if name != "mean"]
    thirds = [f"{name} {' to '.join(map(str, between))}" for name, between in ends]
    return [
        "The question, the three hypotheses and the quantities are those of arXiv 2410.20972. Of a picture's raw maps of its "
        "nouns, intensity is the mean over places of the weakest; spread the variance of place under a map, the mean over the "
        "nouns; overlap the sum over places of p1 p2 / (p1 + p2), the mean over pairs of nouns.",
        "AUC is the chance that of two pictures, one that misses an entity and one that does not, the hypothesis tells by this "
        "quantity which is which; a tie counts half. The measure is ours; the paper studied Stable Diffusion.",
        "Pictures were drawn without guidance; the maps are the mean over all heads of all text layers of one grid, for the "
        f"conditional half, at each step, numbered from 0 ({', '.join(thirds)}). Over several "
        "steps a quantity is averaged first, picture by picture.",
        f"Intervals are 95 % percentile intervals of a hierarchical bootstrap of {run['draws']:,} draws: prompts with "
        "replacement, then seeds within each prompt, the same draw for all quantities and steps. They are not corrected for "
        f"the number of quantities and steps. None is given below {MIN_PROMPTS} prompts or pictures of either kind, nor where "
        "all draws give the same AUC.",
        "Pictures of all prompts are compared with each other, so a quantity may also predict by what it says of the prompt. "
        "Whatever predicts need not be the cause.",
        "An entity is missing where the judge does not see its noun, whatever its colour. The judge is a network and can err.",
    ]


def facts(causes: Causes) -> dict[str, str]:
    """Return the facts of the run, {name: words}."""
    pictures = f"{causes.pictures}, {round(causes.missing * causes.pictures)} of them miss an entity"
    return run_facts(causes.run, pictures) | {"maps": f"{causes.run['grid']} places, {causes.run['recorded_steps']} steps"}


def plot(causes: Causes) -> str:
    """Return the AUC by step as an SVG file: a line with its interval for each quantity, and chance."""

    def draw(axes: Any) -> None:
        axes.axhline(0.5, color=INK, linewidth=1)
        for pen, quantity in zip(PENS[1:], QUANTITIES, strict=False):
            rows = list(_by_step(causes, quantity.name))
            steps = [row.step for row in rows]
            label = f"{'high' if quantity.high else 'low'} {quantity.name}"
            ends = [(row.auc, row.auc) if row.low is None else (row.low, row.high) for row in rows]
            axes.fill_between(steps, *zip(*ends, strict=True), color=pen, alpha=0.15, linewidth=0)
            axes.plot(steps, [row.auc for row in rows], _LINES[quantity.name], color=pen, linewidth=2, label=label)
        axes.set(xlabel="denoising step (0 is noise)", ylabel="AUC for a missing entity (0.5: chance)")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.margins(x=0)
        axes.figure.legend(loc="outside upper center", ncols=len(QUANTITIES), handlelength=2.5)

    return svg_on_paper("How well each quantity of the maps predicts that an entity goes missing, by step", 640, 400, draw)


def _by_step(causes: Causes, quantity: str) -> Iterator[Row]:
    return (row for row in causes.rows if row.quantity == quantity and row.share is not None)


def _end(value: float, end: float | None) -> float:
    """Return an end of a value's interval; of a value that is the same in every draw, the value."""
    return value if end is None else end


def _ahead(causes: Causes, best: Row, other: Row) -> float:
    """Return the least, at 95 %, by which the first of two quantities is ahead of the other over all steps."""
    for d in causes.differences:
        if d.step == "mean" and {d.quantity, d.other} == {best.quantity, other.quantity}:
            mine = d.quantity == best.quantity
            return _end(d.difference, d.low) if mine else -_end(d.difference, d.high)
    raise KeyError(best.quantity, other.quantity)


def _said(row: Row, before: str = "") -> str:
    interval = span(row.low, row.high, "{:.2f}".format)
    return f"{row.auc:.2f}" + f" ({before}{interval})" * bool(interval)


def _said_difference(difference: Difference) -> str:
    return with_span(difference.difference, difference.low, difference.high, _signed)


def _signed(value: float) -> str:
    """Return a difference with its sign; one that rounds to zero has none."""
    return "0.00" if abs(value) < 0.005 else f"{value:+.2f}".replace("-", "−")
