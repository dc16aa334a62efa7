"""Why entities go missing: which quantity of the unguided attention maps predicts that an image misses an entity?

This is the question of Marioriyad et al. 2024, "Attention Overlap Is Responsible for the Entity Missing Problem", arXiv
2410.20972. Its three hypotheses are that an entity goes missing if the nouns' maps have low intensity, a wide spread, or a
large overlap (`unbleed.losses.overlap` has the formulas).

The measure, which is ours, is the area under the ROC curve (AUC): the probability that of two images, one that misses an entity
and one that does not, the first has the higher value, with ties counting half (Hanley and McNeil, "The meaning and use of the
area under a receiver operating characteristic curve", 1982). The sign of intensity is flipped, so that an AUC above 0.5 always
supports the hypothesis, 0.5 is chance, and less contradicts it.

Intervals are percentiles of the hierarchical bootstrap of `analysis.bootstrap`. All quantities and steps use the same draws, so
differences between quantities have intervals, too. There is no interval with fewer than `MIN_PROMPTS` prompts or as few
images of either kind, or if all draws give the same AUC, as for a perfect predictor.
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
from ..analysis.facts import RunFacts, facts_of
from ..metrics.oracle import score
from ..plan.plan import Plan

DRAWS = 2_000


class Quantity(NamedTuple):
    """A quantity of the maps, and its hypothesis about images that miss an entity."""

    name: str
    of: Callable[[Tensor, TokenGroups], Tensor]
    high: bool  # whether such images should have high values


QUANTITIES = (Quantity("intensity", intensity, False), Quantity("spread", spread, True), Quantity("overlap", overlap_of, True))


@dataclass(frozen=True)
class AucRow:
    """The AUC of one quantity with its 95 % interval, if it has one; above 0.5 it supports the hypothesis."""

    quantity: str
    step: int | str  # from 0, or the name of a window over which the quantity is averaged
    share: float | None  # fraction of the run completed before this step; None for a window
    auc: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class AucDifference:
    """The AUC of `quantity` minus that of `other` over the same window, with its 95 % interval, if it has one."""

    quantity: str
    other: str
    step: str
    difference: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class StudyFacts(RunFacts):
    """The facts of a study's run."""

    grid: str  # height x width of the maps
    recorded_steps: int
    draws: int  # of the bootstrap


@dataclass(frozen=True)
class Study:
    """The results of a study and the facts of its run."""

    rows: tuple[AucRow, ...]
    differences: tuple[AucDifference, ...]
    pictures: int
    missing: float  # fraction of the images that miss an entity
    run: StudyFacts

    def to_json(self) -> dict[str, Any]:
        return {
            "rows": [asdict(row) for row in self.rows],
            "differences": [asdict(difference) for difference in self.differences],
            "pictures": self.pictures,
            "missing": self.missing,
        }


def quantities_of(maps: Tensor, tokens: PromptTokens) -> dict[str, Tensor]:
    """Return {quantity: values (step,)} of an image's recorded maps (step, token, height, width).

    Intensity is the mean attention per pixel, from 0 to 1; spread is in squared pixels of the maps; overlap has no unit.
    """
    groups = group_tokens([tokens] * len(maps))
    return {quantity.name: quantity.of(maps, groups) for quantity in QUANTITIES}


def windows(steps: int) -> dict[str, list[int]]:
    """Return {window: steps}: all steps, and each third of the run.

    >>> windows(4)
    {'mean': [0, 1, 2, 3], 'first third': [0, 1], 'middle third': [2], 'last third': [3]}
    """
    thirds = np.array_split(np.arange(steps), 3)
    names = ("first third", "middle third", "last third")
    return {"mean": list(range(steps))} | {name: third.tolist() for name, third in zip(names, thirds, strict=True)}


def auc(scores: Array, positive: NDArray[np.bool_], weights: NDArray[Any] | None = None) -> Array:
    """Return the area under the ROC curve of `scores` (image,) for `positive` (image,), for each row of `weights`.

    `weights` (..., image) are the numbers of copies of each image, by default one; the result has the shape (...). The AUC is
    the fraction of pairs of a positive and a negative image in which the positive one has the higher score; ties count half.
    Every row must contain at least one image of each kind.

    >>> float(auc(np.array([0.1, 0.4, 0.4, 0.8]), np.array([False, False, True, True])))
    0.875
    """
    counts = np.ones(len(scores)) if weights is None else np.asarray(weights, dtype=np.float64)
    order = np.flatnonzero(~positive)[np.argsort(scores[~positive])]  # the negative images, the lowest first
    cumulative = np.zeros((*counts.shape[:-1], len(order) + 1))  # weight of the n lowest of them, for each n
    np.cumsum(counts[..., order], axis=-1, out=cumulative[..., 1:])
    below, upto = (np.searchsorted(scores[order], scores[positive], side) for side in ("left", "right"))
    beaten = (cumulative[..., below] + cumulative[..., upto]) / 2  # by each positive image, (..., positive image)
    own = counts[..., positive]
    return np.einsum("...i,...i->...", own, beaten) / (own.sum(axis=-1) * cumulative[..., -1])


def compare_quantities(
    values: Array, missing: NDArray[np.bool_], *, draws: int = DRAWS, seed: int = 0
) -> tuple[tuple[AucRow, ...], tuple[AucDifference, ...]]:
    """Return the AUC of each quantity at each step and over each window, and the differences over the windows.

    `values` (quantity, step, prompt, seed) has the quantities in the order of `QUANTITIES`; `missing` is (prompt, seed).
    Bootstrap draws in which all images or none miss an entity have no AUC and are skipped.

    Raises `BenchError` if all images or none miss an entity.
    """
    lost = missing.ravel()
    if lost.all() or not lost.any():
        raise BenchError(
            f"{'all' if lost.all() else 'none'} of the {lost.size} images miss an entity, so there is nothing to predict; use "
            "more prompts or seeds, or another suite or guidance scale"
        )
    steps = values.shape[1]
    signed = values * np.array([1 if quantity.high else -1 for quantity in QUANTITIES])[:, None, None, None]
    columns = [[step] for step in range(steps)] + list(windows(steps).values())
    averaged = np.stack([signed[:, column].mean(axis=1) for column in columns], axis=1)
    scores = averaged.reshape(*averaged.shape[:2], -1)  # (quantity, column, image)

    def aucs(weights: NDArray[Any]) -> Array:
        """Return the AUCs (quantity, column, draw) for weights (draw, image)."""
        return np.array([[auc(column, lost, weights) for column in quantity] for quantity in scores])

    found = aucs(np.ones((1, lost.size)))[..., 0]
    drawn = []
    prompts, seeds = missing.shape
    for taken in resample(prompts, seeds, draws, seed):
        weights = taken.reshape(len(taken), -1).astype(np.float64)
        drawn.append(aucs(weights[(weights[:, lost].sum(axis=1) > 0) & (weights[:, ~lost].sum(axis=1) > 0)]))
    every = np.moveaxis(np.concatenate(drawn, axis=-1), -1, 0)  # (draw, quantity, column)
    supported = min(prompts, int(lost.sum()), int((~lost).sum())) >= MIN_PROMPTS
    names: list[tuple[int | str, float | None]] = [(step, step / steps) for step in range(steps)]
    names += [(window, None) for window in windows(steps)]
    rows = tuple(
        AucRow(quantity.name, step, share, float(found[q, c]), *_interval(every[:, q, c], supported))
        for q, quantity in enumerate(QUANTITIES)
        for c, (step, share) in enumerate(names)
    )
    differences = []
    for (b, other), (a, quantity) in combinations(enumerate(QUANTITIES), 2):
        differences += [
            AucDifference(
                quantity.name,
                other.name,
                window,
                float(found[a, c] - found[b, c]),
                *_interval(every[:, a, c] - every[:, b, c], supported),
            )
            for c, window in enumerate(windows(steps), start=steps)
        ]
    return rows, tuple(differences)


def _interval(drawn: Array, supported: bool) -> tuple[float, float] | tuple[None, None]:
    """Return the ends of the interval of the draws (draw,); None if they do not support one."""
    if not supported or constant(drawn):
        return None, None
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def build(plan: Plan, rows: Sequence[Sequence[Mapping[str, Any]]], *, draws: int = DRAWS, date: str = "") -> Study:
    """Return the results of a study from its rows, (prompt, seed) in the order of the plan's cases.

    A row has the things found in the image, and each quantity's values by step. Raises `BenchError` as `compare_quantities`
    does.
    """
    nested = [[[row[quantity.name] for quantity in QUANTITIES] for row in seeds] for seeds in rows]
    values = np.moveaxis(np.asarray(nested, dtype=np.float64), (2, 3), (0, 1))  # (quantity, step, prompt, seed)
    missing = np.array(
        [
            [not score(case, Finding.from_json(row["finding"]))["all_present"] for row in seeds]
            for case, seeds in zip(plan.suite.cases, rows, strict=True)
        ]
    )
    found, differences = compare_quantities(values, missing, draws=draws)
    height, width = rows[0][0]["grid"]
    facts = StudyFacts(
        **vars(facts_of(plan, date=date, prompts=len(rows), prompts_left_out=0, pictures=missing.size)),
        grid=f"{height}x{width}",
        recorded_steps=values.shape[1],
        draws=draws,
    )
    return Study(found, differences, missing.size, float(missing.mean()), facts)
