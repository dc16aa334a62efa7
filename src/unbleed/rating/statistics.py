"""Statistics of paired comparisons, in numpy.

An answer is 1 where the first method won, 0 where the second did, and 1/2 for a tie. Answers to one prompt resemble each other,
and so do answers of one rater, so neither the answer nor the prompt alone is the unit. Variances are clustered both ways, by
prompt and by rater (Cameron, Gelbach and Miller, "Robust inference with multiway clustering", Journal of Business and Economic
Statistics 29(2), 2011):

    V = V_prompt + V_rater - V_prompt&rater,    never less than V_prompt or V_rater

where V_c = G / (G - 1) * sum over the G clusters of (sum of the influences of its answers)^2. Intervals are Student's with
Satterthwaite's degrees of freedom, V^2 / sum of V_c^2 / (G_c - 1), and are made on the scale of log-odds, so that they stay
between 0 and 1. With a full design and normal effects, this is the analysis of variance of two crossed random factors.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Index = NDArray[np.int64]

LEVEL = 0.95


def clustered(influence: Array, prompts: Index, raters: Index) -> tuple[float, float]:
    """Return the variance of an estimate, and its degrees of freedom.

    Args:
        influence: of each answer on the estimate, (answer,): the estimate's error is about their sum.
        prompts: the prompt of each answer, (answer,), from 0.
        raters: the rater of each answer, (answer,), from 0.

    Where all answers are of one rater, that rater is taken as given, and prompts alone vary.
    """
    variances, freedom = [], []
    kinds = [prompts] if len(np.unique(raters)) == 1 else [prompts, raters, prompts * (raters.max() + 1) + raters]
    for clusters in kinds:
        _, index = np.unique(clusters, return_inverse=True)
        sums = np.bincount(index, weights=influence)
        count = len(sums)
        variances.append(count / (count - 1) * float(sums @ sums) if count > 1 else 0.0)
        freedom.append(max(count - 1, 1))
    if len(kinds) == 1:
        return variances[0], freedom[0]
    by_prompt, by_rater, by_both = variances
    total = by_prompt + by_rater - by_both
    if total < max(by_prompt, by_rater):
        return max(zip(variances[:2], freedom[:2], strict=True))
    return total, max(1.0, total**2 / sum(v**2 / f for v, f in zip(variances, freedom, strict=True)))


def strengths(values: Array, first: Index, second: Index, methods: int) -> tuple[Array, Array]:
    """Return the Bradley-Terry strengths of the methods, and the influence of every answer on them.

    Args:
        values: 1 where the first method won, 0 where the second did, 1/2 for a tie, (answer,).
        first: index of the first method of each answer, (answer,).
        second: index of the second, (answer,).
        methods: how many there are.

    Returns:
        Strengths (method,), in log-odds, with a mean of 0: method a beats b with the odds exp(strength a - strength b). And
        influences (answer, method). Both are nan where a group of methods won, or lost, every comparison with all others: the
        likelihood has no maximum (Ford, "Solution of a ranking problem from binary comparisons", 1957).

    Ties count as half a win for both. The maximum of the likelihood is found by Newton's method.

    >>> values, first, second = np.array([1.0, 1.0, 1.0, 0.0]), np.zeros(4, int), np.ones(4, int)
    >>> found, _ = strengths(values, first, second, 2)
    >>> round(float(np.exp(found[0] - found[1])), 6)
    3.0
    """
    wins = np.zeros((methods, methods))
    np.add.at(wins, (first, second), values)
    np.add.at(wins, (second, first), 1 - values)
    if not _connected(wins):
        return np.full(methods, np.nan), np.full((len(values), methods), np.nan)
    design = np.zeros((len(values), methods))
    rows = np.arange(len(values))
    design[rows, first], design[rows, second] = 1.0, -1.0
    found = np.zeros(methods)
    for _ in range(100):
        chance = 1 / (1 + np.exp(-(design @ found)))
        information = (design * (chance * (1 - chance))[:, None]).T @ design
        inverse = np.linalg.inv(information + 1.0)  # it is singular along equal strengths, where the score is 0
        step = inverse @ (design.T @ (values - chance))
        found += step * min(1.0, 2.0 / max(float(np.abs(step).max()), 1e-300))  # far from the maximum, Newton's steps overshoot
        if np.abs(step).max() < 1e-10:
            break
    return found, (design * (values - chance)[:, None]) @ inverse


def _connected(wins: Array) -> bool:
    """Return whether every method beat every other, if only through a chain of methods."""
    reached = (wins > 0) | np.eye(len(wins), dtype=bool)
    for _ in range(len(wins)):
        reached = (reached.astype(int) @ reached.astype(int)) > 0
    return bool(reached.all())


def interval(estimate: float, variance: float, freedom: float) -> tuple[float, float]:
    """Return the ends of the interval of an estimate."""
    half = student_quantile((1 + LEVEL) / 2, freedom) * math.sqrt(variance)
    return estimate - half, estimate + half


def win_rate_interval(values: Array, prompts: Index, raters: Index) -> tuple[float, float]:
    """Return the interval of the mean of values from 0 to 1; nan where all answers are equal, which show no spread.

    >>> values, ids = np.tile([1.0, 1.0, 0.0], 10), np.arange(30)
    >>> [round(end, 3) for end in win_rate_interval(values, ids, np.zeros(30, int))]
    [0.472, 0.817]
    """
    mean = float(values.mean())
    slope = mean * (1 - mean)  # of the mean by its log-odds
    variance, freedom = clustered((values - mean) / (len(values) * slope), prompts, raters) if slope else (0.0, 1.0)
    if not variance:
        return math.nan, math.nan
    low, high = interval(math.log(mean / (1 - mean)), variance, freedom)
    return expit(low), expit(high)


def expit(value: float) -> float:
    """Return the chance of log-odds."""
    return 1 / (1 + math.exp(-value)) if value > -700 else 0.0


def student_quantile(chance: float, freedom: float) -> float:
    """Return the quantile of Student's t distribution; `freedom` need not be whole.

    With t = sqrt(freedom) tan(angle), the density of the angle is cos(angle) ** (freedom - 1), which is summed up.

    >>> round(student_quantile(0.975, 1), 3), round(student_quantile(0.975, 9.5), 3)
    (12.706, 2.244)
    """
    if freedom > 5_000:
        return NormalDist().inv_cdf(chance)
    angles = np.linspace(-np.pi / 2, np.pi / 2, 200_001)
    density = np.maximum(np.cos(angles), 0.0) ** (freedom - 1)
    summed = np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2)])
    return math.sqrt(freedom) * math.tan(float(np.interp(chance * summed[-1], summed, angles)))


def sign_test(wins: int, losses: int) -> float:
    """Return the exact two-sided p-value of so many wins and losses, where either is as likely; ties are left out.

    >>> sign_test(9, 1)
    0.021484375
    """
    count, fewer = wins + losses, min(wins, losses)
    tail = sum(math.comb(count, k) for k in range(fewer + 1))
    return min(1.0, 2 * tail / 2**count)


def krippendorff_alpha(units: Sequence[Sequence[str]]) -> float:
    """Return Krippendorff's alpha of nominal values; nan where no unit has two values, or all values are equal.

    1 is full agreement, 0 that of values dealt at random ("Computing Krippendorff's Alpha-Reliability", 2011).

    Args:
        units: the values that raters gave to each unit; a unit with fewer than two says nothing.

    >>> round(krippendorff_alpha([["a", "a"], ["a", "b"], ["b", "b"], ["b"]]), 4)
    0.4444
    """
    names = sorted({value for unit in units for value in unit})
    coincidences = np.zeros((len(names), len(names)))
    for unit in units:
        if len(unit) < 2:
            continue
        counts = np.array([unit.count(name) for name in names], dtype=np.float64)
        coincidences += (np.outer(counts, counts) - np.diag(counts)) / (len(unit) - 1)
    totals = coincidences.sum(axis=0)
    count = totals.sum()
    expected = count**2 - totals @ totals
    if not expected:
        return math.nan
    return float(1 - (count - 1) * (count - np.trace(coincidences)) / expected)
