"""Guidance on a GPU: contract tests in half precision, seconds and memory, as one JSON file; and that file into the docs.

    benchmarks/gpu_check.sh                                       # or `make gpu`: measures, at most 8 minutes
    python benchmarks/gpu_check.py land out/gpu.json              # takes a GPU's figures into docs/performance.md

`measure` runs `tests/guidance/test_half_precision.py`, then `benchmarks/speed.py` against diffusers' own pipeline at
512x512 with batches of 1 and 8, then model offload. Each part gets the time that is left; a part that does not fit is left
out, which the file says. Weights are random: nothing is downloaded. Without a GPU everything runs on the CPU at small sizes, to
try the script, and `land` refuses the file.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from xml.etree import ElementTree

import torch

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "performance.md"
BEGIN, END = "<!-- figures of a GPU: begin -->", "<!-- figures of a GPU: end -->"
ON_CPU = "NO GPU WAS FOUND: this ran on a CPU at small sizes, to try the script. Its figures say nothing about a GPU."
GPU_SIZES = ["--device", "cuda", "--side", "512", "--steps", "20"]
CPU_SIZES = ["--device", "cpu", "--side", "64", "--steps", "2", "--repeats", "1", "--small"]


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def device() -> dict[str, Any]:
    if not torch.cuda.is_available():
        return {"kind": "cpu", "name": f"{torch.get_num_threads()} CPU threads"}
    memory = torch.cuda.get_device_properties(0).total_memory / 2**30
    return {"kind": "cuda", "name": torch.cuda.get_device_name(0), "memory_GiB": round(memory, 1)}


def run(command: Sequence[str], timeout: float, stdout: Any) -> str:
    """Run a command from the repository's root and return what it printed; too late, it ends with all that it started."""
    with subprocess.Popen(command, cwd=ROOT, stdout=stdout, text=True, start_new_session=True) as process:
        try:
            printed, _ = process.communicate(timeout=timeout)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    return printed


def contract(timeout: float) -> dict[str, Any]:
    """Run the contract tests in half precision; return how many passed, and the names of those that failed."""
    with TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        tests = "tests/guidance/test_half_precision.py"
        command = [sys.executable, "-m", "pytest", "-q", "--show-capture=no", "--tb=short", tests, f"--junitxml={report}"]
        run(command, timeout, sys.stderr)
        cases = list(ElementTree.parse(report).iter("testcase"))
    failed = [str(case.get("name")) for case in cases if case.find("failure") is not None or case.find("error") is not None]
    return {"tests": len(cases), "failed": failed}


def speed(arguments: Sequence[str], timeout: float) -> dict[str, Any]:
    command = [sys.executable, str(ROOT / "benchmarks" / "speed.py"), *arguments]
    return json.loads(run(command, timeout, subprocess.PIPE))  # a command that failed has printed no JSON, and why


def measure(out: Path, seconds: float) -> dict[str, Any]:
    """Measure part by part, write what is known after each, and return it."""
    begun, where = time.monotonic(), device()
    on_gpu = where["kind"] == "cuda"
    sizes, large = (GPU_SIZES, "8") if on_gpu else (CPU_SIZES, "2")
    found: dict[str, Any] = {"device": where, "measured": {}, "left_out": {}}
    if not on_gpu:
        say(ON_CPU)
        found = {"note": ON_CPU, **found}
    parts = {
        "contract": contract,
        "batch 1": lambda timeout: speed([*sizes, "--parts", "rival", "--batches", "1"], timeout),
        f"batch {large}": lambda timeout: speed([*sizes, "--parts", "rival", "--batches", large], timeout),
        "offload": lambda timeout: speed([*sizes, "--parts", "offload"], timeout),
    }
    for name, part in parts.items():
        left = seconds - (time.monotonic() - begun)
        if name == "offload" and not on_gpu:
            found["left_out"][name] = "there is no GPU to offload from"
        elif left < 10:
            found["left_out"][name] = "no time was left"
        else:
            limit = left / 2 if name == "contract" else left
            say(f"{name}: at most {limit:.0f} s")
            try:
                found["measured"][name] = part(limit)
            except subprocess.TimeoutExpired:
                found["left_out"][name] = f"not done after {limit:.0f} s"
            except (OSError, ValueError, ElementTree.ParseError) as error:
                found["left_out"][name] = f"failed: {error}"
        found["seconds"] = round(time.monotonic() - begun, 1)
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(found, indent=2) + "\n")
    return found


def section(found: dict[str, Any]) -> str:
    """Return the tables of docs/performance.md for what was measured on a GPU."""
    where, measured = found["device"], found["measured"]
    runs = {name: run for name, run in measured.items() if "rival" in run}
    first = next(iter(runs.values()), None)
    lines = [f"{where['name']}, {where['memory_GiB']:g} GiB"]
    if first:
        versions = f"torch {first['versions']['torch']}, diffusers {first['versions']['diffusers']}"
        lines[0] += (
            f", {versions}, float16. {first['side']}x{first['side']} pixels, {first['steps']} steps, half of them guided"
        )
    lines[0] += " (`make gpu`, then `python benchmarks/gpu_check.py land out/gpu.json`)."
    if runs:
        lines += [
            "",
            "| pictures at once | | seconds | over unguided | peak above the loaded pipeline |",
            "|---|---|---|---|---|",
        ]
    ways = {"none": "no guidance", "unbleed": "`unbleed.guide`", "diffusers": "`StableDiffusionAttendAndExcitePipeline`"}
    for name, run in runs.items():
        own = run["rival"][name]
        for way, label in ways.items():
            ratio, peak = own[way] / own["none"], own["peak_bytes_above_the_loaded_pipeline"][way] / 2**20
            lines.append(f"| {name.removeprefix('batch ')} | {label} | {own[way]:.2f} | {ratio:.2f} | {peak:,.0f} MiB |")
    if "offload" in measured:
        lines += ["", "| guided, one picture | seconds | peak of the GPU's memory |", "|---|---|---|"]
        for way, own in measured["offload"]["offload"].items():
            lines.append(f"| {way} | {own['seconds']:.2f} | {own['peak_bytes'] / 2**20:,.0f} MiB |")
    if "contract" in measured:
        count, failed = measured["contract"]["tests"], measured["contract"]["failed"]
        told = f"{len(failed)} failed: {', '.join(failed)}" if failed else "all passed"
        lines += ["", f"Contract tests in float16 and bfloat16 (`tests/guidance/test_half_precision.py`): {count}, {told}."]
    lines += [f"Left out: {name} ({reason})." for name, reason in found["left_out"].items()]
    return "\n".join(lines)


def land(path: Path, page: Path = PAGE) -> None:
    """Put the figures of `path` between the marks of `page`; exit with one line where they are not those of a GPU."""
    try:
        found = json.loads(path.read_text())
        kind, name = found["device"]["kind"], found["device"]["name"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SystemExit(f"{path} holds no figures ({error}); `make gpu` writes them") from error
    if kind != "cuda":
        raise SystemExit(
            f"{path} was measured on a CPU ({name}); {page.name} takes figures of a GPU alone: run `make gpu` on one"
        )
    before, _, rest = page.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        raise SystemExit(f"{page} has no marks {BEGIN} and {END} to put figures between")
    page.write_text(f"{before}{BEGIN}\n{section(found)}\n{END}{after}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    measuring = commands.add_parser("measure", help="run the checks and write the figures")
    measuring.add_argument("--out", type=Path, default=ROOT / "out" / "gpu.json", help="default: %(default)s")
    measuring.add_argument("--seconds", type=float, default=470, help="for all parts together (default: %(default)s)")
    landing = commands.add_parser("land", help="take a GPU's figures into docs/performance.md")
    landing.add_argument("file", type=Path)
    given = parser.parse_args()
    if given.command == "land":
        land(given.file)
        return
    found = measure(given.out, given.seconds)
    print(json.dumps(found, indent=2))
    say(f"written to {given.out}")
    if found["device"]["kind"] == "cpu":
        say(ON_CPU)
    failed = found["measured"].get("contract", {"failed": ["contract tests were not run"]})["failed"]
    late = {
        name: why for name, why in found["left_out"].items() if not (name == "offload" and found["device"]["kind"] == "cpu")
    }
    if failed or late:
        raise SystemExit(f"not all is well: failed {failed}, left out {late}")


if __name__ == "__main__":
    main()
