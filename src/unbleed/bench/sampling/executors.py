"""Executors: where batches are drawn. What comes back is the same, so that a run may be begun on one and finished on another.

`serial` draws here. `ray` draws in workers, on this machine or on a cluster (`sampling.ray_cluster`): Ray's actors, each
with a pipeline of its own, one per GPU or per so many cores. A worker that dies is started again, and its batch given to the
next one that is free.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from ...errors import BenchError, UnbleedError
from ..plan.jobs import Batch
from .ray_cluster import connected, workers_that_fit
from .workers import JobResult, Worker

SECONDS_BETWEEN_CHECKS = 5.0  # of the cluster, while no batch comes back
MAX_DEATHS = 8  # workers that a batch may cost before it counts as failed: more than chance kills, from outside

Executor = Callable[[Callable[[], Worker], Iterable[Batch]], Iterator[list[JobResult]]]
"""Gives what comes of each batch as it comes, in any order."""


def serial(make: Callable[[], Worker], batches: Iterable[Batch]) -> Iterator[list[JobResult]]:
    worker = make()
    for batch in batches:
        yield worker.paint(batch)


def ray(*, workers: int, cpus: int, gpus: int = 0, address: str | None = None) -> Executor:
    """Return the executor of `workers` Ray actors with so many cores and GPUs each.

    `address` is that of a running cluster ("auto" for this machine's); None starts one here, which ends with the run and
    listens on this machine's loopback interface alone. Raises `BenchError` when Ray is not installed or too old, when the
    cluster cannot be reached, and when no node is left that could hold a worker.
    """
    if workers < 1:
        raise BenchError(f"{workers} workers; expected at least 1")

    def execute(make: Callable[[], Worker], batches: Iterable[Batch]) -> Iterator[list[JobResult]]:
        with connected(address, cpus=workers * cpus) as module:
            _check_room(module, workers, {"CPU": cpus, "GPU": gpus})
            yield from _with_actors(module, make, batches, workers, {"CPU": cpus, "GPU": gpus})

    return execute


def _check_room(module: Any, workers: int, each: dict[str, int]) -> None:
    """Refuse more workers than the cluster's nodes can hold: Ray would wait for ever."""
    most = workers_that_fit(module, each)
    if workers > most:
        wanted = " and ".join(f"{count} {kind}" for kind, count in each.items() if count)
        raise BenchError(f"{workers} workers of {wanted} each, but the cluster holds {most}; take fewer --workers or --threads")


class _Worker:
    """What runs in an actor: a worker that is made when the actor is."""

    def __init__(self, make: Callable[[], Worker]) -> None:
        self.worker = make()

    def begun(self) -> None:
        """Answer, once the worker is made."""

    def paint(self, batch: Batch) -> list[JobResult]:
        return self.worker.paint(batch)


def _with_actors(
    module: Any, make: Callable[[], Worker], batches: Iterable[Batch], workers: int, each: dict[str, int]
) -> Iterator[list[JobResult]]:
    actor = module.remote(_Worker).options(num_cpus=each["CPU"], num_gpus=each["GPU"])
    idle, waiting, again = deque[Any](), iter(batches), deque[Batch]()
    deaths, deaths_at_birth = Counter[str](), 0
    running: dict[Any, tuple[Any, Batch | None]] = {}

    def begin() -> None:
        """Start a worker; it gets a batch when it has begun, so that one that dies before costs no batch a life."""
        worker = actor.remote(make)
        running[worker.begun.remote()] = (worker, None)

    for _ in range(workers):
        begin()
    while True:
        # what cost a worker comes last: if it is to blame, others go first, and if it was chance, it is not met twice in a row
        while idle and (batch := next(waiting, None) or (again.popleft() if again else None)):
            worker = idle.popleft()
            running[worker.paint.remote(batch)] = (worker, batch)
        if idle and not any(batch for _, batch in running.values()):
            return
        ready, _ = module.wait(list(running), timeout=SECONDS_BETWEEN_CHECKS)
        if not ready:
            if not workers_that_fit(module, each):  # what is asked for would wait for ever
                raise BenchError("Ray has no node left that could hold a worker; the same command goes on where this run was")
            continue
        (done,) = ready
        worker, batch = running.pop(done)
        try:
            painted = module.get(done)
        except module.exceptions.RayTaskError as error:  # no job is to blame: a pipeline that cannot be loaded, say
            cause = getattr(error, "cause", None)
            if isinstance(cause, UnbleedError):
                raise cause from error
            raise BenchError(f"a worker cannot draw: {_last_line(error)}") from error
        except module.exceptions.RayActorError as error:  # killed, or out of the machine's memory
            if getattr(error, "actor_init_failed", False):
                raise BenchError(f"a worker cannot begin: {_last_line(error)}") from error
            begin()  # rather than Ray's restart, during which what is asked of an actor fails
            cause = "killed from outside or for want of memory"
            if batch is None:
                deaths_at_birth += 1
                if deaths_at_birth == MAX_DEATHS:
                    raise BenchError(f"{MAX_DEATHS} workers died before they had begun, {cause}") from error
                continue
            deaths[batch[0].key] += 1
            if deaths[batch[0].key] < MAX_DEATHS:
                again.append(batch)
            else:
                reason = f"{MAX_DEATHS} workers died over it, {cause}"
                yield [JobResult(job, None, dtype=job.setup.dtype, error=reason) for job in batch]
            continue
        idle.append(worker)
        if batch is None:
            deaths_at_birth = 0
        else:
            yield painted


def _last_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[-1]
