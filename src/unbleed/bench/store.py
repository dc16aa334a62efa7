"""The store: a folder that holds the pictures and findings of any number of runs, each made once.

    run.json                                 the plan of the latest run
    rows.jsonl                               one line per picture and judge: what was seen
    images/<first 2 of key>/<key>/           the pictures of a job, with job.json: all there or none
        <seed>.png

A job's pictures are written to a folder beside and renamed; its rows are appended after them. So a process may be killed at
any moment: what is on disk is whole, but for the last line of the rows, which is cut off.
"""

from __future__ import annotations

import json
import os
import shutil
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from filelock import FileLock, Timeout
from PIL import Image

from ..emoji.findings import Finding
from ..errors import BenchError, OutputError, UnbleedWarning
from ..generation import Picture, save
from .cases import Case
from .metrics.oracle import score
from .plan import Job, Plan


class Judge(Protocol):
    """Whoever says what is in a picture. Two judges of one fingerprint say the same."""

    @property
    def fingerprint(self) -> str: ...

    def look(self, images: Sequence[Image.Image]) -> list[Finding]: ...


@dataclass(frozen=True)
class PictureRow:
    """A picture of a contender: the only one of its seed, or the best of its draws."""

    contender: str  # label
    case: int  # place in the suite
    prompt: str
    seed: int  # of the first draw, so that it is the same for all contenders
    seconds: float  # of all draws
    finding: Finding
    image: Path
    scores: Mapping[str, float]


class Store:
    """The folder. Reading asks for nothing; writing happens in `with store.writing():`, one process at a time.

    A study that keeps other rows than a benchmark names other files, so that both may lie in one folder.
    """

    def __init__(self, folder: Path, *, plan_file: str = "run.json", rows_file: str = "rows.jsonl") -> None:
        self.folder, self.plan_file, self.rows_file = folder, folder / plan_file, folder / rows_file
        self._rows = _by_job(_whole_lines(self.rows_file)[0], self.rows_file)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the folder's lock, and clear away what a killed process left half done; raise `BenchError` if it is held."""
        with _telling(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.folder / ".lock", timeout=0)
            try:
                lock.acquire()
            except Timeout:
                raise BenchError(
                    f"another process is writing to {self.folder}; wait for it, or name another folder with --out"
                ) from None
        try:
            with _telling(self.folder):
                self._mend()
            yield
        finally:
            lock.release()

    def _mend(self) -> None:
        for leftover in self.folder.glob("images/*/.*.tmp"):
            shutil.rmtree(leftover)
        lines, length = _whole_lines(self.rows_file)
        if self.rows_file.exists() and self.rows_file.stat().st_size > length:
            os.truncate(self.rows_file, length)
            warnings.warn(
                f"the last line of {self.rows_file} was torn and is cut off; its picture is judged again",
                UnbleedWarning,
                stacklevel=4,
            )
        self._rows = _by_job(lines, self.rows_file)

    # ------------------------------------------------------------------------------------------------- the plan

    def keep_plan(self, plan: Plan) -> None:
        temporary = self.plan_file.with_name(f".{self.plan_file.name}.tmp")
        with _telling(self.plan_file):
            temporary.write_text(json.dumps(plan.to_json(), ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
            temporary.replace(self.plan_file)

    def plan(self) -> Plan:
        """Return the plan of the latest run; raise `BenchError` where there is none."""
        try:
            return Plan.from_json(json.loads(self.plan_file.read_text(encoding="utf-8")))
        except FileNotFoundError:
            name = self.plan_file.name
            raise BenchError(f"{self.folder} has no {name}; expected a folder that unbleed bench run wrote") from None
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise BenchError(f"{self.plan_file} cannot be understood ({error!r}); remove it and run again") from error

    # --------------------------------------------------------------------------------------------- pictures of jobs

    def _place(self, job: Job) -> Path:
        return self.folder / "images" / job.key[:2] / job.key

    def has_pictures(self, job: Job) -> bool:
        return self._place(job).is_dir()

    def keep_pictures(self, job: Job, pictures: Sequence[Picture], machine: Mapping[str, Any]) -> None:
        place = self._place(job)
        temporary = place.with_name(f".{job.key}.tmp")
        for picture in pictures:
            save(picture, temporary / f"{picture.recipe.seed}.png")
        about = {"key": job.key, **job.content, "seconds": [p.seconds for p in pictures], "machine": dict(machine)}
        with _telling(place):
            (temporary / "job.json").write_text(json.dumps(about, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
            temporary.rename(place)

    # -------------------------------------------------------------------------------------------------- rows of jobs

    def rows_of(self, job: Job, judge: str) -> dict[int, dict[str, Any]]:
        """Return {seed: row} of the pictures of a job that were judged."""
        return self._rows.get((job.key, judge), {})

    def is_judged(self, job: Job, judge: str) -> bool:
        return len(self.rows_of(job, judge)) == len(job.seeds)

    def judge(self, job: Job, judge: Judge) -> int:
        """Let the judge look at a job's pictures, append the rows that were missing, and return how many."""
        place = self._place(job)
        paths = [place / f"{seed}.png" for seed in job.seeds]
        try:
            seconds = json.loads((place / "job.json").read_text(encoding="utf-8"))["seconds"]
            images = [_read_image(path) for path in paths]
        except (OSError, ValueError, KeyError) as error:
            raise BenchError(f"{place} is damaged ({error}); remove that folder and run again") from error
        names = [path.relative_to(self.folder).as_posix() for path in paths]
        findings = judge.look(images)
        return self.keep_rows(job, judge.fingerprint, findings, image=names, seconds=seconds)

    def keep_rows(self, job: Job, judge: str, findings: Sequence[Finding], **columns: Sequence[Any]) -> int:
        """Append the rows of a job's pictures that were missing, in one write, and return how many.

        `findings` and each of `columns`, what else a row is to say, have one value for each seed of the job.
        """
        known = self._rows.setdefault((job.key, judge), {})
        new = [
            {
                "job": job.key,
                "case": job.recipe.prompt,
                "seed": seed,
                **{name: values[place] for name, values in columns.items()},
                "judge": judge,
                "finding": findings[place].to_json(),
            }
            for place, seed in enumerate(job.seeds)
            if seed not in known
        ]
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in new)
        with _telling(self.rows_file), self.rows_file.open("ab") as file:
            file.write(text.encode())
            file.flush()
            os.fsync(file.fileno())
        known.update({row["seed"]: row for row in new})
        return len(new)

    # ------------------------------------------------------------------------------------------------------ results

    def missing(self, plan: Plan) -> list[Job]:
        """Return the jobs of a plan that have no rows of its judge yet."""
        return [job for job in plan.jobs() if not self.is_judged(job, plan.judge)]

    def pictures(self, plan: Plan, *, allow_partial: bool = False) -> list[PictureRow]:
        """Return a row for each prompt, contender and seed, in this order.

        Raises `BenchError` when jobs are missing. With `allow_partial`, the prompts that are complete for every contender
        are returned; `missing` says what is not.
        """
        missing = {job.key for job in self.missing(plan)}
        if missing and not allow_partial:
            raise BenchError(
                f"{len(missing)} of {len(plan.jobs())} jobs of {self.folder} are missing; "
                "run the same command again to draw them"
            )
        return [
            row
            for index, case in enumerate(plan.suite.cases)
            if not any(job.key in missing for job in plan.jobs_of(case))
            for row in self._pictures_of(plan, index, case)
        ]

    def _pictures_of(self, plan: Plan, index: int, case: Case) -> Iterator[PictureRow]:
        for contender in plan.contenders:
            for chunk in plan.chunks():
                jobs = [plan.job(case, contender, chunk, draw) for draw in range(contender.draws)]
                for place, number in enumerate(chunk):
                    rows = [self.rows_of(job, plan.judge)[job.seeds[place]] for job in jobs]
                    findings = [Finding.from_json(row["finding"]) for row in rows]
                    drawn = [(row, finding, score(case, finding)) for row, finding in zip(rows, findings, strict=True)]
                    best, finding, scores = max(drawn, key=lambda one: _merit(one[2]))  # of equals the first
                    yield PictureRow(
                        contender=contender.label,
                        case=index,
                        prompt=case.prompt,
                        seed=plan.suite.first_seed + number,
                        seconds=sum(row["seconds"] for row in rows),
                        finding=finding,
                        image=self.folder / best["image"],
                        scores=scores,
                    )


def _merit(scores: Mapping[str, float]) -> tuple[float, ...]:
    """Return by what the best of several draws is chosen."""
    faults = scores["extra"] + scores["blend"] + scores["leaked"]
    return scores["all_correct"], scores["bound"], scores["present"], -faults


def _read_image(path: Path) -> Image.Image:
    with Image.open(path) as image:
        return image.convert("RGB")


def _whole_lines(path: Path) -> tuple[list[bytes], int]:
    """Return the lines that end in a line break, and their length in bytes; what comes after them was torn."""
    try:
        text = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return [], 0
    length = text.rfind(b"\n") + 1
    return text[:length].splitlines(), length


def _by_job(lines: Sequence[bytes], path: Path) -> dict[tuple[str, str], dict[int, dict[str, Any]]]:
    """Return {(job, judge): {seed: row}}."""
    rows: dict[tuple[str, str], dict[int, dict[str, Any]]] = {}
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
            rows.setdefault((row["job"], row["judge"]), {})[row["seed"]] = row
        except (ValueError, KeyError, TypeError) as error:
            raise BenchError(f"line {number} of {path} is no row ({error!r}); remove that line and run again") from error
    return rows


@contextmanager
def _telling(path: Path) -> Iterator[None]:
    """Turn what the system says against writing into one line of ours."""
    try:
        yield
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror or error}; make room or choose another --out") from error
