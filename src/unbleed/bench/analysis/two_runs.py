"""Comparison of two runs: one report with the variants of both, over the prompts and seeds that both have."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...errors import BenchError
from ..plan.cases import Suite
from ..plan.plan import Plan
from ..scoring.kept_metrics import by_rank, fingerprints_of, kept_fingerprints
from ..scoring.results import ImageRow, Results
from ..scoring.run_folder import RunFolder, open_folder
from ..storage.store import Store
from .bootstrap import DRAWS, arrange
from .facts import RunFacts, facts_of
from .ranks import MIN_METHODS, RankAgreement, rank_agreement
from .summary import Report, build

NAMED = 3  # prompts that a caution names

_SETUP = {  # {field of a plan: its name in cautions}
    "model_fingerprint": "model",
    "steps": "steps",
    "guidance_scale": "guidance scale",
    "dtype": "precision",
    "batch_size": "batch size",
    "versions": "versions",
    "machine": "machine",
}


def open_both(
    first: Path, second: Path, names: Sequence[str] | None = None, *, allow_partial: bool = False
) -> tuple[RunFolder, RunFolder]:
    """Return two run folders, scored by the metrics that were run on both in the same version.

    Raises `BenchError` as `open_folder` does, and if a metric in `names` differs between the two.
    """
    stores = [Store(first), Store(second)]
    found = [kept_fingerprints(store, store.plan()) for store in stores]
    common: dict[str, str] = {}
    for name in names or sorted(found[0].keys() & found[1].keys()):
        mine, theirs = (fingerprints_of(store, name, of) for store, of in zip(stores, found, strict=True))
        shared = [fingerprint for fingerprint in mine if fingerprint in theirs]
        if shared:
            common[name] = shared[0]
        elif names:
            raise BenchError(f"{first} and {second} have no version of {name} in common; run it on both, then compare")
    chosen = names or by_rank(common)
    one, two = (open_folder(path, chosen, fingerprints=common, allow_partial=allow_partial) for path in (first, second))
    return one, two


def compare(first: RunFolder, second: RunFolder, *, draws: int = DRAWS) -> Report:
    """Return the report of both runs, with labels such as "a:syngen"; the baseline is that of the first run.

    Raises `BenchError` if they have no prompt or no seed in common.
    """
    names = names_of([first.path, second.path])
    runs = dict(zip(names, (first, second), strict=True))
    prompts = [list(dict.fromkeys(row.prompt for row in run.results.images)) for run in runs.values()]
    seeds = [sorted({row.seed for row in run.results.images}) for run in runs.values()]
    common = [prompt for prompt in prompts[0] if prompt in set(prompts[1])]
    common_seeds = [seed for seed in seeds[0] if seed in seeds[1]]
    if not common or not common_seeds:
        what = "seed" if common else "prompt"
        raise BenchError(f"{first.path} and {second.path} have no {what} in common; compare runs of the same suite and seeds")
    index = {prompt: case for case, prompt in enumerate(common)}
    images = [
        replace(row, method=f"{name}:{row.method}", case=index[row.prompt])
        for name, run in runs.items()
        for row in run.results.images
        if row.prompt in index and row.seed in common_seeds
    ]
    results = Results(first.results.scores, tuple(_once(images)), 0, 0)
    plan = _plan(runs, common, common_seeds)
    own = next((c.label for c in first.plan.contenders if c.label == "none"), first.plan.contenders[0].label)
    report = build(plan, results, metrics=first.metrics, baseline=f"{names[0]}:{own}", draws=draws)
    left_out = [*_only(names, prompts, "prompt"), *_only(names, seeds, "seed")]
    facts = replace(
        report.run,
        title=f"{' and '.join(names)}: {plan.suite.name}",
        imported=any(run.plan.imported for run in runs.values()),
        cautions=(*first.cautions, *left_out, *_differing(first.plan, second.plan)),
        runs={name: _facts(run) for name, run in runs.items()},
        agreement=_agreement(report, names),
    )
    return replace(report, run=facts)


def _agreement(report: Report, names: Sequence[str]) -> RankAgreement | None:
    """Return how alike the two runs rank the methods that both have, if they are enough."""
    score = report.primary
    labels = [c.label for c in report.contenders]
    methods = [label.removeprefix(f"{names[0]}:") for label in labels if label.startswith(f"{names[0]}:")]
    methods = [method for method in methods if f"{names[1]}:{method}" in labels]
    if score is None or len(methods) < MIN_METHODS:
        return None
    records = ((row.method, row.case, row.seed, [row.scores.get(score.name, math.nan)]) for row in report.images)
    values = arrange(records, labels)[:, 0]
    first, second = (values[[labels.index(f"{name}:{method}") for method in methods]] for name in names)
    return rank_agreement(score.name, methods, first, second, report.run.draws)


def names_of(paths: Sequence[Path]) -> list[str]:
    """Return the names of folders, with as many parent folders as needed to make them differ.

    >>> names_of([Path("/runs/a/pairs"), Path("/runs/b/pairs")])
    ['a/pairs', 'b/pairs']

    Raises `BenchError` if both are the same folder.
    """
    parts = [path.resolve().parts for path in paths]
    for length in range(1, max(map(len, parts)) + 1):
        names = ["/".join(own[-length:]) for own in parts]
        if len(set(names)) == len(names):
            return names
    raise BenchError(f"{paths[0]} and {paths[1]} are the same folder; name two")


def _plan(runs: Mapping[str, RunFolder], prompts: Sequence[str], seeds: Sequence[int]) -> Plan:
    """Return the first run's plan with the variants of both, over the common prompts and seeds."""
    plan = next(iter(runs.values())).plan
    cases = {case.prompt: case for case in plan.suite.cases}
    suites = {run.plan.suite.name: run.plan.suite.about for run in runs.values()}
    suite = Suite(" and ".join(suites), "; ".join(suites.values()), tuple(cases[prompt] for prompt in prompts), seeds[0])
    contenders = [replace(c, label=f"{name}:{c.label}") for name, run in runs.items() for c in run.plan.contenders]
    return replace(plan, suite=suite, seeds=len(seeds), contenders=tuple(contenders))


def _once(images: Sequence[ImageRow]) -> list[ImageRow]:
    """Return the images without duplicates from prompts that a suite repeats."""
    return list({(row.method, row.case, row.seed): row for row in images}.values())


def _only(names: Sequence[str], values: Sequence[Sequence[Any]], what: str) -> list[str]:
    """Return a caution for each run that has prompts or seeds that the other lacks."""
    texts = []
    for name, mine, theirs in ((names[0], values[0], values[1]), (names[1], values[1], values[0])):
        other = set(theirs)
        if only := [value for value in mine if value not in other]:
            named = [f'"{value}"' if isinstance(value, str) else str(value) for value in only[:NAMED]]
            more = f" and {len(only) - NAMED} more" if len(only) > NAMED else ""
            count = f"{len(only)} {what if len(only) == 1 else what + 's'}"
            texts.append(f"Left out because only {name} has them: {count} ({', '.join(named)}{more}).")
    return texts


def _differing(first: Plan, second: Plan) -> list[str]:
    """Return the caution that the methods are not the only difference between the runs."""
    if first.imported or second.imported:
        return ["It is not known how imported images were sampled; the differences may be due to that."]
    differing = [words for name, words in _SETUP.items() if getattr(first, name) != getattr(second, name)]
    return [f"The runs also differ in {', '.join(differing)}; the differences may be due to that."] if differing else []


def _facts(run: RunFolder) -> RunFacts:
    images = run.results.images
    complete = len({row.case for row in images})
    return facts_of(run.plan, date=run.date, prompts=complete, prompts_left_out=run.results.left_out, pictures=len(images))
