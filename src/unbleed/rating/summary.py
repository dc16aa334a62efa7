"""What a study found, as data: `build` makes a `Summary` of the raters' answers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Any, Literal

import numpy as np

from ..bench.analysis.bootstrap import FEW_PROMPTS, MIN_PROMPTS, holm
from ..errors import RatingError
from .answers import Choice, Rater
from .statistics import clustered, interval, krippendorff_alpha, sign_test, strengths, win_rate_interval
from .study import Study, compared
from .trials import Trial

FEW_RATERS = 5  # of fewer, an interval says little of other people

Outcome = Literal["method", "against", "tie", "bad"]
VALUES: dict[Outcome, float] = {"method": 1.0, "against": 0.0, "tie": 0.5, "bad": 0.5}


@dataclass(frozen=True)
class CountedAnswer:
    """An answer that counts: to a pair, when it was shown for the first time."""

    rater: int
    pair: int  # index in `Study.pairs`
    outcome: Outcome  # `method` is the second method of the pair, `against` the first, which is the baseline
    side: Literal["left", "right"]  # of `method`
    seconds: float
    at: str


@dataclass(frozen=True)
class Comparison:
    """One method against another; ties and "both bad" are half a win for both."""

    method: str
    against: str
    answers: int
    prompts: int
    raters: int
    wins: int
    losses: int
    ties: int
    both_bad: int
    win_rate: float
    low: float | None  # of the interval; None where there is too little for one
    high: float | None
    prompts_won: int
    prompts_lost: int
    p: float  # exact sign test over prompts
    p_holm: float  # adjusted for the number of comparisons


@dataclass(frozen=True)
class Strength:
    """A method's Bradley-Terry strength in log-odds; the mean of all methods is 0."""

    method: str
    strength: float | None  # None where the answers do not bound it
    low: float | None
    high: float | None


@dataclass(frozen=True)
class RaterRow:
    """How one rater answered; repeats and catches are those that were answered."""

    rater: int  # from 1
    counted: bool
    answers: int  # of all trials
    trials: int
    left: int
    right: int
    repeats: int
    repeats_same: int
    catches: int
    catches_right: int
    median_seconds: float
    first: str
    last: str


@dataclass(frozen=True)
class Summary:
    """A study's result. `raters` has a row for everyone who answered, those who are left out too."""

    study: Study
    comparisons: tuple[Comparison, ...]
    strengths: tuple[Strength, ...]  # empty for two methods
    alpha: float | None  # Krippendorff's, of pairs that several people rated
    alpha_pairs: int
    left: int  # decided answers in which the left image won
    decided: int
    side_p: float
    repeats: int
    repeats_same: int
    catches: int
    catches_right: int
    raters: tuple[RaterRow, ...]
    answers: tuple[CountedAnswer, ...]
    cautions: tuple[str, ...]


def build(study: Study, raters: Sequence[Rater], *, max_missed: int | None = None) -> Summary:
    """Return what a study has found so far.

    Args:
        max_missed: raters who answered more catches wrong are left out; by default nobody is.

    Raises:
        RatingError: nobody has answered, or nobody is left.
    """
    rows = [_row(rater, max_missed) for rater in raters if rater.answers]
    counted = [rater for rater in raters if any(row.counted and row.rater == rater.number + 1 for row in rows)]
    answers = tuple(answer for rater in counted for answer in _counted(study, rater))
    if not answers:
        left_out = f"; {len(rows)} are left out for missed catches" if rows else ""
        raise RatingError(f"nobody has answered yet{left_out}; open the page of unbleed rate RUN and answer some pairs")
    comparisons = _comparisons(study, answers)
    of = [row for row in rows if row.counted]
    left, decided = sum(row.left for row in of), sum(row.left + row.right for row in of)
    alpha, alpha_pairs = _agreement(answers)
    summary = Summary(
        study=study,
        comparisons=comparisons,
        strengths=_strengths(study, answers) if len(study.methods) > 2 else (),
        alpha=alpha,
        alpha_pairs=alpha_pairs,
        left=left,
        decided=decided,
        side_p=sign_test(left, decided - left),
        repeats=sum(row.repeats for row in of),
        repeats_same=sum(row.repeats_same for row in of),
        catches=sum(row.catches for row in of),
        catches_right=sum(row.catches_right for row in of),
        raters=tuple(rows),
        answers=answers,
        cautions=(),
    )
    return replace(summary, cautions=tuple(_cautions(summary)))


def _picked(trial: Trial, answer: Choice) -> int | None:
    """Return which of a trial's two images was picked, 0 or 1; None for neither."""
    return {"left": trial.left, "right": 1 - trial.left}.get(answer)


def _counted(study: Study, rater: Rater) -> list[CountedAnswer]:
    found = []
    for number, answer in sorted(rater.answers.items()):
        trial = rater.trials[number]
        if trial.kind != "pair":
            continue
        picked = _picked(trial, answer.answer)
        outcome: Outcome = ("tie" if answer.answer == "tie" else "bad") if picked is None else ("against", "method")[picked]
        side: Literal["left", "right"] = "left" if trial.left == 1 else "right"
        found.append(CountedAnswer(rater.number, trial.index, outcome, side, answer.seconds, rater.moments[number]))
    return found


def _row(rater: Rater, max_missed: int | None) -> RaterRow:
    said = {number: (rater.trials[number], answer) for number, answer in rater.answers.items()}
    first = {trial.index: (trial, answer) for trial, answer in said.values() if trial.kind == "pair"}
    repeats = [(one, first[one[0].index]) for one in said.values() if one[0].kind == "repeat" and one[0].index in first]
    catches = [_picked(trial, answer.answer) == 0 for trial, answer in said.values() if trial.kind == "catch"]
    sides = [answer.answer for trial, answer in said.values() if trial.kind != "catch"]
    moments = sorted(rater.moments.values())
    return RaterRow(
        rater=rater.number + 1,
        counted=max_missed is None or len(catches) - sum(catches) <= max_missed,
        answers=len(said),
        trials=len(rater.trials),
        left=sides.count("left"),
        right=sides.count("right"),
        repeats=len(repeats),
        repeats_same=sum(_meant(*again) == _meant(*before) for again, before in repeats),
        catches=len(catches),
        catches_right=sum(catches),
        median_seconds=median(answer.seconds for _, answer in said.values()),
        first=moments[0],
        last=moments[-1],
    )


def _meant(trial: Trial, answer: Any) -> int | str:
    """Return the image that an answer picked, whichever side it was on, or the answer itself."""
    picked = _picked(trial, answer.answer)
    return answer.answer if picked is None else picked


def _comparisons(study: Study, answers: Sequence[CountedAnswer]) -> tuple[Comparison, ...]:
    found: list[dict[str, Any]] = []
    for methods in compared(study):
        of = [answer for answer in answers if study.pairs[answer.pair].methods == methods]
        if of:
            found.append(_comparison(study, methods, of))
    adjusted = holm(np.array([one["p"] for one in found]))
    return tuple(Comparison(**one, p_holm=float(p)) for one, p in zip(found, adjusted, strict=True))


def _comparison(study: Study, methods: tuple[int, int], of: Sequence[CountedAnswer]) -> dict[str, Any]:
    values = np.array([VALUES[answer.outcome] for answer in of])
    prompts = np.array([study.pairs[answer.pair].case for answer in of])
    raters = np.array([answer.rater for answer in of])
    net = [float((values[prompts == prompt] - 0.5).sum()) for prompt in np.unique(prompts)]
    won, lost = sum(value > 0 for value in net), sum(value < 0 for value in net)
    low, high = win_rate_interval(values, prompts, raters) if len(net) >= MIN_PROMPTS else (math.nan, math.nan)
    outcomes = [answer.outcome for answer in of]
    return {
        "method": study.methods[methods[1]],
        "against": study.methods[methods[0]],
        "answers": len(of),
        "prompts": len(net),
        "raters": len(np.unique(raters)),
        "wins": outcomes.count("method"),
        "losses": outcomes.count("against"),
        "ties": outcomes.count("tie"),
        "both_bad": outcomes.count("bad"),
        "win_rate": float(values.mean()),
        "low": _number(low),
        "high": _number(high),
        "prompts_won": won,
        "prompts_lost": lost,
        "p": sign_test(won, lost),
    }


def _strengths(study: Study, answers: Sequence[CountedAnswer]) -> tuple[Strength, ...]:
    against, method = np.array([study.pairs[answer.pair].methods for answer in answers]).T
    values = np.array([VALUES[answer.outcome] for answer in answers])
    prompts = np.array([study.pairs[answer.pair].case for answer in answers])
    raters = np.array([answer.rater for answer in answers])
    found, influence = strengths(values, method, against, len(study.methods))
    rows = []
    for number, label in enumerate(study.methods):
        low = high = math.nan
        if len(np.unique(prompts)) >= MIN_PROMPTS and not math.isnan(found[number]):
            low, high = interval(float(found[number]), *clustered(influence[:, number], prompts, raters))
        rows.append(Strength(label, _number(float(found[number])), _number(low), _number(high)))
    return tuple(rows)


def _agreement(answers: Sequence[CountedAnswer]) -> tuple[float | None, int]:
    """Return Krippendorff's alpha of which image won, if either, and how many pairs several people rated."""
    units: dict[int, list[str]] = {}
    for answer in answers:
        units.setdefault(answer.pair, []).append("tie" if answer.outcome == "bad" else answer.outcome)
    several = [values for values in units.values() if len(values) > 1]
    return _number(krippendorff_alpha(several)), len(several)


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value


def _cautions(summary: Summary) -> list[str]:
    """Return what a reader has to know before the result."""
    said = []
    prompts = min(one.prompts for one in summary.comparisons)
    raters = min(one.raters for one in summary.comparisons)
    if prompts < MIN_PROMPTS:
        said.append(f"Below {MIN_PROMPTS} prompts no interval is given; this study has answers to {prompts}.")
    elif prompts < FEW_PROMPTS:
        said.append(f"Intervals from fewer than {FEW_PROMPTS} prompts are rough; this study has answers to {prompts}.")
    if raters == 1:
        said.append("One person rated: the intervals hold for other prompts, not for other people.")
    elif raters < FEW_RATERS:
        said.append(f"{raters} people rated: the intervals say little of other people.")
    if summary.decided and summary.side_p < 0.05:
        share = 100 * summary.left / summary.decided
        said.append(f"The left picture won {share:.0f} % of the decided answers; sides are balanced, so no method gains.")
    if summary.catches and summary.catches_right < 0.9 * summary.catches:
        said.append(
            f"{summary.catches - summary.catches_right} of {summary.catches} catch pairs were answered wrong; "
            "--max-missed leaves out raters who missed many."
        )
    left_out = [row.rater for row in summary.raters if not row.counted]
    if left_out:
        said.append(f"Left out for missed catch pairs: rater {', '.join(map(str, left_out))}.")
    unfinished = sum(row.counted and row.answers < row.trials for row in summary.raters)
    if unfinished:
        said.append(f"{unfinished} of {len(summary.raters)} raters have not finished.")
    if summary.study.identical:
        said.append(f"{summary.study.identical} pairs of identical pictures were not shown and are not counted.")
    return said
