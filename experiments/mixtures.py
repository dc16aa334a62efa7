"""How the training mixture decides how the emoji model fails: one beginning, another last stage for each mixture, and rates.

All mixtures share the autoencoder, the scenes and the steps before the last stage; the first one trains them. What a
model draws unguided is judged by the shipped oracle: single entities, and pairs, half of which no training scene shows.
Hours on two CPU cores (minutes on a GPU); a run that was stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import logging
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from statistics import fmean

from unbleed.bench.api import run_suite
from unbleed.bench.suites import suite
from unbleed.emoji import WEIGHTS
from unbleed.emoji.training.model import PRESETS, Recipe, Stage, train
from unbleed.model_settings import FILE_NAME

RELEASE = PRESETS["release"]
BEGINNING = RELEASE.stages[-2].until
MIXTURES = {
    "release": RELEASE.stages[-1],
    "as many pairs": Stage(RELEASE.steps, (0.50, 0.45, 0.05)),
    "careless captions": Stage(RELEASE.steps, (0.75, 0.22, 0.03), swapped=0.5, unseen=0.25),
}
SHARED = ("autoencoder.safetensors", "latents.safetensors", "tokenizer")
STATE = "denoiser-state.safetensors"


def trained(name: str, out: Path, device: str) -> Path:
    """Return the folder of the model of the mixture `name`, trained or found; the beginning is kept beside."""
    folder, beginning = out / name.replace(" ", "-"), out / "beginning"
    work = folder / "work"
    if not (folder / "model_index.json").exists():
        if (beginning / STATE).exists() and not work.exists():
            work.mkdir(parents=True)
            for file in SHARED:
                (work / file).symlink_to((out / "release/work" / file).resolve())
            shutil.copy(beginning / STATE, work / STATE)

        def report(stage: str, step: int, steps: int, loss: float | None) -> None:
            if step % 200 == 0:
                print(f"{name}: {stage} {step}/{steps}", file=sys.stderr, flush=True)
            if stage == "denoiser" and step == BEGINNING + 1 and not beginning.exists():  # its state has just been written
                beginning.mkdir()
                shutil.copy(work / STATE, beginning / STATE)

        train(folder, recipe(name), device=device, report=report, save_every=BEGINNING // 28)
    shutil.copy(WEIGHTS / FILE_NAME, folder / FILE_NAME)
    return folder


def recipe(name: str) -> Recipe:
    return replace(RELEASE, stages=(*RELEASE.stages[:-1], MIXTURES[name]))


def rates(model: Path, out: Path, prompts: int, seeds: int) -> dict[str, float]:
    """Return shares of the unguided pictures of single entities and of pairs, from 0 to 1."""
    figures: dict[str, float] = {}
    for name in ("emoji-single", "emoji-pairs"):
        folder = out / f"{model.name}-{name}"
        cases = suite(name).head(prompts)
        rows = run_suite(folder, cases, ["none"], model=str(model), seeds=seeds).images
        figures[f"{name} right"] = fmean(row.scores["all_correct"] for row in rows)
    held_out = [row for row in rows if "held-out" in cases.cases[row.case].groups]
    figures["held-out right"] = fmean(row.scores["all_correct"] for row in held_out)
    figures["missing"] = 1 - fmean(row.scores["all_present"] for row in rows)
    for fault in ("leaked", "extra", "blend"):
        figures[fault] = fmean(row.scores[fault] for row in rows)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("out/mixtures"), help="folder of the models and pictures")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--prompts", type=int, default=96, help="of each suite")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    logging.getLogger("diffusers").setLevel(logging.ERROR)
    found = {name: rates(trained(name, given.out, given.device), given.out, given.prompts, given.seeds) for name in MIXTURES}
    if given.json:
        print(json.dumps(found, indent=2))
        return
    columns = list(found["release"])
    print("mixture".ljust(20) + "".join(column.rjust(20) for column in columns))
    for name, figures in found.items():
        print(name.ljust(20) + "".join(f"{figures[column]:.1%}".rjust(20) for column in columns))


if __name__ == "__main__":
    main()
