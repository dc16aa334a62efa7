"""The folder of a benchmark run, to be browsed: one row for each prompt and seed, one column for each method."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from .. import schema
from ..bench.metrics.base import Score
from ..bench.reporting.captions import caption
from ..bench.reporting.number_format import with_unit
from ..bench.scoring.results import ImageRow
from ..bench.scoring.run_folder import RunFolder, open_folder
from ..bench.scoring.verdicts import is_verdict
from ..bench.storage.images import thumbnail
from ..errors import BenchError, StudioError

ROWS = 8  # on one page
THUMBNAIL = 192  # pixels
Kind = Literal["all", "won", "lost", "differ"]


@dataclass(frozen=True)
class Wanted:
    """What is to be seen of a run.

    Args:
        page: Page, from 0.
        group: A group of prompts; empty for all.
        kind: `won` and `lost` against the baseline by any method, `differ` for both.
        text: A text that the prompt contains.
    """

    page: int = 0
    group: str = ""
    kind: Kind = "all"
    text: str = ""


@dataclass(frozen=True)
class RunTable:
    """A run that the command line named. Its pictures are read through its own rows, never by a path from the page."""

    name: str
    run: RunFolder

    @cached_property
    def methods(self) -> list[str]:
        return [variant.label for variant in self.run.plan.contenders]

    @cached_property
    def baseline(self) -> int:
        return self.methods.index("none") if "none" in self.methods else 0

    @cached_property
    def primary(self) -> Score | None:
        images = self.run.results.images
        return next((s for s in self.run.results.scores if any(s.name in row.scores for row in images)), None)

    @cached_property
    def is_verdict(self) -> bool:
        return self.primary is not None and is_verdict(self.primary, self.run.results.images)

    @cached_property
    def rows(self) -> list[list[ImageRow]]:
        """The images of each prompt and seed, in the order of the methods."""
        by: dict[tuple[int, int], dict[str, ImageRow]] = {}
        for row in self.run.results.images:
            by.setdefault((row.case, row.seed), {})[row.method] = row
        return [[of[label] for label in self.methods] for of in by.values() if len(of) == len(self.methods)]

    @cached_property
    def groups(self) -> list[str]:
        cases = self.run.plan.suite.cases
        return sorted({group for row in self.rows for group in cases[row[0].case].groups})

    def means(self) -> list[str]:
        """Return the mean of the first score for each method, as text."""
        score = self.primary
        if score is None:
            return ["" for _ in self.methods]
        values = [
            [row[at].scores[score.name] for row in self.rows if score.name in row[at].scores] for at in range(len(self.methods))
        ]
        return [with_unit(score, float(np.mean(of))) if of else "" for of in values]

    def view(self, wanted: Wanted) -> dict[str, Any]:
        """Return a page of the run as plain data."""
        found = [row for row in self.rows if self._fits(row, wanted)]
        pages = max(1, -(-len(found) // ROWS))
        page = min(max(wanted.page, 0), pages - 1)
        shown = found[page * ROWS : (page + 1) * ROWS]
        return {
            "title": self.run.plan.title,
            "methods": self.methods,
            "means": self.means(),
            "score": self.primary.title if self.primary else "",
            "groups": self.groups,
            "wanted": {"page": page, "group": wanted.group, "kind": wanted.kind, "text": wanted.text},
            "pages": pages,
            "count": len(found),
            "total": len(self.rows),
            "rows": [self._shown(row) for row in shown],
        }

    def picture(self, index: int, method: int) -> tuple[ImageRow, Mapping[str, Any]]:
        """Return an image by its row and method, and the settings that it was drawn with.

        Raises:
            StudioError: there is no such row or method.
        """
        if not (0 <= index < len(self.rows) and 0 <= method < len(self.methods)):
            raise StudioError(f"there is no picture {index}, {method} in this run; choose one on the page")
        variant = self.run.plan.contenders[method]
        plan = self.run.plan
        values = {
            "prompt": self.rows[index][method].prompt,
            "method": variant.method,
            "settings": dict(variant.settings),
            "seed": self.rows[index][method].seed,
            "steps": plan.steps,
            "guidance_scale": plan.guidance_scale or 0.0,
        }
        return self.rows[index][method], values

    def _fits(self, row: Sequence[ImageRow], wanted: Wanted) -> bool:
        if wanted.group and wanted.group not in self.run.plan.suite.cases[row[0].case].groups:
            return False
        if wanted.text.lower() not in row[0].prompt.lower():
            return False
        if wanted.kind == "all" or self.primary is None:
            return True
        gains = [self._gain(row[self.baseline], one) for one in row]
        won, lost = any(gain > 0 for gain in gains), any(gain < 0 for gain in gains)
        return {"won": won, "lost": lost, "differ": won or lost}[wanted.kind]

    def _gain(self, before: ImageRow, after: ImageRow) -> float:
        score = self.primary
        if score is None or score.name not in before.scores or score.name not in after.scores:
            return 0.0
        return (after.scores[score.name] - before.scores[score.name]) * (1 if score.higher_is_better else -1)

    def _shown(self, row: Sequence[ImageRow]) -> dict[str, Any]:
        return {
            "index": self.rows.index(list(row)),
            "prompt": row[0].prompt,
            "seed": row[0].seed,
            "cells": [self._cell(image) for image in row],
        }

    def _cell(self, image: ImageRow) -> dict[str, Any]:
        right, words = caption(image, self.primary, verdict=self.is_verdict)
        try:
            data = base64.b64encode(thumbnail(image.image, THUMBNAIL, image.sha256)).decode()
        except BenchError:
            return {"picture": "", "right": None, "words": "its file is missing or damaged"}
        return {"picture": f"data:image/webp;base64,{data}", "right": right, "words": words}


def open_run_table(folder: Path) -> RunTable:
    """Return a run's folder, finished or not.

    Raises:
        BenchError: there is no run, or it has no finished prompt.
    """
    run = open_folder(folder, allow_partial=True)
    run_table = RunTable(folder.resolve().name, run)
    if not run_table.rows:
        raise BenchError(f"{folder} has no prompt with all its pictures; finish the run first")
    return run_table


def read_wanted(value: Any) -> Wanted:
    """Return what a page asks for; raise `StudioError` for anything else."""
    try:
        wanted = schema.check(value, Wanted)
    except schema.SchemaError as error:
        raise StudioError(str(error)) from None
    if len(wanted.text) > 200:
        raise StudioError(f"the text to search for has {len(wanted.text)} characters; expected at most 200")
    return wanted
