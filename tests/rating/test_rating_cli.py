"""`unbleed rate` as a command: a study from its run to its report."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from helpers.rating import rate_all

UNBLEED = [sys.executable, "-m", "unbleed", "rate"]


def test_a_study_is_served_and_summed_up_without_the_libraries_of_models() -> None:
    """So that it starts at once, and where no model is installed."""
    code = "import sys, unbleed.rating.server, unbleed.rating.summary, unbleed.cli.rate; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"


def serve(*arguments: str) -> tuple[subprocess.Popen[str], dict[str, Any]]:
    """Start the command on a free port, and return it with what it says."""
    process = subprocess.Popen([*UNBLEED, *arguments, "--port", "0", "--json"], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    text = ""
    for line in process.stdout:
        text += line
        if line.startswith("}"):
            return process, json.loads(text)
    raise AssertionError(text)


def stop(process: subprocess.Popen[str]) -> int:
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    return process.returncode


@pytest.mark.slow
def test_a_study_from_a_run_to_its_report(tmp_path: Path) -> None:
    from helpers.fake_runs import plan_of, write_run

    run = tmp_path / "run"
    write_run(run, plan_of("none,syngen", limit=12))
    for path in (run / "images").glob("*/*.png"):
        Image.frombytes("RGB", (24, 24), random.Random(path.name).randbytes(3 * 24 * 24)).save(path)
    process, said = serve(str(run), "--methods", "none,syngen", "--question", "looks", "--repeats", "2", "--catches", "1")
    assert (said["pairs"], said["trials"], said["study"]) == (24, 27, str(run / "rating"))
    port = int(said["url"].rstrip("/").rpartition(":")[2])
    link = rate_all(port, lambda number: "left" if number < 20 else "tie")
    assert stop(process) == 130
    process, again = serve(str(run))
    port = int(again["url"].rstrip("/").rpartition(":")[2])
    rate_all(port, lambda number: "never", link)  # every pair is answered already
    assert stop(process) == 130
    report = subprocess.run([*UNBLEED, "report", str(run), "--json"], capture_output=True, text=True)
    assert (report.returncode, report.stderr) == (0, "")
    found = json.loads(report.stdout)
    assert (found["question"], found["raters"][0]["answers"]) == ("Which picture looks better?", 27)
    (one,) = found["comparisons"]
    assert one["wins"] + one["losses"] + one["ties"] == one["answers"] == 24
    assert (run / "rating" / "report.html").is_file()
