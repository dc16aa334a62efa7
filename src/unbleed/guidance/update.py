"""The update of the latents: one gradient step per image, repeated for refinement.

Pure except for the function `evaluate` that it calls. Images do not influence each other: an image that has reached its target
does not move while others are refined, and an image whose gradient is not finite keeps its latents.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from ..errors import MethodError
from ..settings import is_number
from .schedule import Refinement

Direction = Literal["plain", "unit"]
Target = Literal["latents", "velocity"]


@dataclass(frozen=True)
class Descent:
    """Update rule: plain gradient descent, or a step normalised to unit root mean square (RMS).

    >>> import torch
    >>> Descent(direction="unit").move(torch.tensor([[3.0, 4.0]]), step_size=1.0)
    tensor([[0.8485, 1.1314]])
    >>> Descent(limit=0.1).move(torch.tensor([[3.0, 4.0]]), step_size=1.0).square().mean().sqrt()
    tensor(0.1000)

    Args:
        direction: "plain" moves by step_size * gradient, "unit" by step_size * gradient / RMS(gradient).
        limit: Largest RMS of an update, in the units of the latents as the denoiser sees them, or of the velocity; None for no
            limit.
        enough: Loss at which an image is left alone, in this step and for the rest of the run; it then costs nothing. None
            guides to the end.
        update: "latents" moves the latents before the step; "velocity" corrects the velocity that a flow model predicts, see
            `guidance.velocity`.

    Raises:
        MethodError: if a value is of another kind.

    Source: ours; the papers use "plain" without a limit, and FOCUS (arXiv 2510.02315) the velocity.
    """

    direction: Direction = "plain"
    limit: float | None = None
    enough: float | None = None
    update: Target = "latents"

    def __post_init__(self) -> None:
        for name, known in {"direction": get_args(Direction), "update": get_args(Target)}.items():
            if getattr(self, name) not in known:
                raise MethodError(f'{name} is "{getattr(self, name)}"; expected one of {", ".join(known)}')
        if self.limit is not None and not (is_number(self.limit) and self.limit > 0):
            raise MethodError(f"limit is {self.limit}; expected a number above 0, or none")
        if self.enough is not None and not is_number(self.enough):
            raise MethodError(f"enough is {self.enough}; expected a loss, or none")

    def is_met(self, loss: float) -> bool:
        """Return whether a loss is low enough to leave the image alone."""
        return self.enough is not None and loss <= self.enough

    def move(self, gradient: Tensor, step_size: float) -> Tensor:
        """Return what to subtract from the latents, (image, ...), for `gradient` of the same shape."""
        tiny = torch.finfo(gradient.dtype).tiny
        if self.direction == "unit":
            # in two steps: squares of a very small gradient underflow, squares of a very large one overflow
            gradient = gradient / gradient.abs().amax(dim=_axes(gradient), keepdim=True).clamp(min=tiny)
            gradient = gradient / _size(gradient).clamp(min=tiny)
        change = step_size * gradient
        if self.limit is None:
            return change
        largest = change.abs().amax(dim=_axes(change), keepdim=True).clamp(min=tiny)
        return change * (self.limit / largest / _size(change / largest).clamp(min=tiny)).clamp(max=1)


def _axes(latents: Tensor) -> tuple[int, ...]:
    return tuple(range(1, latents.ndim))


def _size(latents: Tensor) -> Tensor:
    """Return the root mean square of every image, (batch, 1, ...)."""
    return latents.square().mean(dim=_axes(latents), keepdim=True).sqrt()


@dataclass(frozen=True)
class Evaluation:
    """A loss at the latents of some images of a batch, and its gradient.

    Args:
        loss: (image,), lower is better.
        terms: the parts of the loss by name, each (image,); they add up to it.
        gradient: of each image's loss with respect to its latents, (image, ...).
        maps: the attention maps that the loss was computed from, (image, token, height, width), detached.
    """

    loss: Tensor
    terms: dict[str, Tensor]
    gradient: Tensor
    maps: Tensor | None = None


Evaluate = Callable[[Tensor, Sequence[int]], Evaluation]
"""`evaluate(latents, images)`: the loss at `latents`, (image, ...), of the images with these indices in the batch."""


@dataclass
class Outcome:
    """The result of an update, one list item per image.

    Args:
        latents: After the update, (image, ...).
        losses: The loss at every evaluation, refinement included.
        terms: The parts of the loss at the last evaluation.
        gradient_norms: Euclidean norm of the gradient at the last evaluation.
        refinements: Number of updates before the regular one.
        skipped: Whether a loss or gradient was not finite, so that the image kept its latents.
        met: Whether the loss was low enough at the first evaluation, so that the image was left alone.
    """

    latents: Tensor
    losses: list[list[float]]
    terms: list[dict[str, float]]
    gradient_norms: list[float]
    refinements: list[int]
    skipped: list[bool]
    met: list[bool]


PLAIN = Descent()


def at_targets(terms: Mapping[str, float], targets: Mapping[str, float]) -> bool:
    """Return whether all parts of a loss are at most their targets; raise `MethodError` for a target of an unknown part."""
    for name in targets:
        if name not in terms:
            raise MethodError(f'there is a target for "{name}", but the parts of the loss are {", ".join(terms)}')
    return all(terms[name] <= most for name, most in targets.items())


def update(
    latents: Tensor,
    evaluate: Evaluate,
    *,
    step_size: float,
    descent: Descent = PLAIN,
    refinement: Refinement | None = None,
    refine_by: Evaluate | None = None,
) -> Outcome:
    """Return the outcome of one guided step of all images.

    z <- z - step_size * gradient, once, except for images whose loss is low enough already (`descent.enough`). Images above the
    target of a `refinement` are updated before that until they reach it, `refinement.most` times at most. As in the code of
    Attend-and-Excite, the update whose loss was found to be low enough is still made, and the regular one follows.

    >>> import torch
    >>> def evaluate(latents, images):
    ...     return Evaluation((latents**2).sum(dim=1), {}, 2 * latents)
    >>> update(torch.tensor([[1.0, 2.0]]), evaluate, step_size=0.25).latents
    tensor([[0.5000, 1.0000]])

    Args:
        latents: (image, ...).
        evaluate: Returns the loss and its gradient at given latents of some images.
        step_size: Factor of the gradient.
        descent: The update rule.
        refinement: Target and number of the updates before the regular one; None for none.
        refine_by: Evaluates another loss for these updates; the regular one then evaluates its own again.

    An image with a loss or gradient that is not finite keeps the latents it came with.
    """
    count = len(latents)
    before, latents = latents, latents.clone()
    losses: list[list[float]] = [[] for _ in range(count)]
    terms: list[dict[str, float]] = [{} for _ in range(count)]
    norms, refinements, skipped = [0.0] * count, [0] * count, [False] * count
    gradient = torch.zeros_like(latents)

    def measure(rows: list[int], by: Evaluate) -> None:
        """Evaluate the images `rows` at their present latents, and keep the figures."""
        found = by(latents[rows], rows)
        flat_norm = found.gradient.flatten(1).norm(dim=1)
        names = list(found.terms)
        figures = torch.stack([found.loss, flat_norm, *(found.terms[n] for n in names)]).tolist()  # one synchronisation
        gradient[rows] = found.gradient.to(gradient.dtype)
        for at, row in enumerate(rows):
            losses[row].append(figures[0][at])
            norms[row] = figures[1][at]
            terms[row] = {name: figures[2 + k][at] for k, name in enumerate(names)}
            finite = figures[0][at] - figures[0][at] == 0 and norms[row] - norms[row] == 0  # false for inf and NaN
            skipped[row] = skipped[row] or not finite

    def move(rows: list[int]) -> None:
        latents[rows] = latents[rows] - descent.move(gradient[rows], step_size)

    def is_above(row: int, target: float | Mapping[str, float]) -> bool:
        if isinstance(target, Mapping):
            return not at_targets(terms[row], target)
        return losses[row][-1] > target

    most = refinement.most if refinement else 0
    first = refine_by if refine_by and most else evaluate
    measure(list(range(count)), first)
    met = [not skipped[row] and descent.is_met(losses[row][0]) for row in range(count)]
    if refinement is not None and most:
        active = [row for row in range(count) if not (skipped[row] or met[row]) and is_above(row, refinement.target)]
        for _ in range(most):
            if not active:
                break
            above = [is_above(row, refinement.target) for row in active]
            move(active)
            for row in active:
                refinements[row] += 1
            measure(active, first)
            active = [row for row, was_above in zip(active, above, strict=True) if was_above and not skipped[row]]
    open_ = [row for row in range(count) if not (skipped[row] or met[row])]
    if first is not evaluate and open_:
        measure(open_, evaluate)
    move([row for row in open_ if not skipped[row]])
    failed = [row for row in range(count) if skipped[row]]
    latents[failed] = before[failed]  # wherever refinement had led them
    return Outcome(latents, losses, terms, norms, refinements, skipped, met)
