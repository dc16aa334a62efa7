"""Ray's processes: whom they listen to, and what is left of them when a run ends before its time."""

from __future__ import annotations

import os
import re
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("ray")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="it reads /proc")]

PROGRAM = """
import sys, time
from pathlib import Path

from unbleed.bench.plan.variants import variants_from
from unbleed.bench.sampling.executors import ray
from unbleed.bench.sampling.workers import NullWorker
from unbleed.bench.sampling.runner import plan_for, run
from unbleed.bench.storage.store import Store
from unbleed.bench.suites import suite
from unbleed.errors import UnbleedError


class Slow:
    def run(self, jobs):
        time.sleep(2)
        return NullWorker().run(jobs)


out = Path(sys.argv[1])
options = dict(model="null", seeds=8, steps=2, batch_size=1, threads=1)
plan = plan_for(Store(out), suite("emoji-pairs"), variants_from(["none"], "emoji"), **options)
try:
    run(out, plan, make=Slow, executor=ray(workers=1, cpus=1))
except UnbleedError as error:
    sys.exit(f"unbleed: {error}")
except KeyboardInterrupt:
    sys.exit(130)
"""


class Process:
    """A run in a process of its own, and the processes of its cluster: those with its token."""

    def __init__(self, folder: Path) -> None:
        self.out, self.token = folder / "run", secrets.token_hex(32)
        environment = {**os.environ, "RAY_AUTH_TOKEN": self.token, "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-c", PROGRAM, str(self.out)]
        self.process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        while not list(self.out.glob("images/*/*.png")) and self.process.poll() is None:
            time.sleep(0.2)

    def cluster(self) -> dict[int, str]:
        """Return {process: its command line}, but for the run's own."""
        found = {}
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if int(folder.name) != self.process.pid and self.token.encode() in (folder / "environ").read_bytes():
                    found[int(folder.name)] = (folder / "cmdline").read_text().replace("\0", " ")
            except OSError:  # gone meanwhile
                continue
        return found

    def ended(self, seconds: float) -> tuple[int, str, str]:
        out, err = self.process.communicate(timeout=seconds)
        return self.process.returncode, out, err

    def left(self, seconds: float = 30) -> dict[int, str]:
        end = time.monotonic() + seconds
        while (left := self.cluster()) and time.monotonic() < end:
            time.sleep(0.5)
        return left


@pytest.fixture
def process(tmp_path: Path) -> Iterator[Process]:
    made = Process(tmp_path)
    yield made
    for number in [made.process.pid, *made.cluster()]:
        try:
            os.kill(number, signal.SIGKILL)
        except ProcessLookupError:
            continue
    made.process.wait()


def listening(processes: dict[int, str]) -> dict[str, str]:
    """Return {address and port in hexadecimal: whose} of the TCP sockets on which they listen."""
    sockets = {}
    for number, command in processes.items():
        for file in Path(f"/proc/{number}/fd").glob("*"):
            if found := re.fullmatch(r"socket:\[(\d+)\]", os.readlink(file) if file.is_symlink() else ""):
                sockets[found[1]] = command
    lines = [line.split() for kind in ("tcp", "tcp6") for line in Path(f"/proc/net/{kind}").read_text().splitlines()[1:]]
    return {line[1]: sockets[line[9]] for line in lines if line[3] == "0A" and line[9] in sockets}


def test_B13_B17_ray_listens_to_its_user_alone_and_ends_at_sigterm(process: Process) -> None:
    cluster = process.cluster()
    servers = [number for number, command in cluster.items() if "gcs_server" in command or "raylet/raylet" in command]
    assert len(servers) >= 2
    for number in servers:
        assert b"RAY_AUTH_MODE=token\0" in Path(f"/proc/{number}/environ").read_bytes()
    addresses = listening({**cluster, process.process.pid: "the run"})
    assert len(addresses) >= 4
    loopback = {"0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000"}
    assert {address.partition(":")[0] for address in addresses} <= loopback, addresses
    (session,) = {found[1] for command in cluster.values() if (found := re.search(r"(/tmp/unbleed-\w+)/", command))}
    assert os.stat(session).st_mode & 0o777 == 0o700

    process.process.send_signal(signal.SIGTERM)
    code, out, err = process.ended(60)
    assert (code, out) == (130, "")
    assert "Traceback" not in err
    assert "SIGTERM" not in err  # the head of Ray's stack
    assert process.left() == {}
    assert not Path(session).exists()


def test_B6_a_run_whose_raylet_is_killed_ends_in_one_line(process: Process) -> None:
    (raylet,) = [number for number, command in process.cluster().items() if "raylet/raylet " in command]
    os.kill(raylet, signal.SIGKILL)
    code, out, err = process.ended(90)
    assert (code, out) == (1, "")
    assert err.splitlines()[-1] == (
        "unbleed: Ray has no node left that can hold a worker; run the same command again to resume"
    )
    assert "Traceback" not in err
    assert process.left() == {}
