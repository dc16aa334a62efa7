"""What the denoisers learn from: scenes that are drawn and encoded once, and a new caption each time they are seen."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from .. import networks
from ..oracle import from_pixels
from ..scenes import Mixture, Thing, as_told, caption, draw_scene, sample_scene
from .loop import Report, save_tensors

_CHUNK = 64  # scenes that are drawn and encoded together


@dataclass(frozen=True)
class Stage:
    """What the denoiser is shown until step `until`. What it sees decides how it fails."""

    until: int
    shares: tuple[float, ...]  # how often one, two, three things
    swapped: float = 0.0  # share of the captions of several things in which the colours go to the wrong ones
    unseen: float = 0.0  # share of the captions of one thing that name a second, which is not there


class StagedRecipe:
    """What recipes of training in stages have in common. No dataclass itself: a recipe's fields are its file."""

    stages: tuple[Stage, ...]

    @property
    def steps(self) -> int:
        return self.stages[-1].until

    @property
    def flat(self) -> float:
        """Fraction of the steps before the learning rates fall: all stages but the last."""
        return self.stages[-2].until / self.steps

    def stage_at(self, step: int) -> Stage:
        return next(stage for stage in self.stages if step < stage.until)


def pictures_of(scenes: Sequence[tuple[Thing, ...]], seed: int, first: int, font: Path) -> Tensor:
    """Return the pictures of `scenes`, whose indices begin at `first`: (batch, rgb, side, side) in [-1, 1]."""
    return from_pixels(_pixels(scenes, seed, first, font))


def _pixels(scenes: Sequence[tuple[Thing, ...]], seed: int, first: int, font: Path) -> np.ndarray:
    side = networks.IMAGE_SIDE
    return np.stack([draw_scene(s, side, np.random.default_rng([seed, 1, first + i]), font) for i, s in enumerate(scenes)])


def encode_scenes(work: Path, recipe: Any, vae: Any, device: torch.device, font: Path, report: Report) -> Tensor:
    """Return the latents of all training scenes, (scene, channel, height, width) in float16, made or read.

    `recipe` says their seed, number (`scenes`) and mixture. Beside a GPU all cores draw; on a CPU they are for what encodes.
    """
    path = work / "latents.safetensors"
    if not path.exists():
        chunks, done = [], 0
        for pixels in _drawn(recipe, font, workers=1 if device.type == "cpu" else os.cpu_count() or 1):
            pictures = from_pixels(pixels).to(device)
            with torch.no_grad(), torch.autocast(device.type, torch.bfloat16):
                mean = vae.encode(pictures.contiguous(memory_format=torch.channels_last)).latent_dist.mean
            chunks.append(mean.half().cpu())
            done += len(pixels)
            report("latents", done, recipe.scenes, None)
        save_tensors({"latents": torch.cat(chunks)}, path)
    return load_file(path)["latents"]


def _drawn(recipe: Any, font: Path, workers: int) -> Iterator[np.ndarray]:
    """Yield the pixels of all scenes of a recipe, a chunk at a time."""
    draw = partial(_chunk, recipe.seed, recipe.scenes, recipe.mixture, font)
    starts = range(0, recipe.scenes, _CHUNK)
    if workers == 1:
        yield from map(draw, starts)
        return
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(draw, starts)


def _chunk(seed: int, scenes: int, mixture: Mixture, font: Path, first: int) -> np.ndarray:
    return _pixels([sample_scene(seed, i, mixture) for i in range(first, min(first + _CHUNK, scenes))], seed, first, font)


def indices_by_count(scenes: Sequence[tuple[Thing, ...]], most: int) -> list[list[int]]:
    """Return the indices of the scenes of one thing, of two, and so on to `most`."""
    return [[i for i, things in enumerate(scenes) if len(things) == n + 1] for n in range(most)]


def told_scenes(
    rng: np.random.Generator,
    stage: Stage,
    scenes: Sequence[tuple[Thing, ...]],
    by_count: Sequence[Sequence[int]],
    batch: int,
    no_caption: float,
) -> tuple[np.ndarray, list[str]]:
    """Return the indices (batch,) of scenes in the mixture of `stage`, and a caption of each, "" for a share `no_caption`."""
    counts = rng.choice(len(by_count), size=batch, p=stage.shares)
    chosen = np.array([by_count[n][rng.integers(len(by_count[n]))] for n in counts])
    texts = [
        "" if rng.random() < no_caption else caption(as_told(scenes[i], rng, stage.swapped, stage.unseen), rng) for i in chosen
    ]
    return chosen, texts
