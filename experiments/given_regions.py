"""Given regions on the embedded model: is every entity where it was asked to be, and is the picture right?

Pairs of `emoji-pairs`, shuffled by a seed, each in four layouts: left and right, right and left, top and bottom, and two
opposite corners. The oracle says what is in a picture, and where. An entity that is there is inside if the middle of its box is
in its region; of several of its kind the surest one counts.

`--trials` prints a table of other settings, on validation prompts.
"""

from __future__ import annotations

import argparse
import json
import logging
import random
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch
from PIL import Image
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

import unbleed
from unbleed import figures
from unbleed.bench.metrics.oracle import score
from unbleed.bench.plan.cases import Case
from unbleed.bench.suites import suite
from unbleed.emoji.findings import Finding
from unbleed.emoji.oracle import ORACLE_FOLDER, Oracle
from unbleed.generation import draw
from unbleed.guidance.method import BaseMethod
from unbleed.model_settings import method_of, read_settings
from unbleed.recipes import Recipe
from unbleed.regions.given import WORDS
from unbleed.sampling import sampling_named

LAYOUTS = {
    "left-right": ("left", "right"),
    "right-left": ("right", "left"),
    "top-bottom": ("top", "bottom"),
    "diagonal": ("top left", "bottom right"),
}


FAULTS = ("too many", "missing", "other colour", "blend")
TRIALS = ((), ("candidates=1",), ("candidates=2",), ("candidates=8",), ("radius=1",), ("pull_stop=0.25",), ("step_size=0",))
ON_VALIDATION = {"suite": "emoji-validation-orders", "limit": 24, "layouts": "left-right,diagonal", "dtype": "bfloat16"}


@dataclass(frozen=True)
class Judged:
    """What the oracle saw of one picture."""

    layout: str
    prompt: str
    inside: tuple[bool, ...]  # of each entity that is there
    correct: bool
    bound: bool
    extra: bool
    blend: bool

    @property
    def fault(self) -> str:
        """What is wrong, the first of FAULTS that is; empty for a picture that is right."""
        wrong = (self.extra, len(self.inside) < 2, not self.bound, self.blend)
        return next((name for name, is_wrong in zip(FAULTS, wrong, strict=True) if is_wrong), "")


def judged(layout: str, case: Case, finding: Finding) -> Judged:
    inside = []
    for entity, word in zip(case.entities, LAYOUTS[layout], strict=True):
        seen = [thing for thing in finding.things if thing.noun == entity.noun]
        if seen:
            left, top, right, bottom = max(seen, key=lambda thing: thing.confidence).box
            x, y, box = (left + right) / 2, (top + bottom) / 2, WORDS[word]
            inside.append(box[0] <= x <= box[2] and box[1] <= y <= box[3])
    scores = score(case, finding)
    return Judged(
        layout, case.prompt, tuple(inside), *(bool(scores[name]) for name in ("all_correct", "all_bound", "extra", "blend"))
    )


def drawn(
    pipe: Any, cases: Sequence[tuple[int, Case]], layout: str, label: str, settings: Sequence[str], batch_size: int
) -> Iterator[tuple[Judged, Image.Image]]:
    """Yield what became of each case, and its picture, drawn in batches; a case comes with its seed."""
    own, oracle = sampling_named("emoji"), Oracle.load(ORACLE_FOLDER)
    method = method_of(label, "emoji", read_settings(list(settings)))
    for first in range(0, len(cases), batch_size):
        batch = cases[first : first + batch_size]
        recipes = [
            Recipe(
                prompt=case.prompt,
                seed=seed,
                method=method.name,
                settings=method.settings(),
                regions=dict(zip(map(str, case.entities), LAYOUTS[layout], strict=True)) if label != "none" else {},
                steps=own.steps,
                guidance_scale=own.guidance_scale,
            )
            for seed, case in batch
        ]
        images = [picture.image for picture in draw(pipe, recipes)]
        for (_, case), finding, image in zip(batch, oracle.look(images), images, strict=True):
            yield judged(layout, case, finding), image
        print(f"{layout}: {first + len(batch)} of {len(cases)}", file=sys.stderr, flush=True)


COLUMNS = "pictures | entities there | inside their region | all correct | all bound | extra | blend"


def table(first: str, rows: Mapping[str, Sequence[Judged]]) -> str:
    """Return a Markdown table with a row per name."""
    lines = [f"| {first} | {COLUMNS} |", "|---" * 8 + "|"]
    for name, own in rows.items():
        inside = [one for row in own for one in row.inside]
        shares = [[getattr(row, of) for row in own] for of in ("correct", "bound", "extra", "blend")]
        cells = [name, str(len(own)), f"{len(inside) / (2 * len(own)):.1%}", *map(share, (inside, *shares))]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def sheet(rows: Sequence[tuple[Judged, Image.Image]], columns: int = 8) -> Image.Image:
    """Return a sheet of the pictures that are not all-correct, by what is wrong."""
    lines, labels, captions = [], [], []
    for fault in FAULTS:
        wrong = [(row, image.resize((176, 176), Image.Resampling.LANCZOS)) for row, image in rows if row.fault == fault]
        for first in range(0, len(wrong), columns):
            part = wrong[first : first + columns]
            lines.append([image for _, image in part])
            captions.append([row.prompt.replace("a ", "").replace(" and ", ", ") for row, _ in part])
            labels.append(f"{fault}\n{len(wrong)} of {len(rows)}" if first == 0 else "")
    return figures.grid(lines, labels=labels, captions=captions, title="Given regions: every picture that is not all-correct")


def once(pipe: Any, case: Case, layout: str, method: BaseMethod) -> float:
    """Sample a case as latents, with seed 0, and return the processor's seconds."""
    own, regions = sampling_named("emoji"), dict(zip(map(str, case.entities), LAYOUTS[layout], strict=True))
    sampling = {"num_inference_steps": own.steps, "guidance_scale": own.guidance_scale, "output_type": "latent"}
    begun = time.process_time()
    with unbleed.guide(pipe, method, regions=None if method.name == "none" else regions):
        pipe(case.prompt, generator=torch.Generator().manual_seed(0), **sampling)
    return time.process_time() - begun


def operations(pipe: Any, case: Case, layout: str, method: BaseMethod) -> int:
    """Return the operations of the denoiser in one picture; attention is made of products, which are counted."""
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        once(pipe, case, layout, method)
    return counter.get_total_flops()


def cost(pipe: Any, case: Case, layout: str, method: BaseMethod, times: int = 5) -> str:
    """Return what a picture costs beside the unguided one; seconds are medians of runs in turns."""
    none = method_of("none", "emoji")
    plain, guided = (operations(pipe, case, layout, one) for one in (none, method))
    seconds = [(once(pipe, case, layout, none), once(pipe, case, layout, method)) for _ in range(times)]
    slower = median(own for _, own in seconds) / median(own for own, _ in seconds)
    return f"{guided / plain:.2f} times the operations of the unguided run, {slower:.2f} times its processor seconds"


def share(values: Sequence[bool]) -> str:
    return f"{sum(values) / len(values):.1%}" if values else "-"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", action="store_true", help="draw the trials, on the prompts that they are drawn on")
    parser.add_argument("--suite", default="emoji-pairs")
    parser.add_argument("--limit", type=int, default=96, help="prompts of the shuffled suite [96]")
    parser.add_argument("--shuffle", type=int, default=0, help="seed of the shuffle [0]")
    parser.add_argument("--layouts", default=",".join(LAYOUTS))
    parser.add_argument("--method", default="regions", help="a label; none draws the same prompts without guidance or regions")
    parser.add_argument("--set", dest="settings", action="append", default=[], help="NAME=VALUE of the method; may be repeated")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--out", type=Path, help="write every picture's outcome here, as JSON")
    parser.add_argument("--sheet", type=Path, help="write a sheet of the pictures that are not all-correct here")
    given = parser.parse_args()
    if given.trials:
        vars(given).update(ON_VALIDATION)
    for name in ("diffusers", "transformers"):
        logging.getLogger(name).setLevel(logging.ERROR)
    pipe = unbleed.load("emoji", dtype=getattr(torch, given.dtype))
    pipe.set_progress_bar_config(disable=True)
    prompts = suite(given.suite)
    cases = [(prompts.first_seed + at, case) for at, case in enumerate(prompts.cases)]
    random.Random(given.shuffle).shuffle(cases)
    layouts = given.layouts.split(",")

    def rows_of(layout: str, settings: Sequence[str]) -> list[tuple[Judged, Image.Image]]:
        return list(drawn(pipe, cases[: given.limit], layout, given.method, settings, given.batch_size))

    if given.trials:
        rows = {
            ", ".join(f"`{one}`" for one in own) or "the defaults": [
                row for layout in layouts for row, _ in rows_of(layout, own)
            ]
            for own in TRIALS
        }
        print(table("settings", rows))
        return
    drawn_rows = {layout: rows_of(layout, given.settings) for layout in layouts}
    rows = {layout: [row for row, _ in own] for layout, own in drawn_rows.items()}
    every = [row for own in rows.values() for row in own]
    if given.sheet:
        sheet([pair for own in drawn_rows.values() for pair in own]).save(given.sheet, quality=85)
    print(table("layout", {**rows, "all": every}))
    method, case = method_of(given.method, "emoji", read_settings(given.settings)), cases[0][1]
    print(f"\n{cost(pipe, case, layouts[0], method)}")
    if given.out:
        given.out.write_text(json.dumps([vars(row) for row in every]))


if __name__ == "__main__":
    main()
