"""Ray's workers draw what one process draws, and their deaths cost nothing but time."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import sys
import threading
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from unbleed.bench.plan.cases import Suite
from unbleed.bench.plan.jobs import Job
from unbleed.bench.plan.variants import variants_from
from unbleed.bench.sampling.executors import MAX_DEATHS, check_capacity, ray
from unbleed.bench.sampling.runner import RunSummary, plan_for, run
from unbleed.bench.sampling.workers import JobResult, NullWorker
from unbleed.bench.storage.images import read_image
from unbleed.bench.storage.store import Store
from unbleed.bench.suites import suite
from unbleed.errors import BenchError, ModelError

os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # before the import, as the executor does it: loopback alone
os.environ["RAY_AUTH_MODE"] = "token"
cloudpickle = pytest.importorskip("ray.cloudpickle")
cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers do not find the tests
pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL"),
    pytest.mark.filterwarnings("ignore"),  # Ray's own
]


def plan_of(out: Path, limit: int, model: str, **options: Any) -> Any:
    contenders = variants_from(["none", "syngen"], "emoji")
    chosen = {"seeds": 2, "steps": 2, "batch_size": 2, "threads": 1} | options
    return plan_for(Store(out), suite("emoji-pairs").head(limit), contenders, model=model, **chosen)


def rows_of(out: Path) -> dict[str, tuple[Any, ...]]:
    return Store(out).pictures.read("setup", "method", "prompt", "seed", "together", "dtype", "error")


def pixels_of(out: Path) -> dict[str, bytes]:
    return {path.stem: read_image(path).tobytes() for path in out.glob("images/*/*.png")}


@pytest.mark.parametrize(("model", "workers"), [("null", 1), pytest.param("emoji", 2, marks=pytest.mark.slow)])
def test_workers_draw_what_one_process_draws_and_go_on_where_it_stopped(tmp_path: Path, model: str, workers: int) -> None:
    one, two = tmp_path / "serial", tmp_path / "ray"
    run(one, plan_of(one, 3, model))
    run(two, plan_of(two, 1, model))  # begun here, finished there
    outcome = run(two, plan_of(two, 3, model), executor=ray(workers=workers, cpus=1))
    assert outcome.sampled == 8
    assert rows_of(two) == rows_of(one)
    assert pixels_of(two) == pixels_of(one)


@dataclass
class Mortal:
    """Draws grey. Leaves the number of its process in a folder, so that it can be killed, and dies over one prompt itself."""

    folder: Path
    seconds: float = 0.02
    deadly: str = ""

    def run(self, jobs: Sequence[Job]) -> list[JobResult]:
        (self.folder / str(os.getpid())).touch()
        time.sleep(self.seconds)
        if any(job.prompt == self.deadly for job in jobs):
            os.kill(os.getpid(), signal.SIGKILL)
        return NullWorker().run(jobs)


def draw(out: Path, folder: Path, limit: int = 40, **mortal: Any) -> RunSummary:
    folder.mkdir(exist_ok=True)
    return run(
        out,
        plan_of(out, limit, "null"),
        make=lambda: Mortal(folder, **mortal),
        executor=ray(workers=2, cpus=1),
    )


@pytest.mark.slow
def test_killed_workers_lose_and_repeat_nothing(tmp_path: Path) -> None:
    out, folder, moments = tmp_path / "run", tmp_path / "workers", random.Random(0)
    killed: list[int] = []
    over = threading.Event()

    def kill() -> None:
        while not over.wait(moments.uniform(0.2, 0.6)) and len(killed) < 5:
            alive = [int(file.name) for file in folder.glob("*") if int(file.name) not in killed]
            if alive:
                killed.append(moments.choice(alive))
                os.kill(killed[-1], signal.SIGKILL)

    hunter = threading.Thread(target=kill)
    hunter.start()
    outcome = draw(out, folder, 100, seconds=0.1)
    over.set()
    hunter.join()
    assert len(killed) >= 3
    assert (outcome.pictures, outcome.sampled, outcome.failed) == (400, 400, 0)
    assert len(rows_of(out)) == len(pixels_of(out)) == 400


@pytest.mark.slow
def test_a_batch_that_kills_its_workers_is_given_up(tmp_path: Path) -> None:
    out, folder = tmp_path / "run", tmp_path / "workers"
    cases = Suite("own", "", suite("emoji-pairs").cases[:3])
    folder.mkdir()
    plan = replace(plan_of(out, 1, "null", seeds=1, batch_size=1), suite=cases)
    deadly = cases.cases[1].prompt
    with pytest.raises(BenchError, match=f'1 of 3 prompts failed: "{deadly}".*{MAX_DEATHS} workers died while sampling it'):
        run(out, plan, make=lambda: Mortal(folder, deadly=deadly), executor=ray(workers=2, cpus=1))
    drawn, failed, _ = Store(out).state()
    assert (len(drawn), len(failed)) == (4, 2)


def draw_in_a_process(out: Path, folder: Path) -> None:
    warnings.simplefilter("ignore")
    draw(out, folder, seconds=0.05)


@dataclass
class Broken:
    """Cannot load its pipeline, or cannot even be made."""

    error: Exception
    at_once: bool

    def __post_init__(self) -> None:
        if self.at_once:
            raise self.error

    def run(self, jobs: Sequence[Job]) -> list[JobResult]:
        raise self.error


@pytest.mark.parametrize(
    ("error", "at_once", "seen"),
    [
        (ModelError("no such model"), False, ModelError("no such model")),
        (RuntimeError("too old a driver"), False, BenchError("a worker failed: RuntimeError: too old a driver")),
        (RuntimeError("too old a driver"), True, BenchError("a worker cannot start: RuntimeError: too old a driver")),
    ],
)
@pytest.mark.slow
def test_what_is_no_jobs_fault_stops_the_run(tmp_path: Path, error: Exception, at_once: bool, seen: Exception) -> None:
    out = tmp_path / "run"
    with pytest.raises(type(seen), match=str(seen)):
        run(out, plan_of(out, 2, "null"), make=lambda: Broken(error, at_once), executor=ray(workers=1, cpus=1))
    assert rows_of(out) == {}


@pytest.mark.slow
def test_a_killed_driver_loses_and_repeats_nothing(tmp_path: Path) -> None:
    out, folder, moments = tmp_path / "run", tmp_path / "workers", random.Random(1)
    processes = multiprocessing.get_context("spawn")
    before = -1
    for _ in range(2):
        process = processes.Process(target=draw_in_a_process, args=(out, folder))
        process.start()
        while process.is_alive() and len(list(out.glob("images/*/*.png"))) <= before:
            time.sleep(0.05)
        time.sleep(moments.uniform(0.1, 0.4))
        process.kill()
        process.join()
        assert process.exitcode == -9
        before = len(list(out.glob("images/*/*.png")))
    kept = rows_of(out)
    assert kept
    outcome = draw(out, folder)
    assert outcome.sampled == 160 - len(kept)
    assert len(rows_of(out)) == len(pixels_of(out)) == 160
    assert kept.items() <= rows_of(out).items()


def test_more_workers_than_the_cluster_holds_are_refused() -> None:
    """Ray would let them wait for ever. Each has to fit on one node."""
    nodes = [
        {"Alive": True, "Resources": {"CPU": 7.0, "GPU": 1.0}},
        {"Alive": True, "Resources": {"CPU": 16.0, "GPU": 4.0}},
        {"Alive": False, "Resources": {"CPU": 64.0, "GPU": 8.0}},
        {"Alive": True, "Resources": {"CPU": 64.0}},
    ]
    cluster = SimpleNamespace(nodes=lambda: nodes)
    check_capacity(cluster, 5, {"CPU": 4, "GPU": 1})
    with pytest.raises(BenchError, match=r"^6 workers of 4 CPU and 1 GPU each, but the cluster holds 5; use fewer"):
        check_capacity(cluster, 6, {"CPU": 4, "GPU": 1})
    with pytest.raises(BenchError, match=r"^6 workers of 16 CPU each, but the cluster holds 5"):
        check_capacity(cluster, 6, {"CPU": 16, "GPU": 0})
