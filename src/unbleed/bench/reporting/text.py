"""A report in words: what its figures say, and how they were made."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..analysis.bootstrap import FEW_PROMPTS, MIN_PROMPTS, few_prompts
from ..analysis.summary import SIGNIFICANT, Report, Row
from ..metrics.base import Score
from ..scoring.verdicts import is_right
from .number_format import counted, number, p_value, percent, said, span, unit, words_for, words_for_differences

MARKED = f"✱ where p < {SIGNIFICANT} after Holm"
TO_SCORE = "unbleed bench score"  # what lets a metric look at the pictures of a folder
TO_MEASURE = "unbleed bench distance"
NO_MODEL = "not known, the pictures were imported"


def better_or_worse(row: Row, score: Score) -> str:
    """Return "better" or "worse" where a difference is significant, "" elsewhere."""
    if not row.significant or row.difference is None:
        return ""
    return "better" if (row.difference > 0) == score.higher_is_better else "worse"


def adjective(score: Score) -> str:
    """Return what pictures are of which a verdict says yes: "all-correct"."""
    return re.sub(r"^all ", "all-", score.title) if "correct" in score.title else f'right by "{score.title}"'


def _pictures(score: Score) -> str:
    """Return the pictures of which a verdict says yes: "all-correct pictures"."""
    return f"{adjective(score)} pictures" if "correct" in score.title else f"pictures {adjective(score)}"


def ranking(report: Report) -> str:
    """Return the name of what methods are ranked by, as an axis has it."""
    score = report.primary
    if score is None:
        return ""
    return f"pictures {adjective(score)}, %" if report.verdict else f"{score.title}{', %' * score.share}"


def result(report: Report) -> str:
    """Return the run's result in one sentence: of the method that is best by the primary score.

    A best-of-N is passed over where there is another: its pictures are chosen by the judge that counts them.
    """
    score = report.primary
    if score is None and report.scores:
        return "No score is defined for any of these prompts."
    if score is None and report.run["metrics"]:
        return f"No metric that looked scores single pictures; {TO_MEASURE} measures how far they are, as a set, from others."
    if score is None:
        return f"No metric has looked at these pictures; {TO_SCORE} runs one."
    ranked = [row for row in report.rows if row.metric == score.name]
    base = next(row for row in ranked if row.method == report.baseline)
    others = [row for row in ranked if row is not base]
    guided = [row for row in others if row.method not in {c.label for c in report.contenders if c.draws > 1}]
    candidates = guided or others
    if candidates:
        best = max(candidates, key=lambda row: row.mean if score.higher_is_better else -row.mean)
        return _of_difference(report, score, base, best, len(candidates), len(others))
    support = _support(report, base, span(base.low, base.high, words_for(score)))
    if report.verdict:
        return f"{percent(base.mean)} % of the pictures by {base.method} are {adjective(score)} ({support})."
    return f'{base.method} has a mean "{score.title}" of {said(score, base.mean)} ({support}).'


def _of_difference(report: Report, score: Score, base: Row, best: Row, candidates: int, tests: int) -> str:
    """Return the difference of the best method to the baseline, its interval and test, and its price."""
    name = f"{best.method}, the best of {candidates} methods" if candidates > 1 else best.method
    what = _pictures(score) if report.verdict else f'"{score.title}"'
    difference = best.difference or 0.0
    ratio = best.relative_seconds
    time = "" if ratio is None else f", at {ratio:.1f} times the time"
    if best.p_holm is not None and not best.significant:
        words = words_for_differences(score)
        support = _support(report, best, span(best.difference_low, best.difference_high, words), tests)
        amount = f"{words(difference)}{' points' * score.share}"
        return f"No significant difference in {what} between {base.method} and {name}: {amount} ({support}){time}."
    if difference == 0:
        return f"No difference in {what} between {base.method} and {name} ({_support(report, best, '')}){time}."
    low, high = best.difference_low, best.difference_high
    if low is not None and high is not None:  # said without sign, as the difference is
        low, high = sorted((abs(low), abs(high)))
    support = _support(report, best, span(low, high, words_for(score)), tests)
    amount = f"{percent(abs(difference))} points" if score.share else number(abs(difference))
    if report.verdict:
        more = f"{amount} {'more' if difference > 0 else 'fewer'} {what}"
    else:
        more = f"{what} {amount} {'higher' if difference > 0 else 'lower'}"
    lower = ", lower is better" * (not score.higher_is_better)
    return f"{name}: {more} than {base.method} ({support}{lower}){time}."


def _support(report: Report, row: Row, interval: str, tests: int = 1) -> str:
    """Return the interval of a value and, for a difference, its p-value; or why it has none.

    `tests` is the number of methods that are compared with the baseline.
    """
    if not interval:
        return without_interval(prompts_of(report, row))
    parts = [f"95 % interval {interval}"]
    if row.p_holm is not None:
        parts.append(p_value(row.p_holm) + f", Holm-adjusted for {tests} comparisons" * (tests > 1))
    return ", ".join(parts)


def prompts_of(report: Report, row: Row) -> int:
    """Return how many prompts a row's mean is over."""
    return row.pictures // report.run["seeds"]


def without_interval(prompts: int) -> str:
    """Return why a value over so many prompts has no interval."""
    if prompts < MIN_PROMPTS:
        return f"{counted(prompts, 'prompt')}; intervals and tests need {MIN_PROMPTS}"
    return f"the same in all {prompts} prompts: no interval, no test"


def in_values(report: Report, scores: Sequence[Score], rows: Sequence[Row]) -> str:
    """Return what the values of a table are: their unit, and whether they have intervals."""
    what = unit(scores, "Percent", "Means", "Percent where shares, else means")
    prompts = max(prompts_of(report, row) for row in rows)
    with_intervals = any(row.low is not None for row in rows)
    return f"{what}, with 95 % intervals." if with_intervals else f"{what} ({without_interval(prompts)})."


def in_differences(report: Report, scores: Sequence[Score], rows: Sequence[Row]) -> str:
    """Return what the differences of a table are: their unit, and whether they have intervals and tests."""
    points = unit(scores, " in points", "", " in points where shares")
    tested = any(row.p is not None for row in rows)
    return f"Differences to {report.baseline}{points}" + f", with 95 % intervals; {MARKED}." * tested + "." * (not tested)


def exchanges(report: Report) -> list[str]:
    """Return for each method how many of the baseline's right pictures it spoils, and how many of its wrong ones it mends.

    Nothing where the primary score is no verdict.
    """
    score = report.primary
    if score is None or not report.verdict:
        return []
    right = {(r.case, r.seed): is_right(r, score) for r in report.pictures if r.contender == report.baseline}
    texts = []
    for label in [c.label for c in report.contenders if c.label != report.baseline]:
        now = {(r.case, r.seed): is_right(r, score) for r in report.pictures if r.contender == label}
        spoilt = [not now[key] for key, was_right in right.items() if was_right]
        mended = [now[key] for key, was_right in right.items() if not was_right]
        texts.append(
            f"{label} spoils {sum(spoilt)} of {len(spoilt)} pictures that {report.baseline} has {adjective(score)}, and mends "
            f"{sum(mended)} of {len(mended)} others."
        )
    return texts


def cautions(report: Report) -> list[str]:
    """Return what a reader must know before the figures."""
    run = report.run
    count, left_out, failed = run["prompts"], run["prompts_left_out"], run["failed"]
    texts = [f"The run is not finished: {left_out} of {count + left_out} prompts are left out."] if left_out else []
    if failed:
        texts.append(f"{failed} {'picture' if failed == 1 else 'pictures'} could not be drawn.")
    return texts + run["cautions"] + (few_prompts(count) if report.scores else [])


def notes(report: Report) -> list[str]:
    """Return how the figures were made, and what they are not."""
    return [*(_of_scores(report) if report.scores else ()), *_of_time(report)]


def _of_scores(report: Report) -> list[str]:
    judges = report.run["metrics"]
    paired = (
        "Pictures were imported: how they were drawn is not known, and those of one prompt and seed are compared."
        if report.run["imported"]
        else "All methods drew the same prompts from the same seeds, so they are compared picture by picture."
    )
    texts = [paired, *(_of_intervals(report) if any(row.low is not None for row in report.rows) else ())]
    texts.append(
        f"No interval, p-value or mark is given for fewer than {MIN_PROMPTS} prompts, nor for a value that is the same in "
        "all of them: resampling shows no spread there."
    )
    if report.overall:
        texts.append("The mean over groups gives every group the same weight, however many prompts it has.")
    grounds = {row.metric: row.pictures for row in report.rows}
    all_pictures = report.costs[0].pictures
    texts += [
        f"{score.title} is undefined for some prompts: its mean is of {grounds.get(score.name, 0)} of {all_pictures} pictures."
        for score in report.scores
        if grounds.get(score.name, 0) < all_pictures
    ]
    judge = "The judge is a network and can err. It judges all methods alike."
    return [*texts, judge if len(judges) <= 1 else "The metrics are networks and can err. They judge all methods alike."]


def _of_intervals(report: Report) -> list[str]:
    run = report.run
    fewer = f" {run['draws_asked']:,} were asked for; of so many pictures fewer are made." * (run["draws"] < run["draws_asked"])
    return [
        f"Intervals are 95 % percentile intervals of a paired hierarchical bootstrap of {run['draws']:,} draws: prompts are "
        "resampled with replacement, then seeds within each prompt, in the same way for all methods and metrics. With several "
        f"seeds per prompt they are conservative; from fewer than {FEW_PROMPTS} prompts, as in a small group, they may be too "
        f"narrow.{fewer}",
        f"A mark (✱) stands where the difference to {report.baseline} has p < {SIGNIFICANT} after Holm's correction for the "
        "number of methods compared. There is no correction across metrics and groups.",
    ]


def _of_time(report: Report) -> list[str]:
    machine = "the machines" if "runs" in report.run else "the machine"
    timeless = [cost.method for cost in report.costs if cost.seconds_per_picture is None]
    unknown = [f"How long the pictures of {', '.join(timeless)} took is not known: they were imported."] if timeless else []
    if len(timeless) == len(report.costs):
        return unknown
    texts = [
        *unknown,
        f"Seconds per picture are the mean of the wall clock on {machine} named here, with everything that a method does; "
        f"× says how many times those of {report.baseline} they are.",
    ]
    best_of = [f"{c.label} draws {c.draws} unguided pictures for each seed" for c in report.contenders if c.draws > 1]
    if best_of and report.scores:
        texts.append(
            f"{'; '.join(best_of)} and keeps the one that the judge likes best; its time is that of all of them. The judge "
            "that picks is the judge that counts, so its figure is optimistic."
        )
    return texts


def facts(report: Report) -> dict[str, str]:
    """Return the facts of the run, {name: words}."""
    run = report.run
    pictures = f"{run['pictures']} of {len(report.contenders)} methods"
    if "runs" not in run:
        return run_facts(run, pictures)
    common = {
        "pictures": pictures,
        "prompts": str(run["prompts"]),
        "seeds": f"{run['seeds']} per prompt",
        "metrics": _metrics(run),
    }
    return common | {f"{name}: {fact}": words for name, of in run["runs"].items() for fact, words in of.items()}


def run_facts(run: Mapping[str, Any], pictures: str) -> dict[str, str]:
    """Return the facts of any run, {name: words}: of its plan as JSON has it, with date, prompts and prompts_left_out.

    And, where they are named, with its metrics {name: fingerprint}, or the one judge's fingerprint.
    """
    model = NO_MODEL if run.get("imported") else f"{run['model']}, fingerprint {run['model_fingerprint'][:16]}"
    first = "" if run.get("imported") else f" from {run['suite']['first_seed']}"
    return {
        "suite": f"{run['suite']['name']}: {run['suite']['about']}",
        "model": model,
        **({"judge": f"fingerprint {run['judge'][:16]}"} if "judge" in run else {}),
        **({"metrics": _metrics(run)} if run.get("metrics") else {}),
        "date": run["date"],
        "pictures": pictures,
        "prompts": f"{run['prompts']} of {run['prompts'] + run['prompts_left_out']}",
        "seeds": f"{run['seeds']} per prompt{first}",
        **({} if run.get("imported") else _drawn_how(run)),
    }


def _drawn_how(run: Mapping[str, Any]) -> dict[str, str]:
    machine = {name: value for name, value in run["machine"].items() if value is not None}
    return {
        "sampling": f"{run['steps']} steps, guidance scale {run['guidance_scale']:g}, {run['dtype']}",
        "batches": f"{run['batch_size']} pictures at once",
        "machine": ", ".join(f"{name} {value}" for name, value in machine.items()),
        "versions": ", ".join(f"{name} {value}" for name, value in run["versions"].items()),
    }


def _metrics(run: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}, fingerprint {fingerprint[:16]}" for name, fingerprint in run["metrics"].items())


def by_method(rows: Iterable[Row]) -> dict[str, dict[str, Row]]:
    """Return {method: {score: row}}."""
    table: dict[str, dict[str, Row]] = {}
    for row in rows:
        table.setdefault(row.method, {})[row.metric] = row
    return table
