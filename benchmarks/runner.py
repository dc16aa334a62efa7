"""Cost of the benchmark's runner itself, with the null model, which writes grey images of 64x64 pixels.

Prints milliseconds per job and memory for four stages, each in its own process: a run, a second run that has nothing left to
do, a metric's pass over all images, and the report. Memory is given before the first job and at its peak, so that growth
shows.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from unbleed.bench.analysis import summary as comparison
from unbleed.bench.metrics import Metric, Score
from unbleed.bench.plan.cases import Case, Suite
from unbleed.bench.plan.environment import NULL_MODEL
from unbleed.bench.plan.plan import Plan
from unbleed.bench.plan.variants import variants_from
from unbleed.bench.reporting import writer as report
from unbleed.bench.sampling.runner import plan_for, run
from unbleed.bench.scoring.results import results
from unbleed.bench.scoring.scorer import run_metric
from unbleed.bench.storage.store import Store

SEEDS = 4
METHODS = ("none", "syngen")


@dataclass(frozen=True)
class Grey(Metric):
    """A metric without a model: the brightness of the first pixel."""

    name = "grey"
    fingerprint = "1"
    scores = (Score("grey", "grey", "brightness of the first pixel"),)

    def run(self, images: Sequence[Image.Image], cases: Sequence[Case]) -> list[dict[str, Any]]:
        return [{"grey": image.getpixel((0, 0))[0] / 255} for image in images]  # type: ignore[index]

    def score(self, case: Case, output: Any) -> dict[str, float]:
        return dict(output)


def plan_of(out: Path, jobs: int) -> Plan:
    prompts = jobs // (SEEDS * len(METHODS))
    cases = tuple(Case(f"thing number {number}", groups=(f"group {number % 5}",)) for number in range(prompts))
    suite = Suite("null", "numbered things", cases)
    return plan_for(Store(out), suite, variants_from(METHODS, "emoji"), model=NULL_MODEL, seeds=SEEDS)


def sample(out: Path, jobs: int) -> None:
    run(out, plan_of(out, jobs))


def score(out: Path, jobs: int) -> None:
    run_metric(Store(out), Store(out).plan(), Grey())


def write_report(out: Path, jobs: int) -> None:
    store = Store(out)
    plan = store.plan()
    report.write(comparison.build(plan, results(store, plan, [Grey()])), out)


STAGES: dict[str, Callable[[Path, int], None]] = {"run": sample, "run again": sample, "metric": score, "report": write_report}


def _stage(name: str, out: Path, jobs: int, answer: Any) -> None:
    before = _peak()
    begun = time.perf_counter()
    STAGES[name](out, jobs)
    answer.send((time.perf_counter() - begun, before, _peak()))


def _peak() -> float:
    """Return the peak memory of this process in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform == "linux" else 1024**2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=100_000)
    parser.add_argument("--out", type=Path, default=Path("out/runner"), help="folder, emptied first")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    shutil.rmtree(given.out, ignore_errors=True)
    processes = multiprocessing.get_context("spawn")
    figures: dict[str, dict[str, float]] = {}
    for name in STAGES:
        ours, theirs = processes.Pipe(duplex=False)
        process = processes.Process(target=_stage, args=(name, given.out, given.jobs, theirs))
        process.start()
        theirs.close()
        seconds, before, peak = ours.recv()
        process.join()
        figures[name] = {
            "seconds": seconds,
            "ms_per_job": 1000 * seconds / given.jobs,
            "MiB_before": before,
            "MiB_peak": peak,
        }
        if not given.json:
            each = 1000 * seconds / given.jobs
            print(f"{name:10}{seconds:8.1f} s {each:8.3f} ms per job, {before:.0f} MiB before, {peak:.0f} at most", flush=True)
    if given.json:
        print(json.dumps({"jobs": given.jobs, "stages": figures}, indent=2))


if __name__ == "__main__":
    main()
