"""Every scheduler of diffusers: the share of a run that is guided, and whether a run afterwards is bit-identical.

    python benchmarks/schedulers.py

Tiny random models of the tests, 4 steps, guidance for the first half of the run. Two minutes on two cores.
"""

from __future__ import annotations

import sys
import tempfile
import warnings
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from helpers import every_scheduler as every
from unbleed.emoji.networks import tokenizer


def main() -> None:
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder:
        words = tokenizer(Path(folder))
    words.model_max_length = 32
    pipes = every.pipelines(words)
    print(f"torch {torch.__version__}, {every.STEPS} steps, guided up to half of the run\n")
    print("| scheduler | pipeline | calls of the denoiser | levels guided | at timesteps | afterwards bit-identical |")
    print("|---|---|---|---|---|---|")
    for kind in every.kinds():
        name = kind.__name__
        if name in every.CANNOT:
            print(f"| {name} | none: {every.CANNOT[name]} | | | | |", flush=True)
            continue
        for config in ({}, {"skip_prk_steps": True}) if name == "PNDMScheduler" else ({},):
            try:
                found = every.row_of(kind, pipes, **config)
            except ImportError:
                print(f"| {name} | not tried: needs torchsde | | | | |", flush=True)
                continue
            times = ", ".join(f"{time:.4g}" for time in found.guided)
            note = "".join(f" ({key}={value})" for key, value in config.items())
            same = "yes" if found.same else "NO"
            print(f"| {name}{note} | {found.pipeline} | {found.calls} | {len(found.guided)} | {times} | {same} |", flush=True)


if __name__ == "__main__":
    main()
