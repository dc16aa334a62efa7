"""Means of scores and differences between methods, each with an interval: a paired hierarchical bootstrap, in numpy.

Pictures of one prompt resemble each other, so the prompt is the unit and not the picture (Davison and Hinkley, "Bootstrap
Methods and their Application", 1997, section 3.8). A draw takes prompts with replacement, then, within every prompt that it
took, seeds with replacement. All methods and all scores are read with the same draw: their pictures share prompts and
seeds, so the difference of two methods varies less than either of them, and two equal methods differ by exactly 0.

Limits. The seeds of a prompt are drawn from the few that were made: with one seed only prompts vary; with a few the spread
over seeds is counted once in the prompts' means and in part again within them, so that intervals come out too wide: of those
of simulated pictures, four seeds of 20 or 40 like prompts, 99 % held the truth. From fewer than about 20 prompts they may be
too narrow: with 10 prompts of one seed 90 % held it. The p-value inverts the interval: it is the level at which the interval
begins to leave out 0, and cannot fall below 2 / (draws + 1).

No interval and no p-value is given for a value of fewer than `MIN_PROMPTS` prompts, nor for one that is the same in every draw,
as where all pictures have the same value: resampling equal values says nothing of how far another sample would be from them.

A score may be undefined for some prompts (nan): it is averaged over the others. A mean over groups takes each group's prompts
from that group (a stratified bootstrap), so that no group is left empty by a draw; its smallest group is what counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...errors import BenchError

Array = NDArray[np.float64]
Record = tuple[str, int, int, Sequence[float]]  # contender, prompt, seed, one value for each metric

DRAWS = 10_000
LEVEL = 0.95
MIN_PROMPTS = 10  # of fewer no interval, p-value or standard error is given
FEW_PROMPTS = 20  # of fewer, intervals may be too narrow
_CHUNK = 500_000  # weights held at once
_WORK = 1e9  # weights of a report, at about 15 ns each; a sum costs a hundredth of a weight


@dataclass(frozen=True)
class Sample:
    """Means, and those of every draw, of the scores and of their differences to the baseline.

    `means` (kind, contender, metric), `drawn` (draw, kind, contender, metric), `prompts` (metric,): how many were resampled,
    in a sum those of the smallest stratum.
    """

    means: Array
    drawn: Array
    prompts: NDArray[np.int64]

    def __add__(self, other: Sample) -> Sample:
        """Return the sum with the sample of another stratum, drawn by itself, that is with another `seed`."""
        return Sample(self.means + other.means, self.drawn + other.drawn, np.minimum(self.prompts, other.prompts))

    def __truediv__(self, count: int) -> Sample:
        return Sample(self.means / count, self.drawn / count, self.prompts)


@dataclass(frozen=True)
class Estimates:
    """Arrays (contender, metric). Differences are to the baseline, whose own are nan, as are its p-values.

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


def arrange(records: Iterable[Record], contenders: Sequence[str]) -> Array:
    """Return the records as one array (contender, metric, prompt, seed), prompts and their seeds in ascending order.

    Raises `BenchError` unless every contender has the same seeds of each prompt, and every prompt has as many as the others.
    """
    found: dict[tuple[str, int], dict[int, Sequence[float]]] = {}
    for contender, prompt, seed, values in records:
        found.setdefault((contender, prompt), {})[seed] = values
    prompts = sorted({prompt for _, prompt in found})
    if not prompts:
        raise BenchError("there is no picture to count; draw some with: unbleed bench run")
    first = found.get((contenders[0], prompts[0]), {})
    for prompt in prompts:
        expected = found.get((contenders[0], prompt), {})
        for contender in contenders:
            seeds = found.get((contender, prompt), {})
            if seeds.keys() != expected.keys() or len(seeds) != len(first):
                raise BenchError(
                    f"prompt {prompt} has seeds {sorted(seeds)} of {contender} and {sorted(expected)} of {contenders[0]}; "
                    f"expected the same {len(first)} of every method, and as many for every prompt; finish the run first"
                )
    table = [[[found[c, prompt][seed] for seed in sorted(found[c, prompt])] for prompt in prompts] for c in contenders]
    return np.moveaxis(np.asarray(table, dtype=np.float64), 3, 1)


def bootstrap(
    values: Array, *, baseline: int = 0, draws: int = DRAWS, seed: int = 0, prompts: NDArray[np.bool_] | None = None
) -> Estimates:
    """Return means and differences to the contender `baseline`, with 95 % intervals and p-values.

    `values` has the shape (contender, metric, prompt, seed); `prompts` is a mask that picks a subset of the prompts. A p-value
    is two-sided, 2 min(share of draws <= 0, share >= 0) with one draw added to both shares, so that none is 0, and at most 1;
    `p_holm` adjusts it for the number of contenders that one metric compares. Intervals and p-values are nan where fewer than
    `MIN_PROMPTS` prompts have a value, and where all draws are equal.

    >>> pictures = np.array([[[[0.0, 1.0]] * 10], [[[1.0, 1.0]] * 10]])  # two methods, one metric, ten prompts of two seeds
    >>> found = bootstrap(pictures, draws=100)
    >>> found.mean.tolist(), found.difference[1].tolist(), found.p[1].round(2).tolist()
    ([[0.5], [1.0]], [0.5], [0.02])
    >>> found.low.round(2).tolist()  # the second method's pictures are all equal
    [[0.3], [nan]]
    """
    chosen = values if prompts is None else values[:, :, prompts]
    return estimate(sample(chosen, baseline=baseline, draws=draws, seed=seed), baseline=baseline)


def sample(values: Array, *, baseline: int = 0, draws: int = DRAWS, seed: int = 0) -> Sample:
    """Return the means of `values` (contender, metric, prompt, seed) and of their draws.

    A metric is read over the prompts of which no value is nan; where there is none, it stays nan.
    """
    contenders, metrics, _, seeds = values.shape
    means, drawn = np.full((2, contenders, metrics), np.nan), np.full((draws, 2, contenders, metrics), np.nan)
    resampled = np.zeros(metrics, dtype=np.int64)
    defined = ~np.isnan(values).any(axis=(0, 3))  # (metric, prompt)
    for prompts in np.unique(defined, axis=0):
        alike = np.flatnonzero((defined == prompts).all(axis=1))  # metrics that are read over these prompts
        count = int(prompts.sum())
        if not count:
            continue
        own = values[:, alike][:, :, prompts]
        # Differences are taken before the sums and not after: so equal methods differ by exactly 0 in every draw.
        both = np.stack([own, own - own[baseline]])  # (kind, contender, metric, prompt, seed)
        columns = np.ascontiguousarray(both.reshape(-1, count * seeds).T)
        sums = [weights.reshape(len(weights), -1) @ columns for weights in resample(count, seeds, draws, seed)]
        means[:, :, alike] = both.mean(axis=(3, 4))
        resampled[alike] = count
        drawn[..., alike] = (np.concatenate(sums) / (count * seeds)).reshape(draws, 2, contenders, len(alike))
    drawn[np.abs(drawn) < 1e-12] = 0  # thirds that cancel leave 1e-17, which must count on both sides
    return Sample(means, drawn, resampled)


def estimate(found: Sample, *, baseline: int = 0) -> Estimates:
    """Return the means with the intervals and p-values that the draws support."""
    means, drawn = found.means, found.drawn
    supported = (found.prompts >= MIN_PROMPTS) & ~constant(drawn)  # (kind, contender, metric)
    ends = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    low, high = np.where(supported, ends, np.nan)  # each (kind, contender, metric)
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
    """Return where all draws (draw, ...) are equal, but for rounding.

    >>> constant(np.array([[0.3, 0.1], [0.3 + 1e-16, 0.2]])).tolist()
    [True, False]
    """
    return np.ptp(drawn, axis=0) <= 1e-9 * np.abs(drawn).max(axis=0)


def affordable(draws: int, weights: int, columns: int) -> int:
    """Return how many draws are reckoned in seconds: of `weights` pictures each, all subsets together, read by `columns` sums.

    At least 1,000, or as many as were asked for.

    >>> affordable(10_000, 4_000, 64), affordable(10_000, 300_000, 64)
    (10000, 2032)
    """
    return min(draws, max(1000, int(_WORK / (weights * (1 + columns / 100)))))


def resample(prompts: int, seeds: int, draws: int, seed: int = 0) -> Iterator[NDArray[np.int64]]:
    """Yield the draws, some at a time: how often each one takes each picture, (draw, prompt, seed).

    A prompt that was taken n times has n draws of its seeds, all with replacement. Picking and counting costs a tenth of
    drawing the counts, which are multinomial.
    """
    rng = np.random.default_rng(seed)
    size = max(1, _CHUNK // (prompts * seeds))
    for begin in range(0, draws, size):
        here = min(size, draws - begin)
        picked = rng.integers(prompts, size=(here, prompts))
        picked += np.arange(here)[:, None] * prompts  # a place in (draw, prompt)
        if seeds > 1:
            picked = picked[:, :, None] * seeds + rng.integers(seeds, size=(here, prompts, seeds))
        yield np.bincount(picked.ravel(), minlength=here * prompts * seeds).reshape(here, prompts, seeds)


def holm(p: Array) -> Array:
    """Return p-values adjusted for their number by Holm's step-down rule (1979), in the order they came.

    Those that are nan stand for no test, and stay.

    >>> holm(np.array([0.01, 0.04, np.nan, 0.03])).round(2).tolist()
    [0.03, 0.06, nan, 0.06]
    """
    tested = np.flatnonzero(~np.isnan(p))
    order = tested[np.argsort(p[tested])]
    adjusted = np.full_like(p, np.nan)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(p[order] * np.arange(len(order), 0, -1)))
    return adjusted


def few_prompts(count: int) -> list[str]:
    """Return the caution that a report of so few prompts needs, if it needs one."""
    if count < MIN_PROMPTS:
        return [f"Below {MIN_PROMPTS} prompts no interval, p-value or mark of significance is given; this report has {count}."]
    few = f"Intervals from fewer than {FEW_PROMPTS} prompts may be too narrow; this report has {count}."
    return [few] * (count < FEW_PROMPTS)
