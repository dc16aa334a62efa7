"""Answers on disk: a journal of JSON lines that is only ever appended to.

    {"event": "joined", "rater": 0, "token": "5e...", "trials": [["pair", 12, 1], ...], "at": "2026-..."}
    {"event": "answered", "rater": 0, "trial": 0, "version": 1, "answer": "left", "seconds": 2.3, "at": "2026-..."}

A line is acknowledged once the disk has it (fsync), and counts once it ends in a line break; a last line without one was never
acknowledged and is cut off. A trial that is answered again has a line with the next version, which then counts. A client that
did not hear of its answer sends the same version again, and nothing is written. What a rater is shown is kept with the rater,
so that answers keep their meaning.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock, Timeout

from .. import schema
from ..errors import RatingError
from ..files import read_bytes, writing
from .study import Study
from .trials import Trial

Choice = Literal["left", "right", "tie", "bad"]
MAX_SECONDS = 86_400.0
_REMEDY = "remove that line and begin again"


@dataclass(frozen=True)
class Answer:
    """What a rater said of a trial; `version` counts the answers to it, from 1."""

    trial: int
    version: int
    answer: Choice
    seconds: float  # from when both images were to be seen


@dataclass(frozen=True)
class Rater:
    """A person: the token of the link, the trials, and the answer that counts for each trial that has one."""

    number: int
    token: str
    trials: tuple[Trial, ...]
    answers: dict[int, Answer] = field(default_factory=dict)
    moments: dict[int, str] = field(default_factory=dict)  # {trial: when it was answered, UTC}


@dataclass(frozen=True)
class _Joined:
    event: Literal["joined"]
    rater: int
    token: str
    trials: tuple[tuple[Literal["pair", "repeat", "catch"], int, Literal[0, 1]], ...]
    at: str


@dataclass(frozen=True)
class _Answered:
    event: Literal["answered"]
    rater: int
    trial: int
    version: int
    answer: Choice
    seconds: float
    at: str


class ConflictError(Exception):
    """An answer that does not follow from what is there: the trial was answered elsewhere meanwhile."""


class FullError(Exception):
    """As many raters have joined as the study takes."""


def journal_of(folder: Path) -> Path:
    return folder / "answers.jsonl"


def read_raters(folder: Path, study: Study) -> list[Rater]:
    """Return the raters of a study with their answers, also while it is served.

    Raises:
        RatingError: a line cannot be understood, or does not fit the study; it is named.
    """
    return _read(journal_of(folder), study)[0]


class AnswerLog:
    """The journal of a study that is served, and what it says. Use `open_log`; methods may be called from any thread."""

    def __init__(self, path: Path, study: Study) -> None:
        self.path, self.study = path, study
        self._lock = threading.Lock()
        raters, length = _read(path, study)
        with writing(path, "make room"):
            self._file = path.open("ab", buffering=0)  # what a buffer held would be written later
            if self._file.tell() > length:
                os.truncate(path, length)
            _sync(self._file.fileno(), path.parent)
        self._raters = {rater.token: rater for rater in raters}

    def close(self) -> None:
        """Let an answer that is being written be finished, and take no other."""
        with self._lock:
            self._file.close()

    def rater(self, token: str) -> Rater | None:
        return self._raters.get(token)

    def join(self, trials_of: Callable[[Study, int], tuple[Trial, ...]]) -> Rater:
        """Take a rater in, and return it once that is on disk; raise `FullError` when there are as many as may be."""
        with self._lock:
            number = len(self._raters)
            if number >= self.study.max_raters:
                raise FullError
            rater = Rater(number, secrets.token_hex(16), trials_of(self.study, number))
            trials = [(trial.kind, trial.index, trial.left) for trial in rater.trials]
            self._append({"event": "joined", "rater": number, "token": rater.token, "trials": trials, "at": _now()})
            self._raters[rater.token] = rater
            return rater

    def answer(self, rater: Rater, answer: Answer) -> None:
        """Keep an answer, and return once it is on disk, or was before.

        Raises:
            ConflictError: it is neither the next version nor the one that is there.
            OutputError: it cannot be written; nothing of it is kept.
        """
        with self._lock:
            there = rater.answers.get(answer.trial)
            if there and (there.version, there.answer) == (answer.version, answer.answer):
                return
            if answer.version != (there.version if there else 0) + 1:
                raise ConflictError
            now = _now()
            line = {"event": "answered", "rater": rater.number, "trial": answer.trial, "version": answer.version}
            self._append(line | {"answer": answer.answer, "seconds": round(answer.seconds, 3), "at": now})
            rater.answers[answer.trial] = answer
            rater.moments[answer.trial] = now

    def _append(self, line: dict[str, Any]) -> None:
        if self._file.closed:
            raise RatingError(f"an answer came while {self.path} was being closed; its page sends it again")
        left = memoryview((json.dumps(line) + "\n").encode())
        with writing(self.path, "make room"):
            before = os.fstat(self._file.fileno()).st_size
            try:
                while left:
                    left = left[self._file.write(left) :]
                os.fsync(self._file.fileno())
            except OSError:
                os.truncate(self.path, before)
                raise


@contextmanager
def open_log(folder: Path, study: Study) -> Iterator[AnswerLog]:
    """Open the journal of a study for one server; raise `RatingError` when another has it."""
    for name in (".lock", "answers.jsonl"):
        if (folder / name).is_symlink():
            raise RatingError(f"{folder / name} is a link, which is not written through; remove it and run again")
    lock = FileLock(folder / ".lock", timeout=0)
    with writing(folder, "choose another --study"):
        try:
            lock.acquire()
        except Timeout:
            raise RatingError(f"another process serves {folder}; stop it first, or name another --study") from None
    try:
        log = AnswerLog(journal_of(folder), study)
        try:
            yield log
        finally:
            log.close()
    finally:
        lock.release()


def check_answer(study_trials: int, value: Any) -> Answer:
    """Return an answer as a client sent it; raise `schema.SchemaError` for one that no page would send."""
    answer = schema.check(value, Answer)
    for name, number, high in (
        ("trial", answer.trial, study_trials - 1),
        ("version", answer.version, 2**31),
        ("seconds", answer.seconds, MAX_SECONDS),
    ):
        low = 1 if name == "version" else 0
        if not low <= number <= high:
            raise schema.SchemaError(f"is {number}; expected {low} to {high}").inside(f".{name}")
    return answer


def _read(path: Path, study: Study) -> tuple[list[Rater], int]:
    """Return the raters in a journal, and the length in bytes of its whole lines."""
    try:
        text = read_bytes(path, error=RatingError, remedy="name another --study")
    except FileNotFoundError:
        return [], 0
    length = text.rfind(b"\n") + 1
    raters: list[Rater] = []
    for number, line in enumerate(text[:length].splitlines(), start=1):
        try:
            _take(line, raters, study)
        except schema.SchemaError as error:
            raise RatingError(f"{path}, line {number}: {error}; {_REMEDY}") from error
    return raters, length


def _take(line: bytes, raters: list[Rater], study: Study) -> None:
    """Add what a line says."""
    value = schema.parse(line)
    event = value.get("event") if isinstance(value, dict) else None
    if event == "joined":
        joined = schema.check(value, _Joined)
        _expect("rater", joined.rater, len(raters), len(raters))
        if not re.fullmatch("[0-9a-f]{32}", joined.token):
            raise schema.SchemaError("is not 32 hexadecimal digits").inside(".token")
        for kind, index, _ in joined.trials:
            _expect("trials", index, 0, len(study.catches if kind == "catch" else study.pairs) - 1)
        raters.append(Rater(joined.rater, joined.token, tuple(Trial(*trial) for trial in joined.trials)))
        return
    answered = schema.check(value, _Answered)
    _expect("rater", answered.rater, 0, len(raters) - 1)
    rater = raters[answered.rater]
    _expect("trial", answered.trial, 0, len(rater.trials) - 1)
    there = rater.answers.get(answered.trial)
    due = (there.version if there else 0) + 1
    _expect("version", answered.version, due, due)
    rater.answers[answered.trial] = Answer(answered.trial, answered.version, answered.answer, answered.seconds)
    rater.moments[answered.trial] = answered.at


def _expect(name: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise schema.SchemaError(f"is {value}; expected {low if low == high else f'{low} to {high}'}").inside(f".{name}")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _sync(descriptor: int, folder: Path) -> None:
    """Let the disk have a file, and its name in the folder."""
    os.fsync(descriptor)
    if os.name == "posix":
        opened = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)
