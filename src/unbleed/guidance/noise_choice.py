"""The choice of a first noise among several, by a score of the attention that each gives: no gradient.

The candidates are the image's own noise and others that follow from it, so that an image depends on nothing beside it. Images
never touch each other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import MethodError
from ..losses import Loss
from ..losses.base import as_loss
from ..settings import check_settings
from .noise import NoiseOutcome, fresh_noise

Score = Callable[[Tensor, Sequence[int]], tuple[Tensor, dict[str, Tensor]]]
"""`score(noise, rows)`: the loss, (row,), and its parts, for noise (row, ...) of the images `rows`."""


@dataclass(frozen=True)
class NoiseChoice:
    """Take the one of `candidates` first noises whose attention has the lowest `loss`. One part of a forward for each."""

    loss: Loss
    candidates: int = 4

    def __post_init__(self) -> None:
        object.__setattr__(self, "loss", as_loss(self.loss, "loss of a noise choice"))
        check_settings(self, "a noise choice")
        if not 2 <= self.candidates <= 100:
            raise MethodError(f"a choice of {self.candidates} first noises; expected 2 to 100")


def choose_noise(noise: Tensor, score: Score, choice: NoiseChoice) -> tuple[Tensor, list[NoiseOutcome]]:
    """Return noise (batch, ...) of unit variance in place of `noise`, and what was found for each image.

    A candidate whose loss is not finite is never taken; an image without any other keeps its own noise.
    """
    rows = list(range(len(noise)))
    best, least = noise, torch.full((len(noise),), torch.inf, dtype=torch.float32)
    losses: list[list[float]] = [[] for _ in rows]
    terms: list[dict[str, float]] = [{} for _ in rows]
    for number in range(choice.candidates):
        candidate = noise if number == 0 else torch.stack([fresh_noise(one, number) for one in noise])
        loss, parts = score(candidate, rows)
        loss = loss.float().cpu()
        better = loss < least
        best = torch.where(better.to(noise.device).view(-1, *[1] * (noise.ndim - 1)), candidate, best)
        least = torch.where(better, loss, least)
        figures = {name: values.tolist() for name, values in parts.items()}
        for row in rows:
            losses[row].append(float(loss[row]))
            if better[row]:
                terms[row] = {name: values[row] for name, values in figures.items()}
    return best, [NoiseOutcome(losses[row], choice.candidates, bool(terms[row]), terms[row]) for row in rows]
