"""The pictures of docs/regions.md, of the embedded model, written to docs/images/regions.

python tools/region_pictures.py [NAME...]       # all, or those of these names
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

import unbleed
from unbleed import figures
from unbleed.sampling import sampling_named

FOLDER = Path(__file__).parents[1] / "docs/images/regions"
SIDE = 256
SEEDS = (0, 1, 2)  # not picked
PAIR = "a rabbit and a red car"


def disc() -> Image.Image:
    """Return a mask of a disc in the lower right."""
    y, x = np.mgrid[0:128, 0:128]
    return Image.fromarray((((x - 84) ** 2 + (y - 84) ** 2 < 40**2) * 255).astype(np.uint8))


GIVEN: dict[str, Mapping[str, Any]] = {
    "words": {"rabbit": "left", "red car": "right"},
    "boxes": {"rabbit": (0.45, 0.0, 1.0, 0.55), "red car": (0.0, 0.5, 0.6, 1.0)},
    "mask, background": {"red car": disc(), "rabbit": "background"},
    "one given, one found": {"red car": "top left"},
    "overlapping": {"rabbit": (0.0, 0.0, 0.65, 1.0), "red car": (0.35, 0.0, 1.0, 1.0)},
}


def sampled(pipe: Any, prompt: str, seeds: Sequence[int], method: Any, regions: Any = None) -> tuple[list[Image.Image], Any]:
    own = sampling_named("emoji")
    with unbleed.guide(pipe, method, regions=regions) as run:
        images = pipe(
            [prompt] * len(seeds),
            num_inference_steps=own.steps,
            guidance_scale=own.guidance_scale,
            generator=[torch.Generator().manual_seed(seed) for seed in seeds],
        ).images
    return images, run


def outlined(images: Sequence[Image.Image], run: Any, **where: Any) -> list[Image.Image]:
    return [run.show_regions(image, image=number, side=SIDE, **where) for number, image in enumerate(images)]


def plain(images: Sequence[Image.Image]) -> list[Image.Image]:
    return [figures.enlarge(image, SIDE) for image in images]


def sheet(columns: Mapping[str, Sequence[Image.Image]], prompt: str) -> Image.Image:
    """Return a sheet with a row per seed."""
    rows = [list(row) for row in zip(*columns.values(), strict=True)]
    return figures.grid(
        rows, columns=list(columns), labels=[f"seed {seed}" for seed in SEEDS[: len(rows)]], title=f"“{prompt}”"
    )


def given(pipe: Any) -> Image.Image:
    columns = {"unguided": plain(sampled(pipe, PAIR, SEEDS, "none")[0])}
    return sheet(columns | {name: outlined(*sampled(pipe, PAIR, SEEDS, "regions", own)) for name, own in GIVEN.items()}, PAIR)


def found(pipe: Any) -> Image.Image:
    prompt = "a green bench and a bear"
    images, run = sampled(pipe, prompt, SEEDS, "regions")
    steps = sorted({record.step for record in run.regions})
    columns = {"unguided": plain(sampled(pipe, prompt, SEEDS, "none")[0])}
    columns |= {f"regions of step {step}": outlined(images, run, step=step) for step in (steps[0], steps[-1])}
    return sheet(columns | {"the picture": plain(images)}, prompt)


def gradient(pipe: Any) -> Image.Image:
    columns = {"unguided": plain(sampled(pipe, PAIR, SEEDS, "none")[0])}
    for name, label in (("step_size=0", "regions:step_size=0"), ("with the gradient", "regions")):
        columns[name] = outlined(*sampled(pipe, PAIR, SEEDS, label, GIVEN["words"]))
    return sheet(columns, PAIR)


PICTURES = {"given": given, "found": found, "gradient": gradient}


def main() -> None:
    pipe = unbleed.load("emoji")
    pipe.set_progress_bar_config(disable=True)
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name in sys.argv[1:] or PICTURES:
        PICTURES[name](pipe).save(FOLDER / f"{name}.webp", quality=90)
        print(FOLDER / f"{name}.webp")


if __name__ == "__main__":
    main()
