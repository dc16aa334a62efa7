"""Copy a report of `unbleed bench` into these docs: Markdown, CSV, figures and a small contact sheet.

python tools/landed_results.py RUN DIR                 # RUN: the folder of a finished run; DIR: docs/results/NAME
python tools/merged_results.py RUN DIR NAME            # one method alone

Writes report.md, rows.csv, differences.svg, cost.svg and sheet.webp. README.md beside them is written by hand.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from unbleed import estimate, figures
from unbleed.bench.analysis import summary as comparison
from unbleed.bench.analysis.summary import Report, ScoreRow
from unbleed.bench.reporting import writer as report
from unbleed.bench.reporting.plots import INK, PENS, svg_on_paper
from unbleed.bench.scoring.run_folder import open_folder

SHOWN = ("all_correct", "all_present", "all_bound")
PROMPTS, SIDE = 8, 80
BESIDE, APART = 1.5, 2.0  # in the plot of cost: multiples of the baseline, and points between labels


def differences(built: Report) -> str:
    """Return a plot of three scores with a line per method, the best on top."""
    of = {(row.method, row.metric): row for row in built.rows if row.difference is not None}
    methods = sorted({method for method, _ in of}, key=lambda method: of[method, SHOWN[0]].difference or 0)
    titles = {score.name: score.title for score in built.scores}

    def draw(axes: Any) -> None:
        axes.axvline(0, color=INK, linewidth=1)
        for number, (name, pen, shape) in enumerate(zip(SHOWN, PENS[1:], "os^", strict=False)):
            for line, method in enumerate(methods):
                low, mean, high = (100 * (value or 0) for value in ends(of[method, name]))
                y = [line + 0.22 * (1 - number)] * 3
                mark = "none" if of[method, name].p_holm is None or not of[method, name].significant else pen
                axes.plot([low, high], y[:2], "-", color=pen, linewidth=1.6)
                label = titles[name] if line == 0 else None
                axes.plot([mean], y[:1], shape, color=pen, markersize=6, markerfacecolor=mark, label=label)
        axes.set(xlabel=f"points more than {built.baseline}", yticks=range(len(methods)), yticklabels=methods)
        axes.set_ylim(-0.6, len(methods) - 0.4)
        axes.legend(loc="lower right", fontsize=12)

    return svg_on_paper(f"Differences to {built.baseline}", 760, 60 + 30 * len(methods), draw)


def ends(row: ScoreRow) -> tuple[float | None, float | None, float | None]:
    return row.difference_low, row.difference, row.difference_high


def estimated(label: str, model: str, steps: int) -> float:
    """Return the operations of a method with settings of its own, relative to the unguided run."""
    from unbleed.loading import load
    from unbleed.model_settings import method_of

    return estimate(load(model), method_of(label, model), steps=steps).ratio


def over_cost(built: Report) -> str:
    """Return a plot of the first score over the operations per image, as multiples of the baseline's.

    Operations were counted by `method_pages.py measure`, or are estimated; seconds would depend on the machine's other load.
    """
    measured = json.loads((Path(__file__).parents[1] / "docs/methods/measured.json").read_text())
    costs = {name: one["forwards"] / one["unguided_forwards"] for name, one in measured.items()} | {built.baseline: 1.0}
    rows = [row for row in built.rows if row.metric == SHOWN[0]]

    def cost(label: str) -> float:
        drawn = re.fullmatch(r"best-of-(\d+)", label)
        if label not in costs:
            costs[label] = float(drawn[1]) if drawn else estimated(label, built.run.model, built.run.steps or 0)
        return costs[label]

    def draw(axes: Any) -> None:
        axes.axhline(100 * next(row.mean for row in rows if row.method == built.baseline), color=INK, linewidth=0.6)
        below = -math.inf
        for row in sorted(rows, key=lambda row: row.mean):
            x, y, pen = cost(row.method), 100 * row.mean, PENS[2 if row.method == built.baseline else 1]
            axes.plot([x], [y], "o", color=pen, markersize=5)
            at = (max(BESIDE, x) + 0.06, y)
            if x < BESIDE:  # most methods are here: put their names in a column, so that they do not overlap
                at = (at[0], below := max(y, below + APART))
                axes.plot([x, at[0] - 0.02], [y, at[1]], "-", color=INK, linewidth=0.3)
            axes.annotate(row.method, at, va="center", fontsize=9, color=INK)
        axes.set_xlim(0.9, max(cost(row.method) for row in rows) + 0.6)
        axes.set(xlabel=f"operations per image, relative to {built.baseline}", ylabel="images all-correct, %")

    return svg_on_paper("All-correct images and their cost", 760, 620, draw)


def sheet(built: Report, labels: Sequence[str] = ()) -> Image.Image:
    """Return a row of images per method: random prompts, and the first seed of each.

    `labels` are the methods that have a row, by default those of the run; the row of any other method is blank.
    """
    cases = sorted({picture.case for picture in built.images})
    chosen = random.Random(0).sample(cases, min(PROMPTS, len(cases)))
    seed = min(picture.seed for picture in built.images)
    own = [contender.label for contender in built.contenders]
    rows: list[list[Image.Image | None]] = []
    for label in labels or own:
        pictures = [built.image_of[label, case, seed] for case in chosen] if label in own else []
        rows.append([figures.enlarge(Image.open(picture.image).convert("RGB"), SIDE) for picture in pictures])
    prompts = "; ".join(f"“{built.cases[case].prompt}”" for case in chosen)
    return figures.grid(rows, labels=labels or own, note=f"Seed {seed}, random prompts, from left to right: {prompts}.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--partial", action="store_true", help="of a run that was stopped, the prompts that are finished")
    given = parser.parse_args()
    run = open_folder(given.run, allow_partial=given.partial)
    built = comparison.build(run.plan, run.results, metrics=run.metrics, date=run.date, cautions=run.cautions)
    files = report.write(built, given.run)
    given.folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(files["md"], given.folder / "report.md")
    shutil.copy(files["rows"], given.folder / "rows.csv")
    (given.folder / "differences.svg").write_text(differences(built), encoding="utf-8")
    (given.folder / "cost.svg").write_text(over_cost(built), encoding="utf-8")
    sheet(built).save(given.folder / "sheet.webp", "WEBP", quality=80, method=6)


if __name__ == "__main__":
    main()
