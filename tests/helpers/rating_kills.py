"""A server that is killed again and again while raters answer, and what is left of their answers."""

from __future__ import annotations

import http.client
import json
import random
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

from helpers.rating import Client
from unbleed.rating.answers import journal_of

Acknowledged = tuple[str, int, int, str]
"""Token, trial, version, answer."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start(folder: Path, port: int) -> subprocess.Popen[str]:
    """Start the command that serves a study, and wait until it says so."""
    command = [sys.executable, "-m", "unbleed", "rate", str(folder), "--study", str(folder), "--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline().startswith("http://")
    return process


class Rater(threading.Thread):
    """Answers one pair after the other, again and again with new versions, as the page does: until it hears of each."""

    def __init__(self, port: int, stop: threading.Event) -> None:
        super().__init__()
        self.port, self.stop = port, stop
        self.heard: list[Acknowledged] = []
        self.failed: list[str] = []

    def run(self) -> None:
        rng, link, client, trial, version = random.Random(self.ident), "", Client(self.port), 0, 1
        said = "left"
        while not self.stop.is_set():
            try:
                if not link:
                    client.join()
                    link = client.link
                status, data = client.answer(trial, said, version)
            except (OSError, http.client.HTTPException):
                client.close()
                client = Client(self.port, link)
                time.sleep(0.02)
                continue
            if status != 200:
                self.failed.append(f"{status} {data!r}")
                return
            self.heard.append((link[-32:], trial, version, said))
            trial, said = (trial + 1) % 10, rng.choice(["left", "right", "tie", "bad"])
            version += trial == 0
        client.close()


def kill_and_count(folder: Path, kills: int, raters: int, seed: int = 0) -> dict[str, int]:
    """Kill the server of the study in `folder` at random moments, and return what its journal has of all answers.

    `lost` were acknowledged and are not there, `twice` are there more than once, `refused` should have been taken.
    """
    rng, port, stop = random.Random(seed), free_port(), threading.Event()
    threads = [Rater(port, stop) for _ in range(raters)]
    process = start(folder, port)
    for thread in threads:
        thread.start()
    for _ in range(kills):
        time.sleep(rng.uniform(0.05, 0.6))
        process.kill()
        process.communicate()
        process = start(folder, port)
    time.sleep(0.3)
    stop.set()
    for thread in threads:
        thread.join()
    process.kill()
    process.communicate()
    tokens: dict[int, str] = {}
    kept: Counter[Acknowledged] = Counter()
    for line in map(json.loads, journal_of(folder).read_text().splitlines()):
        if line["event"] == "joined":
            tokens[line["rater"]] = line["token"]
        else:
            kept[tokens[line["rater"]], line["trial"], line["version"], line["answer"]] += 1
    heard = [one for thread in threads for one in thread.heard]
    return {
        "kills": kills,
        "acknowledged": len(heard),
        "kept": kept.total(),
        "lost": sum(kept[one] == 0 for one in heard),
        "twice": sum(count > 1 for count in kept.values()),
        "refused": sum(len(thread.failed) for thread in threads),
    }
