"""Training of the oracle on scenes that are made meanwhile; every batch is a pure function of seed and step.

What the oracle will be asked about are pictures that a diffusion model drew, so most pictures are warped, blurred, made
noisy, sent through the model's own autoencoder with noise in its latents, or redrawn by the model: noised a little and
denoised again, which leaves a denoiser's traces in them. The redrawn ones are made once, into a pool, since redrawing those
of a batch takes longer than learning from it.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from itertools import compress
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor

from ...loading import usable_device
from .. import networks
from ..findings import Finding
from ..oracle import BLEND, GRID, LOOKS, ORACLE_FILE, SIDE, Answer, OracleNetwork, Thresholds, decode, from_pixels
from ..scenes import Thing, sample_scene
from ..sprites import NOUNS, find_font
from .loop import Report, State, check_recipe, optimise, save_tensors
from .oracle_redraw import from_latents, outlasted, redraw, round_trip
from .oracle_scenes import EVERY_PAIR, Blend, Scene, blend_scene, draw_all, learning_scene


@dataclass(frozen=True)
class OracleRecipe:
    """All settings of the training. Steps are optimiser steps, batch sizes count images."""

    seed: int = 0
    steps: int = 3200
    batch: int = 64
    rate: float = 2e-3
    flat: float = 0.5  # fraction of the steps before the rate begins to fall
    warm_up: int = 200
    averaging: float = 0.998  # decay of the running average of the weights
    round_trips: float = 0.20  # fraction of the images that go through the autoencoder
    redrawings: float = 0.20  # fraction of the images that the model has redrawn
    redrawn: int = 4096  # scenes that are redrawn before the first step
    calibration: int = 1024  # scenes on which the thresholds are chosen, and as many blends


ORACLE_PRESETS = {
    "release": OracleRecipe(),
    "smoke": OracleRecipe(steps=4, batch=4, warm_up=1, averaging=0.5, redrawn=8, calibration=8),
}

BLENDS_FOUND = 0.9  # fraction of the calibration's blends that must be found
_CALIBRATION_STREAM = 1_000_003  # added to the seed: scenes that are not trained on
_REDRAWN_STREAM = 3_000_003  # likewise: scenes of the pool (2_000_003 is the evaluation's)

_CHUNK = 32

T = TypeVar("T")


# ------------------------------------------------------------------------------------------------- degradations


def degrade(pictures: Tensor, vae: Any, share: float, seed: int, step: int) -> Tensor:
    """Return `pictures` (batch, rgb, side, side) as a model might give them, the first `share` of them decoded.

    Half are warped by a pixel or two; half of the decoded ones have noise in their latents; then blur, other brightness
    and contrast, and noise, each for some and in a random strength.
    """
    chance = torch.Generator().manual_seed(seed * 1_000_003 + step)
    count, device = len(pictures), pictures.device

    def uniform(low: float, high: float, n: int = count) -> Tensor:
        return (low + (high - low) * torch.rand(n, 1, 1, 1, generator=chance)).to(device)

    pictures = pictures.clone()
    warped = torch.randperm(count, generator=chance)[: count // 2].to(device)
    bends = torch.randn(len(warped), 2, 4, 4, generator=chance).to(device) * uniform(0, 0.025, len(warped))
    pictures[warped] = _warp(pictures[warped], bends)

    decoded = round(share * count)
    if decoded:
        shape = (decoded, networks.LATENT_CHANNELS, networks.LATENT_SIDE, networks.LATENT_SIDE)
        sigma = uniform(-0.3, 0.3, decoded).clamp(min=0)
        noise = torch.randn(shape, generator=chance).to(device) * sigma
        with torch.autocast(device.type, torch.bfloat16):
            pictures[:decoded] = round_trip(vae, pictures[:decoded], noise)

    blurred = F.interpolate(F.avg_pool2d(pictures, 2), scale_factor=2, mode="bilinear")
    pictures = torch.lerp(pictures, blurred, uniform(-1, 1).clamp(min=0))
    pictures = pictures * uniform(0.92, 1.08) + uniform(-0.06, 0.06)
    noisy = torch.randperm(count, generator=chance)[: count // 3].to(device)
    grain = torch.randn(len(noisy), *pictures.shape[1:], generator=chance).to(device)
    pictures[noisy] += grain * uniform(0, 0.12, len(noisy))
    return pictures.clamp(-1, 1)


def _warp(pictures: Tensor, bends: Tensor) -> Tensor:
    """Return `pictures` warped by the displacements `bends` (batch, x and y, 4, 4), in half sides."""
    axis = (torch.arange(SIDE, device=pictures.device) + 0.5) * 2 / SIDE - 1
    straight = torch.stack(torch.meshgrid(axis, axis, indexing="xy"), dim=-1)  # (height, width, x and y)
    smooth = F.interpolate(bends, size=(SIDE, SIDE), mode="bilinear", align_corners=True).permute(0, 2, 3, 1)
    return F.grid_sample(pictures, straight + smooth, padding_mode="border", align_corners=False)


# --------------------------------------------------------------------------------------------------------- loss


class Truth:
    """The target of the network for scenes: heat (batch, class, grid, grid), and the cells that hold a thing."""

    def __init__(self, scenes: Sequence[Scene], device: torch.device) -> None:
        heat = np.zeros((len(scenes), BLEND + 1, GRID, GRID), dtype=np.float32)
        places, boxes, looks = [], [], []
        grid = np.arange(GRID)
        for picture, scene in enumerate(scenes):
            for item in scene:
                one = isinstance(item, Thing) or item.is_one_noun
                thing = item if isinstance(item, Thing) else item.first
                left, top, right, bottom = (edge * GRID for edge in thing.box)
                x, y = (left + right) / 2, (top + bottom) / 2
                column, row = min(int(x), GRID - 1), min(int(y), GRID - 1)
                distance = np.hypot(grid[None, :] + 0.5 - x, grid[:, None] + 0.5 - y)
                # a center on the border of cells is in all of them: with one target cell each would get half of the probability
                bump = np.where(distance <= 0.75, 1, np.exp(-((distance / max(0.6, (right - left) / 10)) ** 2) / 2))
                kind = NOUNS.index(thing.noun) if one else BLEND
                np.maximum(heat[picture, kind], bump, out=heat[picture, kind])
                # box and colour are trained around the center too, since the most probable cell can be next to it
                for r in range(max(0, row - 1), min(GRID, row + 2)):
                    for c in range(max(0, column - 1), min(GRID, column + 2)):
                        places.append((picture, r, c))
                        boxes.append((x - c - 0.5, y - r - 0.5, right - left, bottom - top))
                        looks.append(LOOKS.index(thing.colour) if isinstance(item, Thing) else -1)
        self.heat = torch.from_numpy(heat).to(device)
        self.places = torch.tensor(places, dtype=torch.long, device=device).reshape(-1, 3)  # picture, row, column
        self.boxes = torch.tensor(boxes, device=device).reshape(-1, 4)  # as `Answer.box`
        self.looks = torch.tensor(looks, dtype=torch.long, device=device)  # -1: none, or two


def loss_parts(answer: Answer, truth: Truth) -> dict[str, Tensor]:
    """Return focal loss of the heat per center (CenterNet's equation 1), cross-entropy of colours, L1 of boxes."""
    picture, row, column = truth.places.unbind(dim=1)
    heat = answer.heat.float()
    sure, target = heat.sigmoid(), truth.heat
    at_middle = (1 - sure).square() * F.logsigmoid(heat) * (target == 1)
    elsewhere = sure.square() * (1 - target) ** 4 * F.logsigmoid(-heat) * (target < 1)
    focal = -(at_middle + elsewhere).sum() / (target == 1).sum().clamp(min=1)
    colours = answer.colour.float()[picture, :, row, column]  # (cell, look)
    boxes = answer.box.float()[picture, :, row, column]  # (cell, 4)
    if not (truth.looks >= 0).any():
        return {"focal": focal, "colour": colours.sum() * 0, "box": boxes.sum() * 0}
    return {
        "focal": focal,
        "colour": F.cross_entropy(colours, truth.looks, ignore_index=-1),
        "box": (boxes - truth.boxes).abs().mean(),
    }


# ----------------------------------------------------------------------------------------------------- training


def train_oracle(
    out: Path,
    recipe: OracleRecipe,
    *,
    pipe: Any,
    device: str | torch.device = "cpu",
    font: Path | None = None,
    report: Report = lambda *_: None,
    save_every: int = 200,
) -> Path:
    """Train an oracle for what the emoji model's pipeline `pipe` draws, into `out`, and return the file of its weights.

    `out/work` holds the state of the run and the pool of redrawn scenes; a run found there goes on where it stopped. The
    pipeline is moved to `device`, in float32.

    Raises `TrainingError` when the font is missing, the device cannot be used, or `out/work` belongs to another recipe.
    """
    device, font = usable_device(device), find_font(font)
    work = out / "work"
    work.mkdir(parents=True, exist_ok=True)
    check_recipe(work / "recipe.json", recipe)
    pipe.to(device)
    for part in (pipe.vae, pipe.text_encoder, pipe.unet):
        part.float().eval().requires_grad_(False)
    vae = networks.prepare_for_training(pipe.vae, device)
    numbers, latents = _redraw_scenes(work, recipe, pipe, font, report)
    torch.manual_seed(recipe.seed)
    network: OracleNetwork = networks.prepare_for_training(OracleNetwork(), device)
    state = State(work / "oracle-state.safetensors", network, recipe.averaging)
    state.load()

    def loss_of(step: int) -> Tensor:
        scenes, drawn, chosen = batches(step)
        with torch.autocast(device.type, torch.bfloat16):
            redrawn = from_latents(vae, latents[chosen].to(device))
        share = recipe.round_trips * recipe.batch / len(drawn)
        fresh = degrade(from_pixels(drawn).to(device), vae, share, recipe.seed, step)
        # the pool's are decoded; their seed is another one, or they would be bent as the first of the fresh ones are
        pictures = torch.cat([fresh, degrade(redrawn, vae, 0.0, recipe.seed + _REDRAWN_STREAM, step)])
        with torch.autocast(device.type, torch.bfloat16):
            answer = network(pictures.contiguous(memory_format=torch.channels_last))
        parts = loss_parts(answer, Truth(scenes, device))
        return parts["focal"] + parts["colour"] + 0.25 * parts["box"]

    with _ahead(partial(_batch, recipe, font, numbers)) as batches:
        optimise("oracle", network, state, loss_of, recipe.rate, recipe.steps, recipe.warm_up, report, save_every, recipe.flat)
    network.load_state_dict(state.average)
    thresholds = calibrate(network, pipe, recipe, font)
    # what is added rather than multiplied is small, and the variances of the norms span more than fp16 holds
    weights = {k: v.half() if v.ndim > 1 else v for k, v in network.state_dict().items()}
    facts = {"noun_threshold": f"{thresholds.noun:g}", "blend_threshold": f"{thresholds.blend:g}"}
    save_tensors(weights, out / ORACLE_FILE, facts)
    history = {"recipe": asdict(recipe), "steps_done": state.step, "seconds": round(state.seconds), "loss": state.loss}
    (out / "training.json").write_text(json.dumps(history, indent=2) + "\n")
    return out / ORACLE_FILE


def _redraw_scenes(work: Path, recipe: OracleRecipe, pipe: Any, font: Path, report: Report) -> tuple[np.ndarray, Tensor]:
    """Return the pool, made or read: numbers of scenes, and their latents (scene, channel, height, width) in float16.

    Scenes whose blend the model has made a thing of are not in it.
    """
    path = work / "redrawn.safetensors"
    if not path.exists():
        seed = recipe.seed + _REDRAWN_STREAM
        numbers, kept = [], []
        for first in range(0, recipe.redrawn, _CHUNK):
            last = min(first + _CHUNK, recipe.redrawn)
            scenes = [learning_scene(seed, i) for i in range(first, last)]
            latents = redraw(pipe, from_pixels(draw_all(scenes, seed, first, font)), scenes, seed, first)
            right = torch.tensor(outlasted(from_latents(pipe.vae, latents), scenes, seed, first, font))
            numbers.append(torch.arange(first, last)[right])
            kept.append(latents.cpu()[right])
            report("redrawn", last, recipe.redrawn, None)
        save_tensors({"numbers": torch.cat(numbers), "latents": torch.cat(kept)}, path)
    pool = load_file(path)
    return pool["numbers"].numpy(), pool["latents"]


def _batch(recipe: OracleRecipe, font: Path, pool: np.ndarray, step: int) -> tuple[list[Scene], np.ndarray, np.ndarray]:
    """Return the scenes of a batch, pictures of the first of them, which are fresh, and where in `pool` the others are."""
    again = round(recipe.redrawings * recipe.batch)
    first, last = step * (recipe.batch - again), (step + 1) * (recipe.batch - again)
    scenes = [learning_scene(recipe.seed, i) for i in range(first, last)]
    chosen = np.random.default_rng([recipe.seed, 15, step]).integers(len(pool), size=again)
    redrawn = [learning_scene(recipe.seed + _REDRAWN_STREAM, int(i)) for i in pool[chosen]]
    return [*scenes, *redrawn], draw_all(scenes, recipe.seed, first, font), chosen


@contextmanager
def _ahead(make: Callable[[int], T]) -> Iterator[Callable[[int], T]]:
    """Give `make` back, with the value of the next step made on a thread while that of this one is used."""
    with ThreadPoolExecutor(1) as thread:
        waiting: dict[int, Future[T]] = {}

        def take(step: int) -> T:
            this = waiting.pop(step, None) or thread.submit(make, step)
            waiting[step + 1] = thread.submit(make, step + 1)
            return this.result()

        yield take


# -------------------------------------------------------------------------------------------------- calibration


def calibrate(network: OracleNetwork, pipe: Any, recipe: OracleRecipe, font: Path) -> Thresholds:
    """Return the thresholds that suit scenes of another stream, a third of them clean, a third decoded, a third redrawn.

    Of all that find `BLENDS_FOUND` of the blends, those with which most is right in scenes of things; of equals the highest.
    """
    seed = recipe.seed + _CALIBRATION_STREAM
    numbers = range(recipe.calibration)
    plain: list[Scene] = [sample_scene(seed, i, EVERY_PAIR) for i in numbers]
    things, blends = (_answer(network, pipe, scenes, seed, font) for scenes in (plain, [blend_scene(seed, i) for i in numbers]))

    def rates(thresholds: Thresholds) -> tuple[bool, float]:
        """Return whether enough blends are found, and the fraction of the things that are right."""
        there = [sum(isinstance(item, Blend) and not item.is_one_noun for item in scene) for scene in blends[0]]
        found = [min(len(f.blends), n) for f, n in zip(decode(blends[1], thresholds), there, strict=True)]
        seen = zip(things[0], decode(things[1], thresholds), strict=True)
        total = sum((Tally.of([i for i in scene if isinstance(i, Thing)], finding) for scene, finding in seen), Tally())
        return sum(found) >= BLENDS_FOUND * sum(there), total.presence

    grid = [Thresholds(round(0.1 * noun, 1), round(0.1 * blend, 1)) for noun in range(2, 8) for blend in range(2, 9)]
    return max(grid, key=lambda thresholds: (*rates(thresholds), thresholds))


@torch.no_grad()
def _answer(network: OracleNetwork, pipe: Any, scenes: Sequence[Scene], seed: int, font: Path) -> tuple[list[Scene], Answer]:
    """Return those of `scenes` whose blends are blends, see `outlasted`, and what `network` answers for their pictures.

    Of three pictures the second is one after a round trip, the third one redrawn.
    """
    device = next(network.parameters()).device
    network.eval()
    kept: list[Scene] = []
    answers = []
    for first in range(0, len(scenes), 3 * _CHUNK):
        some = scenes[first : first + 3 * _CHUNK]
        pictures = from_pixels(draw_all(some, seed, first, font)).to(device)
        pictures[1::3] = round_trip(pipe.vae, pictures[1::3])
        pictures[2::3] = from_latents(pipe.vae, redraw(pipe, pictures[2::3], some[2::3], seed, first))
        right = outlasted(pictures, some, seed, first, font)
        kept += compress(some, right)
        answers.append(network(pictures[right].contiguous(memory_format=torch.channels_last)))
    return kept, Answer(*(torch.cat(parts).cpu() for parts in zip(*answers, strict=True)))


@dataclass(frozen=True)
class Tally:
    """Counts of the entities that are there, of those that were detected correctly, and of false alarms."""

    right: int = 0
    entities: int = 0
    spurious: int = 0

    @classmethod
    def of(cls, things: Sequence[Thing], finding: Finding) -> Tally:
        """Count one picture of `things`. An entity is right when its noun is seen as often as it is there."""
        there, seen = Counter(thing.noun for thing in things), Counter(sighting.noun for sighting in finding.things)
        right = sum(count for noun, count in there.items() if seen[noun] == count)
        return cls(right, there.total(), (seen - there).total())

    def __add__(self, other: Tally) -> Tally:
        return Tally(self.right + other.right, self.entities + other.entities, self.spurious + other.spurious)

    @property
    def presence(self) -> float:
        """Correct entities over entities plus false alarms, so that both errors lower it. NaN if there are neither."""
        return self.right / (self.entities + self.spurious) if self.entities + self.spurious else math.nan
