"""Drawings in turn: a bounded queue, one worker per device, progress, and cancelling."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from ..errors import StudioError, UnbleedError

State = Literal["waiting", "running", "done", "failed", "cancelled"]
Work = Callable[[Any, "Job"], None]
"""What a worker does: it gets its own resource (a device's pipeline) and the job, to report to and to ask."""

_log = logging.getLogger(__name__)


class Cancelled(Exception):
    """The job was cancelled; raised inside its work by `Job.check`."""


@dataclass(eq=False)
class Job:
    """One request, from the queue to its end.

    Args:
        owner: Whose it is; an owner has one job at a time.
        work: What is to be done.
        weight: Cost of everything, in any unit; `advance` counts in the same one.
        state: Where it is.
        error: One line, if it failed.
        results: What the work has finished so far, in order.
    """

    owner: str
    work: Work = field(repr=False)
    weight: float = 1.0
    state: State = "waiting"
    error: str = ""
    results: list[Any] = field(default_factory=list, repr=False)
    note: str = ""
    done: float = 0.0
    begun: float = 0.0
    _cancelled: threading.Event = field(default_factory=threading.Event, repr=False)

    @property
    def over(self) -> bool:
        return self.state in ("done", "failed", "cancelled")

    @property
    def cancelling(self) -> bool:
        return self._cancelled.is_set()

    def cancel(self) -> None:
        """Ask the work to stop; it does so at its next `check`."""
        self._cancelled.set()

    def check(self) -> None:
        """Raise `Cancelled` if the job was cancelled."""
        if self._cancelled.is_set():
            raise Cancelled

    def advance(self, done: float, note: str) -> None:
        """Say how much of `weight` is done."""
        self.done, self.note = done, note

    @property
    def share(self) -> float:
        """Fraction that is done, from 0 to 1."""
        return min(1.0, self.done / self.weight) if self.weight else 0.0

    @property
    def seconds_left(self) -> float | None:
        """Estimate from the time so far; None before anything is done."""
        if self.state != "running" or self.share < 0.01:
            return None
        return (time.monotonic() - self.begun) * (1 - self.share) / self.share


class Jobs:
    """A queue with one worker thread for each of `resources`. Use it as a context manager; leaving it cancels everything."""

    def __init__(self, resources: Sequence[Any], most_waiting: int) -> None:
        self.most_waiting = most_waiting
        self._waiting: deque[Job] = deque()
        self._running: list[Job] = []
        self._changed = threading.Condition()
        self._closed = False
        self._threads = [threading.Thread(target=self._serve, args=(one,), daemon=True, name="studio") for one in resources]

    def __enter__(self) -> Jobs:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._closed = True
            for job in (*self._running, *self._waiting):
                job.cancel()
            self._changed.notify_all()
        for thread in self._threads:
            thread.join(timeout=30)

    def submit(self, owner: str, work: Work, weight: float = 1.0) -> Job:
        """Add a job to the end of the queue and return it.

        Raises:
            StudioError: the owner has one already, or the queue is full or closed.
        """
        with self._changed:
            if self._closed:
                raise StudioError("the studio is being closed; start it again")
            if any(job.owner == owner and not job.cancelling for job in (*self._running, *self._waiting)):
                raise StudioError("a drawing of this page is under way; cancel it, or wait for it")
            if len(self._waiting) >= self.most_waiting:
                raise StudioError(f"{len(self._waiting)} drawings are waiting; try again in a minute")
            job = Job(owner, work, weight)
            self._waiting.append(job)
            self._changed.notify()
            return job

    def cancel(self, owner: str) -> bool:
        """Cancel the job of an owner; return whether there was one. A waiting one leaves the queue at once."""
        with self._changed:
            found = [job for job in (*self._waiting, *self._running) if job.owner == owner and not job.cancelling]
        for job in found:
            self.drop(job)
        return bool(found)

    def drop(self, job: Job) -> None:
        """Cancel one job, which may be over: nobody waits for it any more."""
        with self._changed:
            if job in self._waiting:
                self._waiting.remove(job)
                job.state = "cancelled"
            job.cancel()

    def ahead(self, job: Job) -> int:
        """Return how many jobs are before a waiting one, the running ones included."""
        with self._changed:
            return len(self._running) + (self._waiting.index(job) if job in self._waiting else 0)

    def __len__(self) -> int:
        with self._changed:
            return len(self._waiting) + len(self._running)

    def _serve(self, resource: Any) -> None:
        while True:
            with self._changed:
                while not self._waiting and not self._closed:
                    self._changed.wait()
                if self._closed:
                    for job in self._waiting:
                        job.state = "cancelled"
                    self._waiting.clear()
                    return
                job = self._waiting.popleft()
                job.state, job.begun = "running", time.monotonic()
                self._running.append(job)
            state, error = _outcome(job, resource)
            with self._changed:
                self._running.remove(job)
                job.error, job.state = error, state


def _outcome(job: Job, resource: Any) -> tuple[State, str]:
    try:
        job.check()
        job.work(resource, job)
    except Cancelled:
        return "cancelled", ""
    except UnbleedError as error:
        return "failed", str(error)
    except MemoryError:
        return "failed", "out of memory; take fewer or smaller pictures"
    except BaseException as error:  # also one that would end the thread: then every later job would wait for ever
        if type(error).__name__ == "OutOfMemoryError":  # torch's, of a device
            return "failed", "out of memory; take fewer or smaller pictures"
        _log.exception("a drawing failed")
        return "failed", f"{type(error).__name__}: {(str(error).strip() or 'no message').splitlines()[0]}"
    return "done", ""
