"""How alike two runs rank their methods: Spearman's correlation, with an interval from draws of the prompts.

The interval answers how much the correlation depends on the prompts and seeds that were sampled, for these methods. It says
nothing about other methods. Draws scatter around the means that were measured, so they rank equal methods differently and their
correlations tend to be lower than that of the means: the interval leans towards 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .bootstrap import LEVEL, Array, sample

MIN_METHODS = 5  # with fewer, nearly any two rankings correlate


@dataclass(frozen=True)
class RankAgreement:
    """Spearman's correlation of the methods' mean scores in two runs, with its 95 % interval.

    The ends are None if a run ranks all methods equal in some draw.
    """

    score: str
    methods: tuple[str, ...]
    correlation: float
    low: float | None
    high: float | None


def rank_agreement(score: str, methods: Sequence[str], first: Array, second: Array, draws: int) -> RankAgreement | None:
    """Return how alike two runs rank `methods` by their mean scores, or None if one of them ranks all equal.

    `first` and `second` (method, prompt, seed) are scores of the same methods, prompts and seeds. Both runs use the same
    draws of prompts and seeds. nan marks an undefined score, and its prompt is left out.
    """
    both = np.concatenate([first, second])[:, None]
    found = sample(both, draws=draws)
    means = found.means[0, :, 0].reshape(2, -1)
    drawn = found.drawn[:, 0, :, 0].reshape(draws, 2, -1)
    of_means = float(spearman(means[0], means[1]))
    if np.isnan(of_means):
        return None
    of_draws = spearman(drawn[:, 0], drawn[:, 1])
    ends = [None, None] if np.isnan(of_draws).any() else np.quantile(of_draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]).tolist()
    return RankAgreement(score, tuple(methods), of_means, *ends)


def spearman(first: Array, second: Array) -> Array:
    """Return Spearman's rank correlation over the last axis; equal values share the mean of their ranks.

    It is nan where all values of one argument are equal.

    >>> spearman(np.array([1.0, 2.0, 3.0, 4.0]), np.array([10.0, 20.0, 40.0, 30.0])).round(2).item()
    0.8
    """
    centred = [ranks - ranks.mean(axis=-1, keepdims=True) for ranks in (_ranks(first), _ranks(second))]
    one, two = ((ranks**2).sum(axis=-1) for ranks in centred)
    with np.errstate(invalid="ignore"):
        return (centred[0] * centred[1]).sum(axis=-1) / np.sqrt(one * two)


def _ranks(values: Array) -> Array:
    """Return the ranks of the last axis, from 1; equal values share their mean rank."""
    lower = (values[..., None, :] < values[..., :, None]).sum(axis=-1)
    equal = (values[..., None, :] == values[..., :, None]).sum(axis=-1)
    return lower + (equal + 1) / 2
