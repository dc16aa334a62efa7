"""How far a long command has come: bars on a terminal, elsewhere (a log, a job) a line a minute."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

SECONDS_BETWEEN_LINES = 60.0


class Tell(Protocol):
    """Say that `done` of `total` are finished of the stage `what`, and how high its loss is, if it has one."""

    def __call__(self, what: str, done: int, total: int, loss: float | None = None, /) -> None: ...


@contextmanager
def telling(unit: str = "") -> Iterator[Tell]:
    """Give a function that shows on stderr how far each stage is; `unit` is what is counted."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _lines(unit)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn(f"{{task.completed}}/{{task.total}} {unit}".rstrip()),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[loss]}"),
    )
    with Progress(*columns, console=console, speed_estimate_period=600) as bars:
        tasks: dict[str, TaskID] = {}

        def tell(what: str, done: int, total: int, loss: float | None = None, /) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, loss="")
            bars.update(tasks[what], completed=done, total=total, loss="" if loss is None else f"loss {loss:.4f}")

        yield tell


def _lines(unit: str) -> Tell:
    begun = told = time.monotonic()

    def tell(what: str, done: int, total: int, loss: float | None = None, /) -> None:
        nonlocal told
        now = time.monotonic()
        if now - told < SECONDS_BETWEEN_LINES:
            return
        told = now
        counted = " ".join(part for part in (what, f"{done}/{total}", unit) if part)
        tail = "" if loss is None else f", loss {loss:.4f}"
        typer.echo(f"{counted}{tail}, {now - begun:.0f} s", err=True)

    return tell
