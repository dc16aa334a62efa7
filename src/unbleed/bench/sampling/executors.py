"""Executors: where batches are sampled. Results do not depend on the executor, so a run can be resumed on another one.

`serial` samples in this process. `ray` samples in Ray actors on this machine or on a cluster (`sampling.ray_cluster`). Each
actor has its own pipeline, on its own GPU or on a fixed number of cores. An actor that dies is replaced, and its batch goes to
the next free one.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from ...errors import BenchError, UnbleedError
from ..plan.jobs import Batch, JobResult
from .ray_cluster import capacity, connected
from .workers import Worker

SECONDS_BETWEEN_CHECKS = 5.0  # of the cluster, while waiting for a batch
MAX_DEATHS = 8  # workers that may die over a batch before it counts as failed; more than random kills from outside cause

Executor = Callable[[Callable[[], Worker], Iterable[Batch]], Iterator[list[JobResult]]]
"""(function that makes a worker, batches) -> results of each batch as it finishes, in any order."""


def serial(make: Callable[[], Worker], batches: Iterable[Batch]) -> Iterator[list[JobResult]]:
    """Sample in this process, one batch after the other."""
    worker = make()
    for batch in batches:
        yield worker.run(batch)


def ray(*, workers: int, cpus: int, gpus: int = 0, address: str | None = None) -> Executor:
    """Return an executor with `workers` Ray actors of `cpus` cores and `gpus` GPUs each.

    `address` is that of a running cluster ("auto" for this machine's). None starts one here, which listens on the loopback
    interface only and ends with the run. Raises `BenchError` if Ray is not installed or too old, if the cluster cannot be
    reached, or if no node can hold a worker.
    """
    if workers < 1:
        raise BenchError(f"{workers} workers; expected at least 1")

    def execute(make: Callable[[], Worker], batches: Iterable[Batch]) -> Iterator[list[JobResult]]:
        with connected(address, cpus=workers * cpus) as module:
            check_capacity(module, workers, {"CPU": cpus, "GPU": gpus})
            yield from _with_actors(module, make, batches, workers, {"CPU": cpus, "GPU": gpus})

    return execute


def check_capacity(module: Any, workers: int, each: dict[str, int]) -> None:
    """Raise `BenchError` for more workers than the cluster's nodes can hold; Ray would wait forever."""
    most = capacity(module, each)
    if workers > most:
        wanted = " and ".join(f"{count} {kind}" for kind, count in each.items() if count)
        raise BenchError(f"{workers} workers of {wanted} each, but the cluster holds {most}; use fewer --workers or --threads")


class _Worker:
    """The Ray actor: makes a worker and runs batches with it."""

    def __init__(self, make: Callable[[], Worker]) -> None:
        self.worker = make()

    def ready(self) -> None:
        """Return once the worker is made."""

    def run(self, batch: Batch) -> list[JobResult]:
        return self.worker.run(batch)


def _with_actors(
    module: Any, make: Callable[[], Worker], batches: Iterable[Batch], workers: int, each: dict[str, int]
) -> Iterator[list[JobResult]]:
    actor = module.remote(_Worker).options(num_cpus=each["CPU"], num_gpus=each["GPU"])
    idle, waiting, retries = deque[Any](), iter(batches), deque[Batch]()
    deaths, deaths_at_start = Counter[str](), 0
    running: dict[Any, tuple[Any, Batch | None]] = {}

    def start() -> None:
        """Start a worker. It gets a batch once it is ready, so that a death before that counts against no batch."""
        worker = actor.remote(make)
        running[worker.ready.remote()] = (worker, None)

    for _ in range(workers):
        start()
    while True:
        # retries come last: if the batch kills workers, the others are done first
        while idle and (batch := next(waiting, None) or (retries.popleft() if retries else None)):
            worker = idle.popleft()
            running[worker.run.remote(batch)] = (worker, batch)
        if idle and not any(batch for _, batch in running.values()):
            return
        ready, _ = module.wait(list(running), timeout=SECONDS_BETWEEN_CHECKS)
        if not ready:
            if not capacity(module, each):  # Ray would wait forever
                raise BenchError("Ray has no node left that can hold a worker; run the same command again to resume")
            continue
        (done,) = ready
        worker, batch = running.pop(done)
        try:
            results = module.get(done)
        except module.exceptions.RayTaskError as error:  # not a job's fault: for example a pipeline that cannot be loaded
            cause = getattr(error, "cause", None)
            if isinstance(cause, UnbleedError):
                raise cause from error
            raise BenchError(f"a worker failed: {_last_line(error)}") from error
        except module.exceptions.RayActorError as error:  # killed, or the machine ran out of memory
            if getattr(error, "actor_init_failed", False):
                raise BenchError(f"a worker cannot start: {_last_line(error)}") from error
            start()  # Ray's own restart would fail the calls made meanwhile
            cause = "killed from outside or because memory ran out"
            if batch is None:
                deaths_at_start += 1
                if deaths_at_start == MAX_DEATHS:
                    raise BenchError(f"{MAX_DEATHS} workers died before they were ready, {cause}") from error
                continue
            deaths[batch[0].key] += 1
            if deaths[batch[0].key] < MAX_DEATHS:
                retries.append(batch)
            else:
                reason = f"{MAX_DEATHS} workers died while sampling it, {cause}"
                yield [JobResult(job, None, dtype=job.setup.dtype, error=reason) for job in batch]
            continue
        idle.append(worker)
        if batch is None:
            deaths_at_start = 0
        else:
            yield results


def _last_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[-1]
