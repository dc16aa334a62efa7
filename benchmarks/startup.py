"""Start-up times of the command line and of `import unbleed`, in alternation with another checkout.

    python benchmarks/startup.py                        # this checkout
    python benchmarks/startup.py --before FOLDER        # and another one, whose ratio is printed
    python benchmarks/startup.py --imports              # imports of public names against those of torch and diffusers alone

Seconds are processor seconds, which other programs on the machine affect less than the clock.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parents[1]
LIBRARIES = "import torch; from diffusers import DiffusionPipeline, UNet2DConditionModel"
COMMANDS = {
    "unbleed --help": ["-m", "unbleed", "--help"],
    "unbleed --version": ["-m", "unbleed", "--version"],
    "unbleed nonsense (a usage error)": ["-m", "unbleed", "nonsense"],
    "unbleed generate (no prompt)": ["-m", "unbleed", "generate"],
    "import unbleed": ["-c", "import unbleed"],
}
IMPORTS = {
    "from unbleed import guide, load": ["-c", "from unbleed import guide, load"],
    "torch and diffusers alone": ["-c", LIBRARIES],
}


def seconds(checkout: Path, arguments: list[str]) -> float:
    """Return the processor's seconds of one run of Python, in the user's and the system's mode."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, "PYTHONPATH": str(checkout / "src"), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=False,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--before", type=Path, help="another checkout")
    options.add_argument("--imports", action="store_true", help="measure imports of public names")
    options.add_argument("--repeats", type=int, default=5)
    chosen = options.parse_args()
    checkouts = [*([chosen.before] if chosen.before else []), HERE]
    print("| command | " + ("before, s | now, s | ratio |" if chosen.before else "s |"))
    print("|---|" + "---|" * (3 if chosen.before else 1))
    medians: dict[str, float] = {}
    for name, arguments in (IMPORTS if chosen.imports else COMMANDS).items():
        found: list[list[float]] = [[] for _ in checkouts]
        for repeat in range(-1, chosen.repeats):  # the first fills the caches
            for own, checkout in zip(found, checkouts, strict=True):
                taken = seconds(checkout, arguments)
                own += [taken] if repeat >= 0 else []
        middle = [statistics.median(own) for own in found]
        medians[name] = middle[-1]
        ratio = f" {middle[-1] / middle[0]:.2f} |" if chosen.before else ""
        print(f"| {name} | " + " | ".join(f"{value:.2f}" for value in middle) + f" |{ratio}", flush=True)
    if not chosen.imports:
        return
    beyond = medians["from unbleed import guide, load"] - medians["torch and diffusers alone"]
    print(f"\nimport of guide and load beyond torch and diffusers: {beyond:.2f} s")


if __name__ == "__main__":
    main()
