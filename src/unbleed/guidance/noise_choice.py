"""The choice of the first noise among several candidates, by a loss of their attention, without a gradient.

The candidates are the image's own noise and others made from it, so that an image does not depend on others in the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import MethodError
from ..losses import Loss
from ..losses.base import as_loss
from ..settings import WholeNumber, check_settings
from .noise import NoiseOutcome, fresh_noise

Score = Callable[[Tensor, Sequence[int]], tuple[Tensor, dict[str, Tensor]]]
"""`score(noise, images)`: the loss, (image,), and its parts, for noise (image, ...) of the images with these indices."""


@dataclass(frozen=True)
class NoiseChoice:
    """Settings of a choice: the candidate whose attention has the lowest loss. Each costs part of a forward, and `ahead` steps.

    >>> from unbleed.losses import ExciteLoss
    >>> NoiseChoice(ExciteLoss(), candidates=2).candidates
    2

    Args:
        loss: A loss of the attention at the first noise level, or after `ahead` steps.
        candidates: Number of candidates, from 2 to 100.
        ahead: Number of steps that each candidate is denoised before its loss is taken. The chosen one starts again from its
            noise.

    Raises:
        MethodError: for a number out of range.
    """

    loss: Loss
    candidates: int = 4
    ahead: WholeNumber = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "loss", as_loss(self.loss, "loss of a noise choice"))
        check_settings(self, "a noise choice")
        if not 2 <= self.candidates <= 100:
            raise MethodError(f"a choice of {self.candidates} first noises; expected 2 to 100")


def choose_noise(noise: Tensor, score: Score, choice: NoiseChoice) -> tuple[Tensor, list[NoiseOutcome]]:
    """Return the chosen noise in place of `noise`, (image, ...) of unit variance, and the outcome of each image.

    A candidate whose loss is not finite is not taken; an image without any other keeps its own noise.
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
