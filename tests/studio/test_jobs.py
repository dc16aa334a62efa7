"""The queue: in turn, bounded, told, cancelled."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from unbleed.errors import PromptError, StudioError
from unbleed.studio.jobs import Job, Jobs


def until(found: Callable[[], object], seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not found():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.002)


def checking(worker: str, job: Job) -> None:
    """Work that ends only when it is cancelled."""
    while True:
        job.check()
        time.sleep(0.001)


def test_one_at_a_time_and_in_turn() -> None:
    order: list[str] = []
    running = 0

    def work(worker: str, job: Job) -> None:
        nonlocal running
        running += 1
        assert running == 1
        order.append(job.owner)
        time.sleep(0.002)
        running -= 1
        job.results.append(job.owner)

    with Jobs(["cpu"], 64) as jobs:
        made = [jobs.submit(f"owner {n}", work) for n in range(50)]
        until(lambda: all(job.over for job in made))
    assert order == [f"owner {n}" for n in range(50)]
    assert [job.results for job in made] == [[owner] for owner in order]
    assert {job.state for job in made} == {"done"}


def test_each_device_has_a_worker() -> None:
    both = threading.Barrier(2, timeout=5)
    used = []

    def work(worker: str, job: Job) -> None:
        used.append(worker)
        both.wait()

    with Jobs(["cuda:0", "cuda:1"], 8) as jobs:
        made = [jobs.submit(name, work) for name in ("a", "b")]
        until(lambda: all(job.over for job in made))
    assert sorted(used) == ["cuda:0", "cuda:1"]


def test_the_queue_is_bounded_and_an_owner_has_one_job() -> None:
    with Jobs(["cpu"], 2) as jobs:
        first = jobs.submit("a", checking)
        until(lambda: first.state == "running")
        with pytest.raises(StudioError, match=r"^a drawing of this page is under way"):
            jobs.submit("a", checking)
        second, third = jobs.submit("b", checking), jobs.submit("c", checking)
        assert (jobs.ahead(second), jobs.ahead(third)) == (1, 2)
        with pytest.raises(StudioError, match=r"^2 drawings are waiting"):
            jobs.submit("d", checking)


def test_cancelling_what_waits_and_what_runs() -> None:
    with Jobs(["cpu"], 8) as jobs:
        running, waiting = jobs.submit("a", checking), jobs.submit("b", checking)
        until(lambda: running.state == "running")
        assert jobs.cancel("b")
        assert waiting.state == "cancelled"
        assert jobs.cancel("a")
        until(lambda: running.state == "cancelled")
        assert not jobs.cancel("a")
        assert len(jobs) == 0
        again = jobs.submit("a", lambda worker, job: job.results.append(1))
        until(lambda: again.state == "done")


def test_a_failure_is_one_line_and_the_worker_goes_on() -> None:
    def failing(error: BaseException) -> Callable[[str, Job], None]:
        def work(worker: str, job: Job) -> None:
            raise error

        return work

    with Jobs(["cpu"], 8) as jobs:
        made = [
            jobs.submit(str(n), failing(error)) for n, error in enumerate([PromptError("no"), MemoryError(), KeyError("a\nb")])
        ]
        until(lambda: all(job.over for job in made))
        assert [job.error for job in made] == ["no", "out of memory; take fewer or smaller pictures", "KeyError: 'a\\nb'"]
        fine = jobs.submit("x", lambda worker, job: None)
        until(lambda: fine.state == "done")


def test_leaving_ends_everything() -> None:
    with Jobs(["cpu"], 8) as jobs:
        made = [jobs.submit(name, checking) for name in "abc"]
        until(lambda: made[0].state == "running")
    assert {job.state for job in made} == {"cancelled"}
    with pytest.raises(StudioError, match="being closed"):
        jobs.submit("d", checking)


def test_time_left_follows_from_the_share() -> None:
    job = Job("a", checking, weight=4.0, state="running", begun=time.monotonic() - 10)
    assert job.seconds_left is None
    job.advance(1.0, "step 1")
    assert job.seconds_left == pytest.approx(30, abs=1)
    job.advance(9.0, "")
    assert job.share == 1.0


def test_what_would_end_a_thread_ends_one_job_alone(caplog: pytest.LogCaptureFixture) -> None:
    def dying(worker: str, job: Job) -> None:
        raise SystemExit("a library gave up")

    with Jobs(["cpu"], 8) as jobs:
        first, second = jobs.submit("a", dying), jobs.submit("b", lambda worker, job: None)
        until(lambda: second.over)
        assert (first.state, first.error) == ("failed", "SystemExit: a library gave up")
        assert second.state == "done"


def test_a_job_that_is_dropped_leaves_its_owners_next_one_alone() -> None:
    held = threading.Event()
    with Jobs(["cpu"], 8) as jobs:
        first = jobs.submit("a", lambda worker, job: (held.wait(5), job.check()))
        until(lambda: first.state == "running")
        jobs.cancel("a")
        second = jobs.submit("a", lambda worker, job: None)
        jobs.drop(first)  # as its page does once it hears that the connection broke
        held.set()
        until(lambda: second.over)
        assert (first.state, second.state) == ("cancelled", "done")
        jobs.drop(second)
        assert second.state == "done"
