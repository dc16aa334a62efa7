"""Why entities go missing: which quantity of the unguided maps tells pictures that miss an entity from the others?

The question of Marioriyad et al. 2024, "Attention Overlap Is Responsible for the Entity Missing Problem", arXiv 2410.20972,
whose three hypotheses are that an entity goes missing where the nouns' maps have little intensity, a wide spread, or a
large overlap (`unbleed.losses.overlap` has the formulas).

How well a quantity predicts is said by the area under its ROC curve (AUC): the chance that of two pictures, one that misses
an entity and one that does not, the first has the higher value, a tie counting half (Hanley and McNeil, "The meaning and
use of the area under a receiver operating characteristic curve", 1982). Intensity counts with its sign turned, so that more
than 0.5 always speaks for the hypothesis, 0.5 is chance, and less speaks against it. The measure is ours.

Intervals are percentiles of the hierarchical bootstrap of `analysis.bootstrap`. All quantities and steps are read with
the same draw, so the differences of two quantities have intervals of their own. No interval is given below `MIN_PROMPTS`
prompts, or as many pictures of either kind, nor where all draws give the same AUC, as where a quantity tells without fail.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ...emoji.findings import Finding
from ...errors import BenchError
from ...losses.groups import TokenGroups, group_tokens
from ...losses.overlap import intensity, overlap_of, spread
from ...prompt import PromptTokens
from ..analysis.bootstrap import LEVEL, MIN_PROMPTS, Array, constant, resample
from ..metrics.oracle import score
from ..plan.plan import Plan

DRAWS = 2_000


class Quantity(NamedTuple):
    """A quantity of the maps, and what the hypothesis says of pictures that miss an entity."""

    name: str
    of: Callable[[Tensor, TokenGroups], Tensor]
    high: bool  # they have more of it than others


QUANTITIES = (Quantity("intensity", intensity, False), Quantity("spread", spread, True), Quantity("overlap", overlap_of, True))


@dataclass(frozen=True)
class Row:
    """The AUC of one quantity with its 95 % interval, if it has one; more than 0.5 speaks for the hypothesis."""

    quantity: str
    step: int | str  # from 0, or the name of a window over which the quantity was averaged first
    share: float | None  # of the run that is over at this step; None for a window
    auc: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Difference:
    """The AUC of `quantity` minus that of `other`, averaged over the same window, with its 95 % interval, if it has one."""

    quantity: str
    other: str
    step: str
    difference: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Causes:
    """What came of a study, and the facts of its run."""

    rows: tuple[Row, ...]
    differences: tuple[Difference, ...]
    pictures: int
    missing: float  # share of the pictures that miss an entity
    run: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        return {
            "rows": [asdict(row) for row in self.rows],
            "differences": [asdict(difference) for difference in self.differences],
            "pictures": self.pictures,
            "missing": self.missing,
        }


def measure(maps: Tensor, tokens: PromptTokens) -> dict[str, Tensor]:
    """Return {quantity: (step,)} of a picture's recorded maps, (step, token, height, width).

    Intensity is the mean attention that a place gives, from 0 to 1; spread is in square cells of the maps' grid; overlap has
    no unit.
    """
    groups = group_tokens([tokens] * len(maps))
    return {quantity.name: quantity.of(maps, groups) for quantity in QUANTITIES}


def windows(steps: int) -> dict[str, list[int]]:
    """Return the steps over which a quantity is averaged: all of them, and each third of the run.

    >>> windows(4)
    {'mean': [0, 1, 2, 3], 'first third': [0, 1], 'middle third': [2], 'last third': [3]}
    """
    thirds = np.array_split(np.arange(steps), 3)
    names = ("first third", "middle third", "last third")
    return {"mean": list(range(steps))} | {name: third.tolist() for name, third in zip(names, thirds, strict=True)}


def auc(scores: Array, positive: NDArray[np.bool_], weights: NDArray[Any] | None = None) -> Array:
    """Return the area under the ROC curve of `scores` (picture,) for `positive` (picture,), once for each row of `weights`.

    `weights` (..., picture) says how often each picture counts, once where it is None; the result has the shape (...).
    It is the share of pairs of a positive and a negative picture in which the positive one has the higher score; a tie
    counts half. Every row must count at least one picture of both kinds.

    >>> float(auc(np.array([0.1, 0.4, 0.4, 0.8]), np.array([False, False, True, True])))
    0.875
    """
    counts = np.ones(len(scores)) if weights is None else np.asarray(weights, dtype=np.float64)
    order = np.flatnonzero(~positive)[np.argsort(scores[~positive])]  # the negative pictures, the lowest first
    lowest = np.zeros((*counts.shape[:-1], len(order) + 1))  # how often the so many lowest of them count
    np.cumsum(counts[..., order], axis=-1, out=lowest[..., 1:])
    below, upto = (np.searchsorted(scores[order], scores[positive], side) for side in ("left", "right"))
    beaten = (lowest[..., below] + lowest[..., upto]) / 2  # by each positive picture, (..., positive picture)
    won = counts[..., positive]
    return np.einsum("...i,...i->...", won, beaten) / (won.sum(axis=-1) * lowest[..., -1])


def compare(
    values: Array, missing: NDArray[np.bool_], *, draws: int = DRAWS, seed: int = 0
) -> tuple[tuple[Row, ...], tuple[Difference, ...]]:
    """Return the AUC of each quantity at each step and over each window, and the differences over the windows.

    `values` (quantity, step, prompt, seed), the quantities in the order of `QUANTITIES`; `missing` (prompt, seed). A draw of
    the bootstrap in which all pictures, or none, miss an entity has no AUC and is passed over.

    Raises `BenchError` when all of the pictures, or none, miss an entity.
    """
    lost = missing.ravel()
    if lost.all() or not lost.any():
        raise BenchError(
            f"{'all' if lost.all() else 'none'} of the {lost.size} pictures miss an entity, so no quantity can tell the ones "
            "that do from the others; take more prompts or seeds, or another suite or guidance scale"
        )
    steps = values.shape[1]
    signed = values * np.array([1 if quantity.high else -1 for quantity in QUANTITIES])[:, None, None, None]
    columns = [[step] for step in range(steps)] + list(windows(steps).values())
    averaged = np.stack([signed[:, column].mean(axis=1) for column in columns], axis=1)
    scores = averaged.reshape(*averaged.shape[:2], -1)  # (quantity, column, picture)

    def of(weights: NDArray[Any]) -> Array:
        """Return the AUCs, (quantity, column, draw), for weights (draw, picture)."""
        return np.array([[auc(column, lost, weights) for column in quantity] for quantity in scores])

    found = of(np.ones((1, lost.size)))[..., 0]
    drawn = []
    prompts, seeds = missing.shape
    for taken in resample(prompts, seeds, draws, seed):
        weights = taken.reshape(len(taken), -1).astype(np.float64)
        drawn.append(of(weights[(weights[:, lost].sum(axis=1) > 0) & (weights[:, ~lost].sum(axis=1) > 0)]))
    every = np.moveaxis(np.concatenate(drawn, axis=-1), -1, 0)  # (draw, quantity, column)
    enough = min(prompts, int(lost.sum()), int((~lost).sum())) >= MIN_PROMPTS
    names: list[tuple[int | str, float | None]] = [(step, step / steps) for step in range(steps)]
    names += [(window, None) for window in windows(steps)]
    rows = tuple(
        Row(quantity.name, step, share, float(found[q, c]), *_interval(every[:, q, c], enough))
        for q, quantity in enumerate(QUANTITIES)
        for c, (step, share) in enumerate(names)
    )
    differences = []
    for (b, other), (a, quantity) in combinations(enumerate(QUANTITIES), 2):
        differences += [
            Difference(
                quantity.name,
                other.name,
                window,
                float(found[a, c] - found[b, c]),
                *_interval(every[:, a, c] - every[:, b, c], enough),
            )
            for c, window in enumerate(windows(steps), start=steps)
        ]
    return rows, tuple(differences)


def _interval(drawn: Array, enough: bool) -> tuple[float, float] | tuple[None, None]:
    """Return the low and the high end of what was drawn, (draw,); none where it does not support an interval."""
    if not enough or constant(drawn):
        return None, None
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def build(plan: Plan, rows: Sequence[Sequence[Mapping[str, Any]]], *, draws: int = DRAWS, date: str = "") -> Causes:
    """Return what the rows of a study say, given as (prompt, seed) in the order of the plan's cases.

    A row holds a finding of the judge, and for each quantity its values by step. Raises `BenchError` as `compare` does.
    """
    of_pictures = [[[row[quantity.name] for quantity in QUANTITIES] for row in seeds] for seeds in rows]
    values = np.moveaxis(np.asarray(of_pictures, dtype=np.float64), (2, 3), (0, 1))  # (quantity, step, prompt, seed)
    missing = np.array(
        [
            [not score(case, Finding.from_json(row["finding"]))["all_present"] for row in seeds]
            for case, seeds in zip(plan.suite.cases, rows, strict=True)
        ]
    )
    found, differences = compare(values, missing, draws=draws)
    height, width = rows[0][0]["grid"]
    facts = {
        "date": date,
        "prompts": len(rows),
        "prompts_left_out": 0,
        "grid": f"{height}x{width}",
        "recorded_steps": values.shape[1],
        "draws": draws,
    }
    return Causes(found, differences, missing.size, float(missing.mean()), plan.to_json() | facts)
