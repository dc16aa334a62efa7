"""A report in words: what its figures say, how they were made, and the whole of it as Markdown."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ..emoji.findings import Finding
from .cases import Case
from .comparison import SIGNIFICANT, Report, Row
from .metrics.oracle import METRICS

FEW_PROMPTS = 20  # with fewer the report warns of its intervals


def percent(share: float) -> str:
    return f"{100 * share:.1f}".replace("-", "−")


def points(share: float) -> str:
    """Return a difference with its sign; one that rounds to zero has none."""
    return re.sub(r"^[+-]0\.0$", "0.0", f"{100 * share:+.1f}").replace("-", "−")


def span(low: float, high: float, words: Callable[[float], str] = percent) -> str:
    return f"{words(low)} to {words(high)}"


def verdict(row: Row) -> str:
    """Return "better" or "worse" where a difference is significant, "" elsewhere."""
    if not row.significant or row.difference is None:
        return ""
    higher = {m.name: m.higher_is_better for m in METRICS}[row.metric]
    return "better" if (row.difference > 0) == higher else "worse"


def faults(case: Case, finding: Finding) -> list[str]:
    """Return what is wrong with a picture, in short words; nothing exactly when it counts as all correct."""
    wrong: list[str] = []
    for entity in case.entities:
        colours = [thing.colour for thing in finding.things if thing.noun == entity.noun]
        if not colours:
            wrong.append(f"no {entity.noun}")
        elif entity.colour not in colours:
            wrong.append(f"{entity.noun} is {colours[0]}" if colours[0] else f"{entity.noun} not {entity.colour}")
    extra = Counter(t.noun for t in finding.things) - Counter(e.noun for e in case.entities)
    wrong += [f"extra {noun}" if count == 1 else f"{count} extra {noun}" for noun, count in extra.items()]
    return wrong + ["blend"] * bool(finding.blends)


def result(report: Report) -> str:
    """Return the run's result in one sentence: of the method that draws most pictures all-correct.

    A best-of-N is passed over where there is another: its pictures are chosen by the judge that counts them.
    """
    success = [row for row in report.rows if row.metric == "all_correct"]
    base = next(row for row in success if row.method == report.baseline)
    others = [row for row in success if row is not base]
    guided = [row for row in others if row.method not in {c.label for c in report.contenders if c.draws > 1}]
    candidates = guided or others
    if not candidates:
        interval = span(base.low, base.high)
        return f"{base.method} draws {percent(base.mean)} % of the pictures all-correct (95 % interval {interval})."
    best = max(candidates, key=lambda row: row.mean)
    name = f"{best.method}, the best of {len(candidates)} methods," if len(candidates) > 1 else best.method
    time = f"at {best.seconds_per_picture / base.seconds_per_picture:.1f} times the time"
    difference, low, high = best.difference or 0.0, best.difference_low or 0.0, best.difference_high or 0.0
    if low <= 0 <= high or not best.significant:
        counted = "" if low <= 0 <= high else ", with the number of methods counted in"
        return (
            f"No difference can be shown between {base.method} and {name.rstrip(',')}{counted}: {points(difference)} points of "
            f"pictures all-correct (95 % interval {span(low, high, points)}), {time}."
        )
    low, high = sorted((abs(low), abs(high)))
    return (
        f"{name} draws {percent(abs(difference))} points {'more' if difference > 0 else 'fewer'} pictures all-correct than "
        f"{base.method} (95 % interval {span(low, high)}), {time}."
    )


def facts(report: Report) -> dict[str, str]:
    """Return the facts of the run, {name: words}."""
    return run_facts(report.run, f"{report.run['pictures']} of {len(report.contenders)} methods")


def run_facts(run: Mapping[str, Any], pictures: str) -> dict[str, str]:
    """Return the facts of any run, {name: words}: of its plan as JSON has it, with date, prompts and prompts_left_out."""
    machine = {name: value for name, value in run["machine"].items() if value is not None}
    return {
        "suite": f"{run['suite']['name']}: {run['suite']['about']}",
        "model": f"{run['model']}, fingerprint {run['model_fingerprint'][:16]}",
        "judge": f"fingerprint {run['judge'][:16]}",
        "date": run["date"],
        "pictures": pictures,
        "prompts": f"{run['prompts']} of {run['prompts'] + run['prompts_left_out']}",
        "seeds": f"{run['seeds']} per prompt from {run['suite']['first_seed']}",
        "sampling": f"{run['steps']} steps, guidance scale {run['guidance_scale']:g}, {run['dtype']}",
        "batches": f"{run['batch_size']} pictures at once",
        "machine": ", ".join(f"{name} {value}" for name, value in machine.items()),
        "versions": ", ".join(f"{name} {value}" for name, value in run["versions"].items()),
    }


def notes(report: Report) -> list[str]:
    """Return how the figures were made, and what they are not."""
    run = report.run
    texts = [
        "All methods drew the same prompts from the same seeds, so they are compared picture by picture. Intervals are 95 % "
        f"percentile intervals of a paired hierarchical bootstrap of {run['draws']:,} draws: prompts with replacement, then "
        "seeds within each prompt, the same draw for all methods and metrics. With several seeds per prompt they are rather "
        f"too wide than too narrow; from fewer than {FEW_PROMPTS} prompts, as in a small group, they may be too narrow.",
        f"A mark (✱) stands where the difference to {report.baseline} has p < {SIGNIFICANT} after Holm's correction for the "
        "number of methods compared. Metrics and groups are not corrected for each other.",
        "The judge is a network and can err. It judges all methods alike.",
        "Seconds per picture are the mean of the wall clock on the machine named here, with everything that a method does.",
    ]
    best_of = [f"{c.label} draws {c.draws} unguided pictures for each seed" for c in report.contenders if c.draws > 1]
    if best_of:
        texts.append(
            f"{'; '.join(best_of)} and keeps the one that the judge likes best; its time is that of all of them. The judge "
            "that picks is the judge that counts, so its figure is optimistic."
        )
    return texts


def exchanges(report: Report) -> list[str]:
    """Return for each method how many of the baseline's right pictures it spoils, and how many of its wrong ones it mends."""
    right = {(r.case, r.seed): r.scores["all_correct"] == 1 for r in report.pictures if r.contender == report.baseline}
    texts = []
    for label in [c.label for c in report.contenders if c.label != report.baseline]:
        now = {(r.case, r.seed): r.scores["all_correct"] == 1 for r in report.pictures if r.contender == label}
        spoilt = [not now[key] for key, was_right in right.items() if was_right]
        mended = [now[key] for key, was_right in right.items() if not was_right]
        texts.append(
            f"{label} spoils {sum(spoilt)} of {len(spoilt)} pictures that {report.baseline} has all-correct, and mends "
            f"{sum(mended)} of {len(mended)} others."
        )
    return texts


def cautions(report: Report) -> list[str]:
    """Return what a reader must know before the figures."""
    count, left_out = report.run["prompts"], report.run["prompts_left_out"]
    texts = [f"The run is not finished: {left_out} of {count + left_out} prompts are left out."] if left_out else []
    return texts + few_prompts(count)


def few_prompts(count: int) -> list[str]:
    """Return the caution that a report of so few prompts needs, if it needs one."""
    few = f"Intervals from fewer than {FEW_PROMPTS} prompts may be too narrow; this report has {count}."
    return [few] * (count < FEW_PROMPTS)


def markdown(report: Report) -> str:
    """Return the report as Markdown: the result, the tables, the facts."""
    lines = [f"# {report.run['suite']['name']} on {report.run['model']}", "", result(report), "", *cautions(report), ""]
    for group, rows in {"All prompts": report.rows, **report.subsets}.items():
        count = report.run["groups"].get(group, report.run["prompts"])
        lines += [f"## {group} ({count} prompts)", "", "Percent, with 95 % intervals."]
        lines += _table(rows, lambda row: f"{percent(row.mean)} ({span(row.low, row.high)})")
        if len(report.contenders) > 1:
            lines += [f"Differences to {report.baseline} in points, with 95 % intervals; ✱ where p < {SIGNIFICANT} after Holm."]
            lines += _table([row for row in rows if row.difference is not None], _difference)
    if exchanges(report):
        lines += ["## Mended and spoilt", "", *(f"- {text}" for text in exchanges(report)), ""]
    lines += ["## How this was measured", "", *(f"- {m.title}: {m.about}" for m in METRICS), ""]
    lines += [*(f"- {note}" for note in notes(report)), ""]
    lines += [f"- {name}: {words}" for name, words in facts(report).items() if words]
    lines += [f"- settings of {c.label}: `{json.dumps(dict(c.settings))}`" for c in report.contenders]
    return "\n".join(lines) + "\n"


def _difference(row: Row) -> str:
    low, high = row.difference_low or 0.0, row.difference_high or 0.0
    return f"{points(row.difference or 0.0)} ({span(low, high, points)}){' ✱' * row.significant}"


def _table(rows: Iterable[Row], cell: Callable[[Row], str]) -> list[str]:
    heads = ["method", *(m.title + " ↓" * (not m.higher_is_better) for m in METRICS), "seconds per picture"]
    lines = ["", f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
    for method, of in by_method(rows).items():
        name, seconds = method.replace("|", "\\|"), of["all_correct"].seconds_per_picture
        lines.append(f"| {' | '.join([name, *map(cell, of.values()), f'{seconds:.2f}'])} |")
    return [*lines, ""]


def by_method(rows: Iterable[Row]) -> dict[str, dict[str, Row]]:
    """Return {method: {metric: row}}."""
    table: dict[str, dict[str, Row]] = {}
    for row in rows:
        table.setdefault(row.method, {})[row.metric] = row
    return table
