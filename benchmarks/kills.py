"""Robustness of runs that are killed repeatedly.

The same plan is sampled four times with the embedded model, one thread per process: by one process; by two Ray workers; by two
Ray workers of which one is killed (SIGKILL) at random moments; and by a command that is killed at random moments and
restarted, alternating between Ray and one process. Prints for each how many images were planned, have a row, have a file, were
sampled again although they had a row, differ from those of the first run, and are lost. A value other than zero in the last
three columns is a fault, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from unbleed.bench.storage.images import read_image
from unbleed.bench.storage.store import Store

Kept = dict[str, tuple[Any, ...]]
"""{key: seconds and time} of rows when first read; an image that is sampled again has other values."""

COMMAND = [sys.executable, "-W", "ignore", "-m", "unbleed", "bench", "run"]
RAY = ["--executor", "ray", "--workers", "2"]


def command(out: Path, given: argparse.Namespace, *options: str) -> subprocess.Popen[bytes]:
    own = ["emoji-pairs", "--methods", given.methods, "--limit", str(given.limit), "--seeds", str(given.seeds)]
    own += [
        "--steps",
        str(given.steps),
        "--batch-size",
        "4",
        "--threads",
        "1",
        "--metrics",
        "none",
        "--out",
        str(out),
        *options,
    ]
    return subprocess.Popen([*COMMAND, *own], stdout=subprocess.DEVNULL)


def workers_of(driver: int) -> list[int]:
    """Return the process ids of the Ray workers that hold an actor, among the descendants of a process."""
    listed = subprocess.run(["ps", "-eo", "pid=,ppid=,args="], capture_output=True, text=True, check=True).stdout
    rows = [line.split(None, 2) for line in listed.splitlines()]
    below, found = {driver}, []
    for _ in range(4):
        below |= {int(pid) for pid, parent, *_ in rows if int(parent) in below}
    for pid, _, *words in rows:
        if int(pid) in below and words and "_Worker" in words[0]:
            found.append(int(pid))
    return found


def killed_workers(out: Path, given: argparse.Namespace, rng: random.Random, kept: Kept) -> int:
    running, kills = command(out, given, *RAY), 0
    while running.poll() is None and kills < given.moments:
        time.sleep(rng.uniform(0.5, given.pause))
        if alive := workers_of(running.pid):
            os.kill(rng.choice(alive), signal.SIGKILL)
            kills += 1
            kept.update({key: row for key, row in rows_of(out).items() if key not in kept})
    running.wait()
    return kills


def killed_command(out: Path, given: argparse.Namespace, rng: random.Random, kept: Kept) -> int:
    kills = 0
    while True:
        options = RAY if kills % 2 else []  # started on one executor, finished on the other
        running = command(out, given, *options)
        if kills == given.moments:
            running.wait()
            return kills
        begun = time.monotonic()
        had = journal(out)
        while running.poll() is None and journal(out) == had and time.monotonic() - begun < 60:
            time.sleep(0.05)  # until something is written
        time.sleep(rng.uniform(0, given.pause))
        if running.poll() is None:
            running.kill()
            kills += 1
        running.wait()
        kept.update({key: row for key, row in rows_of(out).items() if key not in kept})
        if running.returncode == 0:
            return kills


def journal(out: Path) -> int:
    try:
        return (out / "pictures" / "journal.jsonl").stat().st_size
    except FileNotFoundError:
        return 0


def rows_of(out: Path) -> Kept:
    return Store(out).pictures.read("seconds", "drawn")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--moments", type=int, default=20)
    parser.add_argument("--pause", type=float, default=10.0, help="seconds between two kills, at most")
    parser.add_argument("--methods", default="none,syngen")
    parser.add_argument("--limit", type=int, default=40)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--out", type=Path, default=Path("out/kills"), help="folder, emptied first")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    shutil.rmtree(given.out, ignore_errors=True)
    rng, kills, kept = random.Random(0), {}, {name: Kept() for name in ("serial", "ray", "worker killed", "command killed")}
    serial = command(given.out / "serial", given).wait()
    ray = command(given.out / "ray", given, *RAY).wait()
    if serial or ray:
        return 1
    for name, kill in {"worker killed": killed_workers, "command killed": killed_command}.items():
        kills[name] = kill(given.out / name, given, rng, kept[name])
    asked = {job.key for job in Store(given.out / "serial").plan().jobs()}
    whole = {key: read_image(Store(given.out / "serial").image(key)).tobytes() for key in asked}
    figures = {}
    for name in kept:
        store = Store(given.out / name)
        done = store.state().done
        figures[name] = {
            "kills": kills.get(name, 0),
            "asked": len(asked),
            "rows": len(done & asked),
            "files": sum(1 for _ in (given.out / name / "images").glob("*/*.png")),
            "repeated": sum(rows_of(given.out / name)[key] != row for key, row in kept[name].items()),
            "different": sum(read_image(store.image(key)).tobytes() != whole[key] for key in done & asked),
            "lost": len(asked - done),
        }
    if given.json:
        print(json.dumps(figures, indent=2))
    else:
        columns = list(figures["serial"])
        print("run".ljust(16) + "".join(column.rjust(11) for column in columns))
        for name, row in figures.items():
            print(name.ljust(16) + "".join(str(row[column]).rjust(11) for column in columns))
    return int(any(row["repeated"] or row["different"] or row["lost"] for row in figures.values()))


if __name__ == "__main__":
    sys.exit(main())
