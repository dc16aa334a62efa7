"""One method of a report in these docs, sampled anew or added, without sampling the others.

python tools/merged_results.py RUN DIR NAME            # RUN: a finished run of the baseline and NAME; DIR: docs/results/NAME

Prompts, seeds and bootstrap draws are the same in every run of a suite. So the rows of a method do not depend on the other
methods of its run, except for Holm's correction, which is recomputed. That requires the baseline's figures to agree to the
last digit, which is checked. Seconds are left out, because they are not comparable. Writes the files of `landed_results.py`;
README.md beside them is written by hand.
"""

from __future__ import annotations

import argparse
import csv
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import astuple, fields, replace
from pathlib import Path

import numpy as np
from PIL import Image

import landed_results as landed
from unbleed import figures
from unbleed.bench.analysis import summary as comparison
from unbleed.bench.analysis.bootstrap import holm
from unbleed.bench.analysis.summary import Report, ScoreRow
from unbleed.bench.plan.variants import Variant
from unbleed.bench.reporting.markdown import markdown
from unbleed.bench.reporting.text import notes, result
from unbleed.bench.reporting.writer import csv_text
from unbleed.bench.scoring.run_folder import open_folder

Groups = Mapping[str, Sequence[ScoreRow]]
TOP, GAP = 12, 8  # pixels of the sheet above the first row of images, and below each row
FIXED = "## Fixed and broken images"
FORMER = {"## Mended and spoilt\n": f"{FIXED}\n", "\n- pictures: ": "\n- images: "}  # wording of older reports


def read(path: Path) -> dict[str, list[ScoreRow]]:
    """Return {group: rows} of a report; intervals of values without spread are dropped, as in new reports."""
    groups: dict[str, list[ScoreRow]] = {}
    for line in csv.DictReader(path.read_text().splitlines()):
        values = {f.name: line[f.name] if f.name in ("method", "metric") else _number(line[f.name]) for f in fields(ScoreRow)}
        row = ScoreRow(**{**values, "pictures": int(line["pictures"])})  # type: ignore[arg-type]
        row = replace(row, low=None, high=None) if row.low == row.high else row
        flat = row.difference_low == row.difference_high
        row = replace(row, difference_low=None, difference_high=None, p=None, p_holm=None) if flat else row
        groups.setdefault(line["group"], []).append(row)
    return groups


def _number(text: str) -> float | None:
    return float(text) if text else None


def merge(old: Groups, new: Groups, name: str, baseline: str) -> dict[str, list[ScoreRow]]:
    """Return the rows of `old` with those of the method `name` from `new`; a new method goes before best-of-N."""
    merged = {}
    for group, rows in old.items():
        base = {row.metric: row for row in rows if row.method == baseline}
        for row in new[group]:
            if row.method == baseline and not _same(row, base[row.metric]):
                sys.exit(f"{baseline} has another {row.metric} in {group} than in the docs: sample all methods")
        own = [replace(row, seconds_per_picture=None, relative_seconds=None) for row in new[group] if row.method == name]
        order = list(dict.fromkeys(row.method for row in rows))
        if name not in order:
            order.insert(next((at for at, label in enumerate(order) if label.startswith("best-of-")), len(order)), name)
        by_method = {label: [row for row in rows if row.method == label] for label in order} | {name: own}
        merged[group] = _adjusted([row for label in order for row in by_method[label]])
    return merged


def _same(one: ScoreRow, other: ScoreRow) -> bool:
    def near(a: float | None, b: float | None) -> bool:
        return a == b or (a is not None and b is not None and math.isclose(a, b, abs_tol=1e-9))

    return one.pictures == other.pictures and all(near(getattr(one, k), getattr(other, k)) for k in ("mean", "low", "high"))


def _adjusted(rows: Sequence[ScoreRow]) -> list[ScoreRow]:
    """Return rows with Holm's correction over all methods of each metric."""
    adjusted: dict[tuple[str, str], float] = {}
    for metric in {row.metric for row in rows}:
        tested = [row for row in rows if row.metric == metric and row.p is not None]
        found = holm(np.array([row.p for row in tested], dtype=float)).tolist() if tested else []
        adjusted |= {(row.method, metric): p for row, p in zip(tested, found, strict=True)}
    return [replace(row, p_holm=adjusted.get((row.method, row.metric))) for row in rows]


def merged_markdown(old: str, own: Report, whole: Report, name: str) -> str:
    """Return the Markdown of all methods: new tables and notes; lines that need images are copied from `old` and `own`."""
    apart = replace(whole, run=replace(whole.run, contenders=own.contenders))  # the others have no images here
    new = markdown(apart)
    for former, wording in FORMER.items():
        old = old.replace(former, wording)
    fixed, measured = old.split(f"\n{FIXED}\n")[1].split("\n## How this was measured\n")
    tables = new.split(f"\n{FIXED}\n")[0].replace(result(apart), result(whole))
    changed = _with_line(fixed.strip().splitlines(), new, f"- {name} ")
    scores = [f"- {score.title}: {score.about}" for score in whole.scores]
    how = "\n".join([*scores, "", *(f"- {note}" for note in notes(whole))])
    facts = ("- suite: " + measured.split("\n- suite: ")[1]).splitlines()
    drawn = f"- {name}: sampled separately on {own.run.date}, with {own.baseline}; its seconds are not comparable"
    facts = [line for line in _with_line(facts, new, f"- settings of {name}: ") if not line.startswith(f"- {name}: ")]
    facts = [_counted(line, whole) for line in facts]
    facts.insert(next(at for at, line in enumerate(facts) if line.startswith("- settings of ")), drawn)
    sections = [tables.rstrip(), FIXED, "\n".join(changed), "## How this was measured", how]
    return "\n\n".join([*sections, "\n".join(facts)]) + "\n"


def _counted(line: str, whole: Report) -> str:
    pictures = sum(row.pictures for row in whole.rows if row.metric == whole.scores[0].name)
    return f"- images: {pictures} of {len(whole.contenders)} methods" if line.startswith("- images: ") else line


def _with_line(lines: Sequence[str], new: str, start: str) -> list[str]:
    """Return `lines` with the line of `new` that begins with `start` in place of their own, or added before best-of-N."""
    line = next(line for line in new.splitlines() if line.startswith(start))
    if any(own.startswith(start) for own in lines):
        return [line if own.startswith(start) else own for own in lines]
    before = "- settings of best-of-" if start.startswith("- settings of ") else "- best-of-"
    at = next((at for at, own in enumerate(lines) if own.startswith(before)), len(lines))
    return [*lines[:at], line, *lines[at:]]


def merged_sheet(old: Image.Image, own: Report, labels: Sequence[str], name: str, *, added: bool) -> Image.Image:
    """Return the contact sheet with the method's row of images; an `added` row moves the rows below it down."""
    sheet = landed.sheet(own, labels=labels)
    if sheet.width != old.width:
        sys.exit(f"{name} needs a sheet {sheet.width} pixels wide, and that of the docs has {old.width}: sample all methods")
    band = figures.enlarge(Image.open(own.images[0].image), landed.SIDE).height + GAP
    top = TOP + band * labels.index(name)
    merged = Image.new("RGB", (old.width, old.height + band * added), "white")
    merged.paste(old.crop((0, 0, old.width, top)), (0, 0))
    merged.paste(sheet.crop((0, top, old.width, top + band)), (0, top))
    below = top + band * (not added)
    merged.paste(old.crop((0, below, old.width, old.height)), (0, top + band))
    return merged


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("name")
    given = parser.parse_args()
    run = open_folder(given.run)
    own = comparison.build(run.plan, run.results, metrics=run.metrics, date=run.date, cautions=run.cautions)
    old, new = read(given.folder / "rows.csv"), {"all": own.rows, **own.subsets}
    groups = merge(old, new, given.name, own.baseline)
    labels = list(dict.fromkeys(row.method for row in groups["all"]))
    known = {contender.label: contender for contender in own.contenders}
    contenders = tuple(known.get(label) or _stand_in(label) for label in labels)
    every, subsets = tuple(groups["all"]), {group: tuple(rows) for group, rows in groups.items() if group != "all"}
    whole = replace(own, rows=every, subsets=subsets, run=replace(own.run, contenders=contenders))
    text = merged_markdown((given.folder / "report.md").read_text(), own, whole, given.name)
    rows = [[group, *astuple(row)] for group, rows in groups.items() for row in rows]
    added = given.name not in {row.method for row in old["all"]}
    picture = merged_sheet(Image.open(given.folder / "sheet.webp").convert("RGB"), own, labels, given.name, added=added)
    (given.folder / "report.md").write_text(text, encoding="utf-8")
    (given.folder / "rows.csv").write_text(csv_text(["group", *(f.name for f in fields(ScoreRow))], rows), encoding="utf-8")
    (given.folder / "differences.svg").write_text(landed.differences(whole), encoding="utf-8")
    (given.folder / "cost.svg").write_text(landed.over_cost(whole), encoding="utf-8")
    picture.save(given.folder / "sheet.webp", "WEBP", quality=80, method=6)


def _stand_in(label: str) -> Variant:
    """Return a variant of which only the report is left."""
    return Variant(label, label, {}, draws=2 if label.startswith("best-of-") else 1)


if __name__ == "__main__":
    main()
