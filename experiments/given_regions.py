"""Given regions on the embedded model: is every entity where it was asked to be, and is the picture right?

Pairs of `emoji-pairs`, shuffled by a seed, each in four layouts: left and right, right and left, top and bottom, and two
opposite corners. The oracle says what is in a picture, and where. An entity that is there is inside if the middle of its box is
in its region; of several of its kind the surest one counts.

`--trials` prints the table of trials in docs/regions.md: other settings, on validation prompts.
"""

from __future__ import annotations

import argparse
import json
import logging
import random
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

import unbleed
from unbleed.bench.metrics.oracle import score
from unbleed.bench.plan.cases import Case
from unbleed.bench.suites import suite
from unbleed.emoji.findings import Finding
from unbleed.emoji.oracle import ORACLE_FOLDER, Oracle
from unbleed.generation import draw
from unbleed.guidance.method import BaseMethod
from unbleed.model_settings import method_of, read_settings, settings_of
from unbleed.recipes import Recipe
from unbleed.regions.given import WORDS

LAYOUTS = {
    "left-right": ("left", "right"),
    "right-left": ("right", "left"),
    "top-bottom": ("top", "bottom"),
    "diagonal": ("top left", "bottom right"),
}


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
) -> Iterator[Judged]:
    """Yield what became of each case, drawn in batches; a case comes with its seed."""
    own, oracle = settings_of("emoji"), Oracle.load(ORACLE_FOLDER)
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
        findings = oracle.look([picture.image for picture in draw(pipe, recipes)])
        yield from (judged(layout, case, finding) for (_, case), finding in zip(batch, findings, strict=True))
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


def operations(pipe: Any, case: Case, layout: str, method: BaseMethod) -> int:
    """Return the operations of the denoiser in one picture; attention is made of products, which are counted."""
    own, regions = settings_of("emoji"), dict(zip(map(str, case.entities), LAYOUTS[layout], strict=True))
    sampling = {"num_inference_steps": own.steps, "guidance_scale": own.guidance_scale, "output_type": "latent"}
    with (
        unbleed.guide(pipe, method, regions=None if method.name == "none" else regions),
        sdpa_kernel(SDPBackend.MATH),
        FlopCounterMode(display=False) as counter,
    ):
        pipe(case.prompt, generator=torch.Generator().manual_seed(0), **sampling)
    return counter.get_total_flops()


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

    def rows_of(layout: str, settings: Sequence[str]) -> list[Judged]:
        return list(drawn(pipe, cases[: given.limit], layout, given.method, settings, given.batch_size))

    if given.trials:
        rows = {
            ", ".join(f"`{one}`" for one in own) or "the defaults": [row for layout in layouts for row in rows_of(layout, own)]
            for own in TRIALS
        }
        print(table("settings", rows))
        return
    rows = {layout: rows_of(layout, given.settings) for layout in layouts}
    every = [row for own in rows.values() for row in own]
    print(table("layout", {**rows, "all": every}))
    method, case = method_of(given.method, "emoji", read_settings(given.settings)), cases[0][1]
    plain, guided = (operations(pipe, case, layouts[0], one) for one in (method_of("none", "emoji"), method))
    print(f"\n{guided / plain:.2f} times the operations of the unguided run")
    if given.out:
        given.out.write_text(json.dumps([vars(row) for row in every]))


if __name__ == "__main__":
    main()
