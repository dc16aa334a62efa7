"""Reports in words: what the figures show, and how they were made."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from ..analysis.bootstrap import FEW_PROMPTS, MIN_PROMPTS, few_prompts
from ..analysis.facts import RunFacts
from ..analysis.summary import SIGNIFICANT, Report, ScoreRow
from ..metrics.base import Score
from ..scoring.verdicts import is_right
from .number_format import by_unit, difference_formatter, formatter, interval, number, p_value, percent, plural, with_unit

MARKED = f"✱ where p < {SIGNIFICANT} after Holm"
TO_SCORE = "unbleed bench score"  # the command that runs metrics on a folder's images
TO_MEASURE = "unbleed bench distance"
NO_MODEL = "unknown; the images were imported"


def better_or_worse(row: ScoreRow, score: Score) -> str:
    """Return "better" or "worse" for a significant difference, else ""."""
    if not row.significant or row.difference is None:
        return ""
    return "better" if (row.difference > 0) == score.higher_is_better else "worse"


def adjective(score: Score) -> str:
    """Return the adjective for images that are right by a verdict, such as "all-correct"."""
    return re.sub(r"^all ", "all-", score.title) if "correct" in score.title else f'right by "{score.title}"'


def _right_images(score: Score) -> str:
    """Return the noun phrase for images that are right by a verdict, such as "all-correct images"."""
    return f"{adjective(score)} images" if "correct" in score.title else f"images {adjective(score)}"


def axis_label(report: Report) -> str:
    """Return the axis label of the primary score."""
    score = report.primary
    if score is None:
        return ""
    return f"images {adjective(score)}, %" if report.verdict else f"{score.title}{', %' * score.fraction}"


def result(report: Report) -> str:
    """Return the run's result in one sentence, about the best method by the primary score.

    A best-of-N is only named if there is no other method, because its images are selected by the same scores.
    """
    score = report.primary
    if score is None and report.scores:
        return "No score is defined for any of these prompts."
    if score is None and report.run.metrics:
        return f"No metric here scores single images; {TO_MEASURE} measures the distance of all of them from reference images."
    if score is None:
        return f"No metric has been run on these images; {TO_SCORE} runs one."
    ranked = [row for row in report.rows if row.metric == score.name]
    base = next(row for row in ranked if row.method == report.baseline)
    others = [row for row in ranked if row is not base]
    chosen = {c.label for c in report.contenders if c.draws > 1 and not c.judge}
    guided = [row for row in others if row.method not in chosen]
    candidates = guided or others
    if candidates:
        best = max(candidates, key=lambda row: row.mean if score.higher_is_better else -row.mean)
        return _difference_sentence(report, score, base, best, len(candidates), len(others))
    support = _support(report, base, interval(base.low, base.high, formatter(score)))
    if report.verdict:
        return f"{percent(base.mean)} % of the images by {base.method} are {adjective(score)} ({support})."
    return f'{base.method} has a mean "{score.title}" of {with_unit(score, base.mean)} ({support}).'


def _difference_sentence(report: Report, score: Score, base: ScoreRow, best: ScoreRow, candidates: int, tests: int) -> str:
    """Return the difference between the best method and the baseline, with interval, test and cost."""
    name = f"{best.method}, the best of {candidates} methods" if candidates > 1 else best.method
    what = _right_images(score) if report.verdict else f'"{score.title}"'
    difference = best.difference or 0.0
    ratio = best.relative_seconds
    time = "" if ratio is None else f", at {ratio:.1f} times the time"
    if best.p_holm is not None and not best.significant:
        form = difference_formatter(score)
        support = _support(report, best, interval(best.difference_low, best.difference_high, form), tests)
        amount = f"{form(difference)}{' points' * score.fraction}"
        return f"No significant difference in {what} between {base.method} and {name}: {amount} ({support}){time}."
    if difference == 0:
        return f"No difference in {what} between {base.method} and {name} ({_support(report, best, '')}){time}."
    low, high = best.difference_low, best.difference_high
    if low is not None and high is not None:  # without sign, like the difference
        low, high = sorted((abs(low), abs(high)))
    support = _support(report, best, interval(low, high, formatter(score)), tests)
    amount = f"{percent(abs(difference))} points" if score.fraction else number(abs(difference))
    if report.verdict:
        more = f"{amount} {'more' if difference > 0 else 'fewer'} {what}"
    else:
        more = f"{what} {amount} {'higher' if difference > 0 else 'lower'}"
    lower = ", lower is better" * (not score.higher_is_better)
    return f"{name}: {more} than {base.method} ({support}{lower}){time}."


def _support(report: Report, row: ScoreRow, ends: str, tests: int = 1) -> str:
    """Return the interval and, for a difference, the p-value; or why there is none.

    `tests` is the number of methods compared with the baseline.
    """
    if not ends:
        return without_interval(prompts_of(report, row))
    parts = [f"95 % interval {ends}"]
    if row.p_holm is not None:
        parts.append(p_value(row.p_holm) + f", Holm-adjusted for {tests} comparisons" * (tests > 1))
    return ", ".join(parts)


def prompts_of(report: Report, row: ScoreRow) -> int:
    """Return the number of prompts that a row averages over."""
    return row.pictures // report.run.seeds


def without_interval(prompts: int) -> str:
    """Return why a value over `prompts` prompts has no interval."""
    if prompts < MIN_PROMPTS:
        return f"{plural(prompts, 'prompt')}; intervals and tests need {MIN_PROMPTS}"
    return f"the same in all {prompts} prompts, so there is no interval and no test"


def values_caption(report: Report, scores: Sequence[Score], rows: Sequence[ScoreRow]) -> str:
    """Return the caption of a table of values: their unit, and whether they have intervals."""
    unit = by_unit(scores, "Percent", "Means", "Percent for fractions, else means")
    prompts = max(prompts_of(report, row) for row in rows)
    with_intervals = any(row.low is not None for row in rows)
    return f"{unit}, with 95 % intervals." if with_intervals else f"{unit} ({without_interval(prompts)})."


def differences_caption(report: Report, scores: Sequence[Score], rows: Sequence[ScoreRow]) -> str:
    """Return the caption of a table of differences: their unit, and whether they have intervals and tests."""
    points = by_unit(scores, " in points", "", " in points for fractions")
    tested = any(row.p is not None for row in rows)
    return f"Differences to {report.baseline}{points}" + f", with 95 % intervals; {MARKED}." * tested + "." * (not tested)


def fixed_and_broken(report: Report) -> list[str]:
    """Return, for each method, how many of the baseline's right images it breaks and how many of its wrong ones it fixes.

    It is empty if the primary score is not a verdict.
    """
    score = report.primary
    if score is None or not report.verdict:
        return []
    right = {(row.case, row.seed): is_right(row, score) for row in report.images if row.method == report.baseline}
    texts = []
    for label in [c.label for c in report.contenders if c.label != report.baseline]:
        now = {(row.case, row.seed): is_right(row, score) for row in report.images if row.method == label}
        broken = [not now[key] for key, was_right in right.items() if was_right]
        fixed = [now[key] for key, was_right in right.items() if not was_right]
        texts.append(
            f"{label} breaks {sum(broken)} of {len(broken)} images that are {adjective(score)} with {report.baseline}, and "
            f"fixes {sum(fixed)} of the {len(fixed)} others."
        )
    return texts


def agreement(report: Report) -> list[str]:
    """Return how alike two runs rank their methods, as one sentence; none for one run or too few methods."""
    found = report.run.agreement
    if found is None:
        return []
    score = next(score for score in report.scores if score.name == found.score)
    ends = "" if found.low is None or found.high is None else f", 95 % interval {found.low:.2f} to {found.high:.2f}"
    return [
        f'The two runs rank the {len(found.methods)} methods that both have by "{score.title}" with a Spearman correlation of '
        f"{found.correlation:.2f}{ends}."
    ]


def cautions(report: Report) -> list[str]:
    """Return what a reader must know before the figures."""
    run = report.run
    total = run.prompts + run.prompts_left_out
    texts = [f"The run is not finished: {run.prompts_left_out} of {total} prompts are left out."] * bool(run.prompts_left_out)
    if run.failed:
        texts.append(f"{plural(run.failed, 'image')} could not be sampled.")
    return [*texts, *run.cautions, *(few_prompts(run.prompts) if report.scores else ())]


def notes(report: Report) -> list[str]:
    """Return how the figures were computed, and their limitations."""
    return [*(_score_notes(report) if report.scores else ()), *_time_notes(report)]


def _score_notes(report: Report) -> list[str]:
    paired = (
        "Images were imported. It is not known how they were sampled; images of the same prompt and seed are compared."
        if report.run.imported
        else "All methods used the same prompts and seeds, so they are compared image by image."
    )
    texts = [paired, *(_interval_notes(report) if any(row.low is not None for row in report.rows) else ())]
    texts.append(
        f"There is no interval, p-value or mark for fewer than {MIN_PROMPTS} prompts, nor for a value that is the same in all "
        "of them, because resampling shows no spread there."
    )
    if report.overall:
        texts.append("The mean over groups weights all groups equally, regardless of their number of prompts.")
    defined = {row.metric: row.pictures for row in report.rows}
    total = report.costs[0].pictures
    texts += [
        f"{score.title} is undefined for some prompts: its mean is over {defined.get(score.name, 0)} of {total} images."
        for score in report.scores
        if defined.get(score.name, 0) < total
    ]
    one = "The metric is a network and can be wrong. It treats all methods alike."
    return [
        *texts,
        one if len(report.run.metrics) <= 1 else "The metrics are networks and can be wrong. They treat all methods alike.",
    ]


def _interval_notes(report: Report) -> list[str]:
    run = report.run
    fewer = f" {run.draws_asked:,} were requested; with this many images fewer are made." * (run.draws < run.draws_asked)
    return [
        f"Intervals are 95 % percentile intervals of a paired hierarchical bootstrap with {run.draws:,} draws: prompts are "
        "resampled with replacement, then seeds within each prompt, identically for all methods and metrics. With several "
        f"seeds per prompt they are conservative; with fewer than {FEW_PROMPTS} prompts, as in a small group, they may be too "
        f"narrow.{fewer}",
        f"A mark (✱) means that the difference to {report.baseline} has p < {SIGNIFICANT} after Holm's correction for the "
        "number of methods compared. There is no correction for the number of metrics and groups.",
    ]


def _time_notes(report: Report) -> list[str]:
    machine = "machines" if report.run.runs else "machine"
    timeless = [cost.method for cost in report.costs if cost.seconds_per_picture is None]
    unknown = [f"The time per image of {', '.join(timeless)} is unknown, because the images were imported."] if timeless else []
    if len(timeless) == len(report.costs):
        return unknown
    texts = [
        *unknown,
        f"Seconds per image are mean wall-clock times on the {machine} named here, including everything that a method does; "
        f"× is the multiple of the time of {report.baseline}.",
    ]
    judged = [c for c in report.contenders if c.judge]
    texts += [
        f"{c.label} samples {c.draws} unguided images per seed and keeps the one that {c.judge} prefers; its time is that of "
        f"all of them. {c.judge} is not reported for it."
        for c in judged
    ]
    several = [c for c in report.contenders if c.draws > 1 and not c.judge]
    best_of = [f"{c.label} samples {c.draws} unguided images per seed" for c in several]
    if best_of and report.scores:
        texts.append(
            f"{'; '.join(best_of)} and keeps the one with the best scores; its time is that of all of them. The same metric "
            "selects and scores the images, so its result is optimistic."
        )
    return texts


def facts(report: Report) -> dict[str, str]:
    """Return the facts of the run, {name: text}."""
    run, methods = report.run, len(report.contenders)
    images = f"{run.pictures} of {methods} methods"
    if not run.runs:
        return run_facts(run, images) | _metric_facts(run.metrics)
    common = {
        "images": images,
        "prompts": str(run.prompts),
        "seeds": f"{run.seeds} per prompt",
        **_metric_facts(run.metrics),
    }
    for name, own in run.runs.items():
        shown = run_facts(own, f"{own.pictures} of {len(own.contenders)} methods")
        common |= {f"{name}: {fact}": text for fact, text in shown.items()}
    return common


def run_facts(run: RunFacts, images: str) -> dict[str, str]:
    """Return the facts of one run, {name: text}; `images` describes its images."""
    model = NO_MODEL if run.imported else f"{run.model}, fingerprint {run.model_fingerprint[:16]}"
    first = "" if run.imported else f" from {run.suite['first_seed']}"
    return {
        "suite": f"{run.suite['name']}: {run.suite['about']}",
        "model": model,
        "date": run.date,
        "images": images,
        "prompts": f"{run.prompts} of {run.prompts + run.prompts_left_out}",
        "seeds": f"{run.seeds} per prompt{first}",
        **({} if run.imported else _sampling_facts(run)),
    }


def _sampling_facts(run: RunFacts) -> dict[str, str]:
    machine = {name: value for name, value in (run.machine or {}).items() if value is not None}
    return {
        "sampling": f"{run.steps} steps, guidance scale {run.guidance_scale or 0:g}, {run.dtype}",
        "batches": f"{run.batch_size} images per batch",
        "machine": ", ".join(f"{name} {value}" for name, value in machine.items()),
        "versions": ", ".join(f"{name} {value}" for name, value in run.versions.items()),
    }


def _metric_facts(metrics: Mapping[str, str]) -> dict[str, str]:
    text = ", ".join(f"{name}, fingerprint {fingerprint[:16]}" for name, fingerprint in metrics.items())
    return {"metrics": text} if text else {}


def by_method(rows: Iterable[ScoreRow]) -> dict[str, dict[str, ScoreRow]]:
    """Return {method: {score: row}}."""
    table: dict[str, dict[str, ScoreRow]] = {}
    for row in rows:
        table.setdefault(row.method, {})[row.metric] = row
    return table
