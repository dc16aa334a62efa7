"""Means of scores and differences between methods with intervals: a paired hierarchical bootstrap in numpy.

Images of one prompt are correlated, so prompts are resampled, not images (Davison and Hinkley, "Bootstrap Methods and their
Application", 1997, section 3.8). A draw takes prompts with replacement, then seeds with replacement within each prompt taken.
All methods and scores use the same draws: their images share prompts and seeds, so the difference of two methods varies less
than either of them, and two equal methods differ by exactly 0.

Limitations. Seeds are resampled from the few that exist. With one seed, only prompts vary. With a few, the variance over seeds
is counted once in the means of the prompts and in part again within them, so intervals are too wide: in simulations with four
seeds and 20 or 40 similar prompts, 99 % contained the true value. With fewer than about 20 prompts intervals may be too
narrow: with 10 prompts and one seed, 90 % contained it. The p-value inverts the interval: it is the level at which the
interval just excludes 0, and cannot be below 2 / (draws + 1).

There is no interval and no p-value for a value over fewer than `MIN_PROMPTS` prompts, or if all draws are equal, as when all
images have the same value: resampling equal values shows nothing about another sample.

A score may be undefined for some prompts (nan); it is averaged over the others. For a mean over groups, prompts are resampled
within their group (stratified bootstrap), so that no draw leaves a group empty; its number of prompts is that of the smallest
group.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...errors import BenchError

Array = NDArray[np.float64]
Record = tuple[str, int, int, Sequence[float]]  # variant, prompt, seed, one value per metric

DRAWS = 10_000
LEVEL = 0.95
MIN_PROMPTS = 10  # with fewer there is no interval, p-value or standard error
FEW_PROMPTS = 20  # with fewer, intervals may be too narrow
_CHUNK = 500_000  # weights in memory at once
_WORK = 1e9  # weights per report, at about 15 ns each; a column of sums costs a hundredth of a weight


@dataclass(frozen=True)
class Sample:
    """Means of the scores and of their differences to the baseline, over all images and in every draw.

    `means` (kind, variant, metric) and `drawn` (draw, kind, variant, metric), where kind is 0 for scores and 1 for differences;
    `prompts` (metric,), the number of prompts resampled, which in a sum is that of the smallest stratum.
    """

    means: Array
    drawn: Array
    prompts: NDArray[np.int64]

    def __add__(self, other: Sample) -> Sample:
        """Return the sum with the sample of another stratum, which must be drawn with another `seed`."""
        return Sample(self.means + other.means, self.drawn + other.drawn, np.minimum(self.prompts, other.prompts))

    def __truediv__(self, count: int) -> Sample:
        return Sample(self.means / count, self.drawn / count, self.prompts)


@dataclass(frozen=True)
class Estimates:
    """Arrays (variant, metric). Differences are to the baseline; its own differences and p-values are nan.

    Intervals and p-values that the sample does not support are nan.
    """

    mean: Array
    low: Array
    high: Array
    difference: Array
    difference_low: Array
    difference_high: Array
    p: Array
    p_holm: Array


def arrange(records: Iterable[Record], labels: Sequence[str]) -> Array:
    """Return the records as an array (variant, metric, prompt, seed), with prompts and their seeds in ascending order.

    Raises `BenchError` unless all variants have the same seeds for each prompt and all prompts equally many.
    """
    found: dict[tuple[str, int], dict[int, Sequence[float]]] = {}
    for label, prompt, seed, values in records:
        found.setdefault((label, prompt), {})[seed] = values
    prompts = sorted({prompt for _, prompt in found})
    if not prompts:
        raise BenchError("there are no images to compare; sample some with: unbleed bench run")
    first = found.get((labels[0], prompts[0]), {})
    for prompt in prompts:
        expected = found.get((labels[0], prompt), {})
        for label in labels:
            seeds = found.get((label, prompt), {})
            if seeds.keys() != expected.keys() or len(seeds) != len(first):
                raise BenchError(
                    f"prompt {prompt} has seeds {sorted(seeds)} by {label} and {sorted(expected)} by {labels[0]}; expected the "
                    f"same {len(first)} for every method and equally many for every prompt; finish the run first"
                )
    table = [[[found[c, prompt][seed] for seed in sorted(found[c, prompt])] for prompt in prompts] for c in labels]
    return np.moveaxis(np.asarray(table, dtype=np.float64), 3, 1)


def bootstrap(
    values: Array, *, baseline: int = 0, draws: int = DRAWS, seed: int = 0, prompts: NDArray[np.bool_] | None = None
) -> Estimates:
    """Return means and differences to the variant `baseline`, with 95 % intervals and p-values.

    `values` has the shape (variant, metric, prompt, seed); `prompts` is a mask that selects prompts. P-values are two-sided:
    2 min(fraction of draws <= 0, fraction >= 0), with one draw added to both counts so that none is 0, and at most 1. `p_holm`
    adjusts them for the number of variants compared by one metric. Intervals and p-values are nan if fewer than `MIN_PROMPTS`
    prompts have a value or if all draws are equal.

    >>> images = np.array([[[[0.0, 1.0]] * 10], [[[1.0, 1.0]] * 10]])  # two variants, one metric, ten prompts of two seeds
    >>> found = bootstrap(images, draws=100)
    >>> found.mean.tolist(), found.difference[1].tolist(), found.p[1].round(2).tolist()
    ([[0.5], [1.0]], [0.5], [0.02])
    >>> found.low.round(2).tolist()  # the second variant's images are all equal
    [[0.3], [nan]]
    """
    chosen = values if prompts is None else values[:, :, prompts]
    return estimate(sample(chosen, baseline=baseline, draws=draws, seed=seed), baseline=baseline)


def defined_for_all(values: Array) -> NDArray[np.bool_]:
    """Return bool (metric, prompt): where every variant that has values (variant, metric, prompt, seed) of a metric has one."""
    lacking = np.isnan(values)
    lacking &= ~lacking.all(axis=(2, 3), keepdims=True)
    empty = np.all(np.isnan(values), axis=(0, 2, 3), keepdims=True)[0, :, :, 0]  # (metric, 1): those that no variant has
    return ~lacking.any(axis=(0, 3)) & ~empty


def sample(values: Array, *, baseline: int = 0, draws: int = DRAWS, seed: int = 0) -> Sample:
    """Return the means of `values` (variant, metric, prompt, seed) and of their draws.

    A metric is averaged over the prompts without nan; if there are none, it is nan. A variant without any value of a metric, as
    one that was chosen by it, has nan there, and others are averaged as if it were not there.
    """
    variants, metrics, _, seeds = values.shape
    means, drawn = np.full((2, variants, metrics), np.nan), np.full((draws, 2, variants, metrics), np.nan)
    resampled = np.zeros(metrics, dtype=np.int64)
    defined = defined_for_all(values)
    for prompts in np.unique(defined, axis=0):
        alike = np.flatnonzero((defined == prompts).all(axis=1))  # metrics that are defined for these prompts
        count = int(prompts.sum())
        if not count:
            continue
        own = values[:, alike][:, :, prompts]
        # Subtract before summing, so that equal methods differ by exactly 0 in every draw.
        both = np.stack([own, own - own[baseline]])  # (kind, variant, metric, prompt, seed)
        columns = np.ascontiguousarray(both.reshape(-1, count * seeds).T)
        sums = [weights.reshape(len(weights), -1) @ columns for weights in resample(count, seeds, draws, seed)]
        means[:, :, alike] = both.mean(axis=(3, 4))
        resampled[alike] = count
        drawn[..., alike] = (np.concatenate(sums) / (count * seeds)).reshape(draws, 2, variants, len(alike))
    drawn[np.abs(drawn) < 1e-12] = 0  # rounding leaves 1e-17 where values cancel, which must count on both sides
    return Sample(means, drawn, resampled)


def estimate(found: Sample, *, baseline: int = 0) -> Estimates:
    """Return the means with the intervals and p-values that the draws support."""
    means, drawn = found.means, found.drawn
    supported = (found.prompts >= MIN_PROMPTS) & ~constant(drawn)  # (kind, variant, metric)
    ends = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    low, high = np.where(supported, ends, np.nan)  # each (kind, variant, metric)
    tails = np.minimum((drawn[:, 1] <= 0).sum(0), (drawn[:, 1] >= 0).sum(0))
    others = np.arange(means.shape[1]) != baseline

    def to_others(array: Array) -> Array:
        return np.where(others[:, None] & ~np.isnan(means[1]), array, np.nan)

    p = to_others(np.where(supported[1], np.minimum(1.0, 2 * (tails + 1) / (len(drawn) + 1)), np.nan))
    adjusted = np.full_like(p, np.nan)
    adjusted[others] = np.apply_along_axis(holm, 0, p[others]) if p[others].size else p[others]
    difference, below, above = map(to_others, (means[1], low[1], high[1]))
    return Estimates(means[0], low[0], high[0], difference, below, above, p, adjusted)


def constant(drawn: Array) -> NDArray[np.bool_]:
    """Return where all draws (draw, ...) are equal up to rounding.

    >>> constant(np.array([[0.3, 0.1], [0.3 + 1e-16, 0.2]])).tolist()
    [True, False]
    """
    return np.ptp(drawn, axis=0) <= 1e-9 * np.abs(drawn).max(axis=0)


def affordable(draws: int, weights: int, columns: int) -> int:
    """Return how many of the requested draws take only seconds: at least 1,000, or all of them if fewer are requested.

    A draw weights `weights` images over all subsets and sums `columns` columns.

    >>> affordable(10_000, 4_000, 64), affordable(10_000, 300_000, 64)
    (10000, 2032)
    """
    return min(draws, max(1000, int(_WORK / (weights * (1 + columns / 100)))))


def resample(prompts: int, seeds: int, draws: int, seed: int = 0) -> Iterator[NDArray[np.int64]]:
    """Yield chunks of draws: how often each draw takes each image, (draw, prompt, seed).

    A prompt that is taken n times has n resamples of its seeds. Picking indices and counting them costs a tenth of sampling
    the multinomial counts.
    """
    rng = np.random.default_rng(seed)
    size = max(1, _CHUNK // (prompts * seeds))
    for begin in range(0, draws, size):
        here = min(size, draws - begin)
        picked = rng.integers(prompts, size=(here, prompts))
        picked += np.arange(here)[:, None] * prompts  # flat index in (draw, prompt)
        if seeds > 1:
            picked = picked[:, :, None] * seeds + rng.integers(seeds, size=(here, prompts, seeds))
        yield np.bincount(picked.ravel(), minlength=here * prompts * seeds).reshape(here, prompts, seeds)


def holm(p: Array) -> Array:
    """Return p-values adjusted by Holm's step-down procedure (1979), in the same order. A nan means no test and stays nan.

    >>> holm(np.array([0.01, 0.04, np.nan, 0.03])).round(2).tolist()
    [0.03, 0.06, nan, 0.06]
    """
    tested = np.flatnonzero(~np.isnan(p))
    order = tested[np.argsort(p[tested])]
    adjusted = np.full_like(p, np.nan)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(p[order] * np.arange(len(order), 0, -1)))
    return adjusted


def few_prompts(count: int) -> list[str]:
    """Return the caution for a report of `count` prompts, if it needs one."""
    if count < MIN_PROMPTS:
        return [f"With fewer than {MIN_PROMPTS} prompts there are no intervals, p-values or marks; this report has {count}."]
    few = f"Intervals from fewer than {FEW_PROMPTS} prompts may be too narrow; this report has {count}."
    return [few] * (count < FEW_PROMPTS)
