"""The search for a better first noise: InitNO, Guo et al., CVPR 2024, arXiv 2404.04650.

The noise z of an image becomes mu + sigma z, and mu and log sigma^2, one value of each per value of z, follow the gradient
of a loss by Adam. After each step they are scaled down until the Kullback-Leibler divergence of N(mu, sigma^2) from
N(0, 1), the mean over values, is at most a limit. A round that ends above the targets is followed by another from fresh noise.
If no round reaches the targets, the best one goes on.

Ours: the fresh noise comes from a seed made of the image's own first noise, so that an image does not depend on others in the
batch. We scale mu and log sigma^2 down, the shortest way for small values; the authors descend the divergence. The best
round is the one with the lowest loss anywhere (theirs: the lowest at its end, without the stray part). It goes on from there
with its moments; the authors start again from that round's noise and take the last value.

Pure except for the function `evaluate` that it calls. Images do not influence each other.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..errors import MethodError
from ..losses import Loss
from ..losses.base import as_loss
from ..settings import check_settings
from .update import Evaluate, at_targets


@dataclass(frozen=True)
class NoiseSearch:
    """Settings of a search for the first noise.

    >>> from unbleed.losses import ExciteLoss
    >>> NoiseSearch(ExciteLoss(), targets={"excite": 0.2}, rounds=2).steps
    10

    Args:
        loss: A loss of the attention at the first noise level, or a function as in `unbleed.Method`.
        targets: Losses by part. An image is done when all these parts are at most their targets; without targets it never is,
            and all rounds and steps are made.
        rounds: Largest number of rounds; 1 uses the image's own noise only.
        steps: Steps of a round.
        last_steps: Steps of the best round, if none reached the targets.
        rate: Learning rate of Adam.
        divergence: Limit of the divergence, in nats per value.

    Raises:
        MethodError: for values out of range.

    Source: InitNO (arXiv 2404.04650), section 4.2; the defaults are those of the authors' code.
    """

    loss: Loss
    targets: Mapping[str, float] = field(default_factory=dict)
    rounds: int = 5
    steps: int = 10
    last_steps: int = 50
    rate: float = 1e-2
    divergence: float = 1e-3

    def __post_init__(self) -> None:
        object.__setattr__(self, "loss", as_loss(self.loss, "loss of a noise search"))
        check_settings(self, "a noise search")
        if not 1 <= self.rounds <= 100 or self.steps < 1 or self.last_steps < 0:
            raise MethodError(
                f"a noise search of {self.rounds} rounds of {self.steps} steps and {self.last_steps} last ones; "
                "expected 1 to 100, 1 or more, 0 or more"
            )
        if not (self.rate > 0 and self.divergence > 0):
            raise MethodError(f"rate {self.rate} and divergence {self.divergence} of a noise search; expected both above 0")


@dataclass(frozen=True)
class NoiseOutcome:
    """The result of a search or choice of the first noise, for one image.

    Args:
        losses: At every evaluation, in order.
        rounds: Number of rounds that were begun, or of candidates.
        reached: Whether the targets were reached, or whether a candidate had a finite loss.
        terms: Parts of the loss at the noise that was taken; empty if something was not finite.
    """

    losses: list[float]
    rounds: int
    reached: bool
    terms: dict[str, float]


class _Normal:
    """mu and log sigma^2 of one noise, and Adam's moments of both."""

    def __init__(self, noise: Tensor) -> None:
        self.noise = noise
        self.parameters = torch.zeros(2, *noise.shape, dtype=noise.dtype, device=noise.device)  # mu, log sigma^2
        self.first, self.second, self.count = torch.zeros_like(self.parameters), torch.zeros_like(self.parameters), 0

    def value(self) -> Tensor:
        mu, log_variance = self.parameters
        return mu + (log_variance / 2).exp() * self.noise

    def descend(self, gradient: Tensor, search: NoiseSearch) -> None:
        """Make a step of Adam, given the gradient by `value()`. Moments 0.9 and 0.999 and epsilon 1e-3 are the authors'."""
        deviation = (self.parameters[1] / 2).exp()
        slope = torch.stack([gradient, gradient * self.noise * deviation / 2])
        self.count += 1
        self.first = 0.9 * self.first + 0.1 * slope
        self.second = 0.999 * self.second + 0.001 * slope**2
        mean, square = self.first / (1 - 0.9**self.count), self.second / (1 - 0.999**self.count)
        self.parameters = self.parameters - search.rate * mean / (square.sqrt() + 1e-3)
        while (divergence := self.divergence()) > search.divergence:
            self.parameters = self.parameters * (0.99 * (search.divergence / divergence) ** 0.5)

    def divergence(self) -> float:
        """KL(N(mu, sigma^2) || N(0, 1)), the mean over values."""
        mu, log_variance = self.parameters
        return float((mu**2 + log_variance.expm1() - log_variance).mean() / 2)


def search_noise(noise: Tensor, evaluate: Evaluate, search: NoiseSearch) -> tuple[Tensor, list[NoiseOutcome]]:
    """Return better noise in place of `noise`, (image, ...) of unit variance, and the outcome of each image.

    An image with a loss or gradient that is not finite keeps its own noise.
    """
    count = len(noise)
    losses: list[list[float]] = [[] for _ in range(count)]
    best: list[tuple[float, Tensor, dict[str, float]]] = [(torch.inf, noise[row], {}) for row in range(count)]
    good: list[_Normal] = []  # that of the best value, to go on from
    reached, failed, rounds = [False] * count, [False] * count, [0] * count

    def walk(normals: dict[int, _Normal], steps: int) -> None:
        """Make up to `steps` steps of the images of `normals`, each until it reaches the targets."""
        for _ in range(steps):
            rows = [row for row in normals if not (reached[row] or failed[row])]
            if not rows:
                return
            found = evaluate(torch.stack([normals[row].value() for row in rows]), rows)
            figures = {name: values.tolist() for name, values in found.terms.items()}
            for at, (row, loss) in enumerate(zip(rows, found.loss.tolist(), strict=True)):
                losses[row].append(loss)
                terms = {name: values[at] for name, values in figures.items()}
                slope = found.gradient[at].to(noise.dtype)
                if not (loss - loss == 0 and bool(slope.isfinite().all())):
                    failed[row] = True
                    continue
                reached[row] = bool(search.targets) and at_targets(terms, search.targets)
                if loss < best[row][0] or reached[row]:
                    best[row] = (loss, normals[row].value(), terms)
                    good[row] = normals[row]
                if not reached[row]:
                    normals[row].descend(slope, search)

    good = [_Normal(noise[row]) for row in range(count)]
    for number in range(search.rounds):
        open_ = [row for row in range(count) if not (reached[row] or failed[row])]
        for row in open_:
            rounds[row] += 1
        walk({row: _Normal(noise[row] if number == 0 else fresh_noise(noise[row], number)) for row in open_}, search.steps)
    walk({row: good[row] for row in range(count)}, search.last_steps)
    taken = [(noise[row], {}) if failed[row] else best[row][1:] for row in range(count)]
    outcomes = [NoiseOutcome(losses[row], rounds[row], reached[row], taken[row][1]) for row in range(count)]
    return torch.stack([value for value, _ in taken]), outcomes


def fresh_noise(noise: Tensor, number: int) -> Tensor:
    """Return other noise of the same shape, determined by the image's own noise and the number of the round."""
    digest = hashlib.sha256(noise.float().cpu().contiguous().numpy().tobytes() + bytes([number])).digest()
    generator = torch.Generator("cpu").manual_seed(int.from_bytes(digest[:7], "big"))
    return torch.randn(noise.shape, generator=generator, dtype=torch.float32).to(noise)  # not torch's default dtype
