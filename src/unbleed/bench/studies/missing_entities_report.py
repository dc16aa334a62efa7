"""Files of the study of missing entities: `causes.md`, `causes.csv` and `causes.svg`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import astuple
from pathlib import Path
from typing import Any

from ..analysis.bootstrap import MIN_PROMPTS, few_prompts
from ..reporting.number_format import interval, percent, with_interval
from ..reporting.plots import INK, PENS, svg_on_paper
from ..reporting.text import run_facts
from ..reporting.writer import csv_text
from ..storage.owned_files import write_texts
from .missing_entities import QUANTITIES, AucDifference, AucRow, Study, windows

FEW_IMAGES = 20  # of one kind; with fewer, the report warns about its intervals

_LINES = dict(zip((quantity.name for quantity in QUANTITIES), (":", "--", "-"), strict=True))


def write(study: Study, folder: Path) -> dict[str, Path]:
    """Write the three files and return {kind: path}.

    Raises `BenchError` if the extra `bench` is not installed, `OutputError` if the folder cannot be written to.
    """
    head = ["quantity", "step", "share of the run", "auc", "low", "high"]
    texts = {
        "causes.md": markdown(study),
        "causes.csv": csv_text(head, [astuple(row) for row in study.rows]),
        "causes.svg": plot(study),
    }
    write_texts(texts, folder)
    return {name.removeprefix("causes."): folder / name for name in texts}


def result(study: Study) -> str:
    """Return the result for the mean over all steps; quantities that are significantly above chance come first."""
    means = sorted((r for r in study.rows if r.step == "mean"), key=lambda r: (_end(r.auc, r.low) > 0.5, r.auc), reverse=True)
    best, second, third = means
    alike = [row.quantity for row in (second, third) if _ahead(study, best, row) <= 0]
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
    figures = f"{_auc(best, '95 % interval ')} for {best.quantity}, {_auc(second)} for {second.quantity}"
    sentence = f"{words} is {figures} and {_auc(third)} for {third.quantity}."
    if all(row.low is None for row in means):
        return sentence
    against = [row.quantity for row in means if _end(row.auc, row.high) < 0.5]
    return sentence + "".join(f" {name.capitalize()} is significantly below 0.5, against its hypothesis." for name in against)


def markdown(study: Study) -> str:
    """Return the study as Markdown: result, tables, methods and facts."""
    run, names = study.run, list(windows(study.run.recorded_steps))
    lines = [f"# Why entities go missing: {run.suite['name']} on {run.model}", "", result(study), ""]
    lines += [text for caution in cautions(study) for text in (caution, "")]
    lines += [
        f"{study.pictures} images, of which {percent(study.missing)} % miss an entity. The table shows the area under the ROC "
        'curve (AUC) for "an entity is missing" with 95 % intervals: 0.5 is chance, more supports the hypothesis, less '
        "contradicts it.",
        "",
        f"| quantity | hypothesis | {' | '.join(names)} |",
        "|---|---|" + "---|" * len(names),
    ]
    for quantity in QUANTITIES:
        cells = [_auc(row) for row in study.rows if row.quantity == quantity.name and row.step in names]
        lines += [f"| {quantity.name} | missing if {'high' if quantity.high else 'low'} | {' | '.join(cells)} |"]
    lines += ["", "![AUC by step](causes.svg)", "", "Differences of two AUCs, with 95 % intervals.", ""]
    lines += [f"| difference | {' | '.join(names)} |", "|---|" + "---|" * len(names)]
    for pair in dict.fromkeys((d.quantity, d.other) for d in study.differences):
        cells = [_difference(d) for d in study.differences if (d.quantity, d.other) == pair]
        lines += [f"| {' − '.join(pair)} | {' | '.join(cells)} |"]
    lines += ["", "## How this was measured", "", *(f"- {note}" for note in notes(study)), "", "## The run", ""]
    return "\n".join([*lines, *(f"- {name}: {words}" for name, words in facts(study).items())]) + "\n"


def cautions(study: Study) -> list[str]:
    """Return what a reader must know before the figures."""
    lost = round(study.missing * study.pictures)
    kinds = [(lost, "miss an entity"), (study.pictures - lost, "show every entity")]
    few = [
        f"There are no intervals if fewer than {MIN_PROMPTS} images {what}; here {n} do."
        if n < MIN_PROMPTS
        else f"Intervals may be too narrow if fewer than {FEW_IMAGES} images {what}; here {n} do."
        for n, what in kinds
        if n < FEW_IMAGES
    ]
    return few_prompts(study.run.prompts) + few


def notes(study: Study) -> list[str]:
    """Return how the figures were computed, and their limitations."""
    run = study.run
    ends = [(name, sorted({steps[0], steps[-1]})) for name, steps in windows(run.recorded_steps).items() if name != "mean"]
    thirds = [f"{name} {' to '.join(map(str, between))}" for name, between in ends]
    return [
        "The question, the three hypotheses and the quantities are those of arXiv 2410.20972. They are computed from the raw "
        "maps of the nouns: intensity is the mean over pixels of the weakest map; spread is the variance of the pixel position "
        "under a map, averaged over the nouns; overlap is the sum over pixels of p1 p2 / (p1 + p2), averaged over pairs of "
        "nouns.",
        "AUC is the probability that, of two images of which one misses an entity, the hypothesis picks the right one by this "
        "quantity; ties count half. The measure is ours; the paper studied Stable Diffusion.",
        "Images were sampled without guidance. Maps are the mean over all heads of all text layers of one grid, for the "
        f"conditional half, at each step, counted from 0 ({', '.join(thirds)}). Over several steps a quantity is averaged for "
        "each image first.",
        f"Intervals are 95 % percentile intervals of a hierarchical bootstrap with {run.draws:,} draws: prompts are resampled "
        "with replacement, then seeds within each prompt, identically for all quantities and steps. They are not corrected for "
        f"the number of quantities and steps. There are none with fewer than {MIN_PROMPTS} prompts or images of either kind, "
        "nor if all draws give the same AUC.",
        "Images of all prompts are compared with each other, so a quantity may also predict through properties of the prompt. "
        "A predictor is not necessarily a cause.",
        "An entity is missing if the oracle does not find its noun in any colour. The oracle is a network and can be wrong.",
    ]


def facts(study: Study) -> dict[str, str]:
    """Return the facts of the run, {name: text}."""
    images = f"{study.pictures}, of which {round(study.missing * study.pictures)} miss an entity"
    return run_facts(study.run, images) | {"maps": f"{study.run.grid} pixels, {study.run.recorded_steps} steps"}


def plot(study: Study) -> str:
    """Return the AUC by step as an SVG file: a line with its interval for each quantity, and a line at chance."""

    def draw(axes: Any) -> None:
        axes.axhline(0.5, color=INK, linewidth=1)
        for pen, quantity in zip(PENS[1:], QUANTITIES, strict=False):
            rows = list(_by_step(study, quantity.name))
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


def _by_step(study: Study, quantity: str) -> Iterator[AucRow]:
    return (row for row in study.rows if row.quantity == quantity and row.share is not None)


def _end(value: float, end: float | None) -> float:
    """Return an end of a value's interval, or the value if it has none because all draws are equal."""
    return value if end is None else end


def _ahead(study: Study, best: AucRow, other: AucRow) -> float:
    """Return the lower end of the interval of the lead of `best` over `other`, over all steps."""
    for d in study.differences:
        if d.step == "mean" and {d.quantity, d.other} == {best.quantity, other.quantity}:
            mine = d.quantity == best.quantity
            return _end(d.difference, d.low) if mine else -_end(d.difference, d.high)
    raise KeyError(best.quantity, other.quantity)


def _auc(row: AucRow, prefix: str = "") -> str:
    ends = interval(row.low, row.high, "{:.2f}".format)
    return f"{row.auc:.2f}" + f" ({prefix}{ends})" * bool(ends)


def _difference(difference: AucDifference) -> str:
    return with_interval(difference.difference, difference.low, difference.high, _signed)


def _signed(value: float) -> str:
    """Return a difference with its sign; one that rounds to zero has no sign."""
    return "0.00" if abs(value) < 0.005 else f"{value:+.2f}".replace("-", "−")
