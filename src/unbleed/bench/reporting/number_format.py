"""How numbers are said: shares in percent and points, others with three significant digits."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from ..metrics.base import Score


def percent(share: float) -> str:
    return f"{100 * share:.1f}".replace("-", "−")


def points(share: float) -> str:
    """Return a difference with its sign; one that rounds to zero has none."""
    return re.sub(r"^[+-]0\.0$", "0.0", f"{100 * share:+.1f}").replace("-", "−")


def number(value: float, *, sign: bool = False) -> str:
    """Return a value with three significant digits, however small.

    >>> number(0.3), number(21.534), number(-0.00012345), number(1234.5), number(0.0)
    ('0.300', '21.5', '−0.000123', '1234', '0.00')
    """
    if value == 0:
        return "0.00"
    exponent = int(f"{value:.2e}".partition("e")[2])  # of the rounded value
    return f"{value:{'+' if sign else ''}.{max(0, 2 - exponent)}f}".replace("-", "−")


def signed(value: float) -> str:
    return number(value, sign=True)


def counted(number: int, noun: str) -> str:
    """Return how many there are of what `noun` names.

    >>> counted(1, "prompt"), counted(1200, "prompt")
    ('1 prompt', '1,200 prompts')
    """
    return f"{number:,} {noun}{'s' * (number != 1)}"


def span(low: float | None, high: float | None, words: Callable[[float], str] = percent) -> str:
    """Return an interval's ends; "" where there is no interval."""
    return "" if low is None or high is None else f"{words(low)} to {words(high)}"


def with_span(value: float, low: float | None, high: float | None, words: Callable[[float], str] = percent) -> str:
    """Return a value with its interval, if it has one.

    >>> with_span(0.5, 0.25, 0.75), with_span(0.5, None, None)
    ('50.0 (25.0 to 75.0)', '50.0')
    """
    interval = span(low, high, words)
    return f"{words(value)} ({interval})" if interval else words(value)


def p_value(p: float) -> str:
    """Return a p-value as papers print it.

    >>> p_value(0.0002), p_value(0.0304)
    ('p < 0.001', 'p = 0.030')
    """
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def times(ratio: float | None) -> str:
    """Return how many times the baseline's seconds; "–" where those are nothing."""
    return "–" if ratio is None else f"{ratio:.1f}×"


def cost_words(seconds: float | None, ratio: float | None) -> str:
    """Return seconds per picture, and how many times the baseline's they are; "–" where they are not known."""
    return "–" if seconds is None else f"{seconds:.2f} ({times(ratio)})"


def words_for(score: Score) -> Callable[[float], str]:
    """Return what says a value of a score."""
    return percent if score.share else number


def words_for_differences(score: Score) -> Callable[[float], str]:
    """Return what says a difference of two values of a score."""
    return points if score.share else signed


def said(score: Score, value: float) -> str:
    """Return a value with its unit."""
    return f"{percent(value)} %" if score.share else number(value)


def unit(scores: Sequence[Score], shares: str, others: str, both: str) -> str:
    """Return what the numbers of a table are: shares, others, or either."""
    kinds = {score.share for score in scores}
    return both if len(kinds) > 1 else shares if True in kinds else others
