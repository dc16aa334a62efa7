"""Progress of long commands: bars on a terminal, one line a minute elsewhere (a log, a batch job)."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.text import Text

SECONDS_BETWEEN_LINES = 60.0


class Advance(Protocol):
    """Report that `done` of `total` items of the stage `what` are finished, with its loss, if it has one, and a note."""

    def __call__(self, what: str, done: int, total: int, loss: float | None = None, note: str = "", /) -> None: ...


@contextmanager
def showing_progress(unit: str = "") -> Iterator[Advance]:
    """Give a function that shows the progress of each stage on stderr; `unit` is the plural of the items counted."""
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
        _Rate(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=console, speed_estimate_period=600) as bars:
        tasks: dict[str, TaskID] = {}

        def advance(what: str, done: int, total: int, loss: float | None = None, note: str = "", /) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, note="", completed=done)  # the rate does not count items finished before
            bars.update(tasks[what], completed=done, total=total, note=note or _loss_of(loss))

        yield advance


class _Rate(ProgressColumn):
    """Items per second, or seconds per item."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if not speed else f"{speed:.1f}/s" if speed >= 1 else f"{1 / speed:.1f} s each")


def _loss_of(loss: float | None) -> str:
    return "" if loss is None else f"loss {loss:.4f}"


def _lines(unit: str) -> Advance:
    begun = printed = time.monotonic()
    stages: dict[str, tuple[int, int, int, str]] = {}  # of each unfinished stage: done at first, done, total, note

    def advance(what: str, done: int, total: int, loss: float | None = None, note: str = "", /) -> None:
        nonlocal printed
        stages[what] = (stages.get(what, (done,))[0], done, total, note or _loss_of(loss))
        now = time.monotonic()
        if now - printed >= SECONDS_BETWEEN_LINES:
            printed = now
            each = [
                f"{name} {have}/{of} {unit}".rstrip() + f", {more}" * bool(more) for name, (_, have, of, more) in stages.items()
            ]
            made = sum(have - first for first, have, _, _ in stages.values())
            left = sum(of - have for _, have, of, _ in stages.values())
            rest = f", {(now - begun) * left / made:.0f} s left" if made and left else ""
            typer.echo(f"{'; '.join(each)}, {now - begun:.0f} s{rest}", err=True)
        if done >= total:
            del stages[what]

    return advance
