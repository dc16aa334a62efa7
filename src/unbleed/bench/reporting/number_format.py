"""Number formatting: fractions in percent and points, other values with three significant digits."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from ..metrics.base import Score

Formatter = Callable[[float], str]


def percent(fraction: float) -> str:
    return f"{100 * fraction:.1f}".replace("-", "−")


def points(difference: float) -> str:
    """Return a difference of fractions in points with its sign; one that rounds to zero has no sign."""
    return re.sub(r"^[+-]0\.0$", "0.0", f"{100 * difference:+.1f}").replace("-", "−")


def number(value: float, *, sign: bool = False) -> str:
    """Return a value with three significant digits, without exponent.

    >>> number(0.3), number(21.534), number(-0.00012345), number(1234.5), number(0.0)
    ('0.300', '21.5', '−0.000123', '1234', '0.00')
    """
    if value == 0:
        return "0.00"
    exponent = int(f"{value:.2e}".partition("e")[2])  # of the rounded value
    return f"{value:{'+' if sign else ''}.{max(0, 2 - exponent)}f}".replace("-", "−")


def signed(value: float) -> str:
    return number(value, sign=True)


def plural(count: int, noun: str) -> str:
    """Return a count with its noun.

    >>> plural(1, "prompt"), plural(1200, "prompt")
    ('1 prompt', '1,200 prompts')
    """
    return f"{count:,} {noun}{'s' * (count != 1)}"


def interval(low: float | None, high: float | None, form: Formatter = percent) -> str:
    """Return the ends of an interval; "" if there is none."""
    return "" if low is None or high is None else f"{form(low)} to {form(high)}"


def with_interval(value: float, low: float | None, high: float | None, form: Formatter = percent) -> str:
    """Return a value with its interval, if there is one.

    >>> with_interval(0.5, 0.25, 0.75), with_interval(0.5, None, None)
    ('50.0 (25.0 to 75.0)', '50.0')
    """
    ends = interval(low, high, form)
    return f"{form(value)} ({ends})" if ends else form(value)


def p_value(p: float) -> str:
    """Return a p-value as papers print it.

    >>> p_value(0.0002), p_value(0.0304)
    ('p < 0.001', 'p = 0.030')
    """
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def multiple(ratio: float | None) -> str:
    """Return a multiple of the baseline's seconds; "–" if it is undefined."""
    return "–" if ratio is None else f"{ratio:.1f}×"


def cost_text(seconds: float | None, ratio: float | None) -> str:
    """Return seconds per image and their multiple of the baseline's; "–" if unknown."""
    return "–" if seconds is None else f"{seconds:.2f} ({multiple(ratio)})"


def formatter(score: Score) -> Formatter:
    """Return the function that formats values of a score."""
    return percent if score.fraction else number


def difference_formatter(score: Score) -> Formatter:
    """Return the function that formats differences between values of a score."""
    return points if score.fraction else signed


def with_unit(score: Score, value: float) -> str:
    """Return a value of a score with its unit."""
    return f"{percent(value)} %" if score.fraction else number(value)


def by_unit(scores: Sequence[Score], fractions: str, others: str, both: str) -> str:
    """Return one of three texts, depending on whether the scores are fractions, others, or both."""
    kinds = {score.fraction for score in scores}
    return both if len(kinds) > 1 else fractions if True in kinds else others
