"""Two runs as one: the contenders of both, over the pictures of which both have the prompt and the seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...errors import BenchError
from ..plan.cases import Suite
from ..plan.plan import Plan
from ..reporting.text import run_facts
from ..scoring.results import PictureRow, Results
from ..scoring.run_folder import Folder, fingerprints_of, kept_fingerprints, open_folder
from ..storage.store import Store
from .bootstrap import DRAWS
from .summary import Report, build

NAMED = 3  # prompts that a caution names

_SETUP = {
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
) -> tuple[Folder, Folder]:
    """Return two folders, scored by the metrics that looked at the pictures of both in the same definition.

    Raises `BenchError` as `open_folder` does, and where a metric that is asked for differs between the two.
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
            raise BenchError(f"{first} and {second} have no version of {name} in common; let it look at both, then compare")
    chosen = names or sorted(common, key=lambda name: (name != "oracle", name))
    one, two = (open_folder(path, chosen, fingerprints=common, allow_partial=allow_partial) for path in (first, second))
    return one, two


def compare(first: Folder, second: Folder, *, draws: int = DRAWS) -> Report:
    """Return the report of both, with labels such as "a:syngen"; the baseline is that of the first.

    Raises `BenchError` when they have no picture in common.
    """
    names = names_of([first.path, second.path])
    runs = dict(zip(names, (first, second), strict=True))
    prompts = [list(dict.fromkeys(r.prompt for r in run.results.pictures)) for run in runs.values()]
    seeds = [sorted({r.seed for r in run.results.pictures}) for run in runs.values()]
    common = [prompt for prompt in prompts[0] if prompt in set(prompts[1])]
    common_seeds = [seed for seed in seeds[0] if seed in seeds[1]]
    if not common or not common_seeds:
        what = "seed" if common else "prompt"
        raise BenchError(f"{first.path} and {second.path} have no {what} in common; compare runs of the same suite and seeds")
    places = {prompt: place for place, prompt in enumerate(common)}
    pictures = [
        replace(r, contender=f"{name}:{r.contender}", case=places[r.prompt])
        for name, run in runs.items()
        for r in run.results.pictures
        if r.prompt in places and r.seed in common_seeds
    ]
    results = Results(first.results.scores, tuple(_once(pictures)), 0, 0)
    plan = _plan(runs, common, common_seeds)
    own = next((c.label for c in first.plan.contenders if c.label == "none"), first.plan.contenders[0].label)
    report = build(plan, results, metrics=first.metrics, baseline=f"{names[0]}:{own}", draws=draws)
    left_out = [*_only(names, prompts, "prompt"), *_only(names, seeds, "seed")]
    facts = {
        "title": f"{' and '.join(names)}: {plan.suite.name}",
        "imported": any(run.plan.imported for run in runs.values()),
        "cautions": [*first.cautions, *left_out, *_differing(first.plan, second.plan)],
        "runs": {name: _facts(run) for name, run in runs.items()},
    }
    return replace(report, run={**report.run, **facts})


def names_of(paths: Sequence[Path]) -> list[str]:
    """Return the folders' names, with as much of their paths as tells them apart.

    >>> names_of([Path("/runs/a/pairs"), Path("/runs/b/pairs")])
    ['a/pairs', 'b/pairs']

    Raises `BenchError` when both are one folder.
    """
    parts = [path.resolve().parts for path in paths]
    for length in range(1, max(map(len, parts)) + 1):
        names = ["/".join(of[-length:]) for of in parts]
        if len(set(names)) == len(names):
            return names
    raise BenchError(f"{paths[0]} and {paths[1]} are one folder; name two")


def _plan(runs: Mapping[str, Folder], prompts: Sequence[str], seeds: Sequence[int]) -> Plan:
    """Return the first run's plan with the contenders of both, over what they have in common."""
    plan = next(iter(runs.values())).plan
    cases = {case.prompt: case for case in plan.suite.cases}
    suites = {run.plan.suite.name: run.plan.suite.about for run in runs.values()}
    suite = Suite(" and ".join(suites), "; ".join(suites.values()), tuple(cases[prompt] for prompt in prompts), seeds[0])
    contenders = [replace(c, label=f"{name}:{c.label}") for name, run in runs.items() for c in run.plan.contenders]
    return replace(plan, suite=suite, seeds=len(seeds), contenders=tuple(contenders))


def _once(pictures: Sequence[PictureRow]) -> list[PictureRow]:
    """Return the pictures without those of a prompt that its suite has twice."""
    return list({(r.contender, r.case, r.seed): r for r in pictures}.values())


def _only(names: Sequence[str], of: Sequence[Sequence[Any]], what: str) -> list[str]:
    """Return a caution for each run that has what the other has not."""
    texts = []
    for name, mine, theirs in ((names[0], of[0], of[1]), (names[1], of[1], of[0])):
        other = set(theirs)
        if alone := [one for one in mine if one not in other]:
            told = [f'"{one}"' if isinstance(one, str) else str(one) for one in alone[:NAMED]]
            more = f" and {len(alone) - NAMED} more" if len(alone) > NAMED else ""
            count = f"{len(alone)} {what if len(alone) == 1 else what + 's'}"
            texts.append(f"Left out, for {name} alone has them: {count} ({', '.join(told)}{more}).")
    return texts


def _differing(first: Plan, second: Plan) -> list[str]:
    """Return the caution that differences are not those of the methods alone."""
    if first.imported or second.imported:
        return ["How imported pictures were drawn is not known; the differences are also those of that."]
    differing = [words for name, words in _SETUP.items() if getattr(first, name) != getattr(second, name)]
    return [f"The runs differ in {', '.join(differing)}; their differences are also those of that."] if differing else []


def _facts(run: Folder) -> dict[str, str]:
    complete = len({r.case for r in run.results.pictures})
    told = {"date": run.date, "prompts": complete, "prompts_left_out": run.results.left_out}
    return run_facts(run.plan.to_json() | told, f"{len(run.results.pictures)} of {len(run.plan.contenders)} methods")
