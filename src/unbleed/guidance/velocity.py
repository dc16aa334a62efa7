"""Guidance through the velocity of a flow model, with one forward and one backward a step.

FOCUS (Bill et al., arXiv 2510.02315) corrects the velocity instead of the latents. With s the noise level, from 1 to 0, and g
the gradient of the loss with respect to the latents, the scheduler gets

    v + step_size w(s) g        w(s) = 2 s (s + 0.001) / (1 - s + 0.001)

It goes from x to x + (s' - s) v with s' < s. What is added to the velocity is therefore subtracted from the latents, and the
loss falls. (The authors' code adds on Stable Diffusion 3 and subtracts on FLUX, under the same scheduler; the sum descends.)

The gradient comes from the pipeline's own forward. That is made on the conditional rows alone, with a graph up to the last
layer that is read; unconditional rows of the same call follow without one. So a step makes as many rows of a forward as without
guidance, and part of a backward. The correction is added to what the pipeline gives its scheduler, after classifier-free
guidance.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..attention import Family
from ..errors import ModelError
from ..losses import AttentionMaps
from .call import DenoiserCall, as_latents
from .levels import NoiseLevel
from .update import Evaluation, update

if TYPE_CHECKING:
    from .session import Session

_EPSILON = 1e-3  # of the authors' code


def weight(level: float) -> float:
    """Return w(s), the factor of the gradient at a noise level from 1 (noise) to 0 (image).

    >>> round(weight(1.0), 3), round(weight(0.5), 3), weight(0.0)
    (2002.0, 1.0, 0.0)
    """
    return 2 * level * (level + _EPSILON) / (1 - level + _EPSILON)


def is_flow(scheduler: Any) -> bool:
    """Return whether a scheduler steps along the velocity of a flow model."""
    kind = getattr(scheduler.config, "prediction_type", None)
    return type(scheduler).__name__.startswith("FlowMatch") or kind == "flow_prediction"


def refuse_without_velocity(scheduler: Any, family: Family, method: str) -> None:
    """Raise `ModelError` if a scheduler does not step along the velocity of a flow model, or the model's is not to be had."""
    if family.dropped:
        raise ModelError(
            f"{method} takes its gradient from the pipeline's own forward, which on a {family.denoiser_class} keeps keys from "
            "step to step; take update=latents"
        )
    if not is_flow(scheduler):
        raise ModelError(
            f"{method} corrects the velocity of a flow model, and {type(scheduler).__name__} steps another prediction; take "
            "update=latents, or a model such as Stable Diffusion 3 or FLUX"
        )


class VelocityStep:
    """The correction of one step: `enter` before the denoiser runs, `leave` after it, `corrected` at the scheduler."""

    def __init__(self, session: Session, call: DenoiserCall, latents: Tensor, level: NoiseLevel) -> None:
        self.session, self.call, self.latents, self.level = session, call, latents.detach(), level
        self.images = list(session.guided)
        self.rows = session.rows_alone(call, range(len(latents)), evaluating=False)
        self.added: Tensor | None = None  # to the velocity, (image, ...)

    def enter(self, stack: ExitStack) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Open what the forward needs, and return the arguments of the conditional rows, on latents with a gradient."""
        session = self.session
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(session.evaluator.prepared())
        stack.enter_context(session.edits.around(self.rows))
        self.captures = stack.enter_context(session.evaluator.following())
        self.leaf = self.latents[self.images].clone().requires_grad_(True)
        index = torch.tensor(self.images, device=self.latents.device)
        latents = self.latents.index_copy(0, index, self.leaf)
        return self.call.conditional_rows(session.scale(latents, self.call.timestep), self.rows.images)

    def leave(self, prediction: Tensor) -> Tensor:
        """Return the prediction for all rows of the call from that for its conditional ones; called before `enter`'s end."""
        session = self.session
        begun = time.perf_counter()
        evaluation = self._evaluate()
        own = self.latents[self.images]
        outcome = update(
            own,
            lambda *_: evaluation,
            step_size=session.schedule.step_size_at(self.level.index, self.level.steps) * weight(self._noise_level()),
            descent=session.descent(),
        )
        self.added = torch.zeros_like(self.latents)
        self.added[self.images] = own - outcome.latents
        session.record(self.images, outcome, self.level, time.perf_counter() - begun)
        prediction = prediction.detach()
        if self.call.copies == 1:
            return prediction
        with torch.no_grad(), session.edits.around_negative(session.rows(self.call)):
            latents = session.scale(self.latents, self.call.timestep)
            args, kwargs = self.call.unconditional_rows(latents, self.rows.images)
            (others, *_) = session.evaluator.denoise(*args, **{**kwargs, "return_dict": False})
        return self.call.joined(prediction, as_latents(others))

    def corrected(self, velocity: Tensor) -> Tensor:
        """Return the velocity that the scheduler is to step; raise `ModelError` if it does not fit the latents."""
        if self.added is None:
            return velocity
        if velocity.shape != self.added.shape:
            raise ModelError(
                f"the scheduler is given a velocity of shape {tuple(velocity.shape)} for latents of {tuple(self.added.shape)}, "
                "so it cannot be corrected; take update=latents"
            )
        return velocity + self.added.to(velocity.dtype)

    def _evaluate(self) -> Evaluation:
        session, images = self.session, self.images
        assert session.loss is not None
        with torch.enable_grad():
            seen = session.evaluator.attention(self.captures, self.rows.grid, self.rows.joint)
            of_images = None if seen.self_maps is None else seen.self_maps[images]
            seen = session.completed(AttentionMaps(seen.maps[images], of_images), images)
        groups = session.groups_of(tuple(images), self.leaf.device)
        found = session.evaluator.differentiate(seen, self.leaf, session.loss, groups)
        if session.needs_previous_maps and found.maps is not None:  # the latents did not move: both kinds are these
            every = self.latents.new_zeros(len(self.latents), *found.maps.shape[1:])
            every[images] = found.maps.to(every)
            session.previous_maps = every
        return found

    def _noise_level(self) -> float:
        return self.level.timestep / self.session.scheduler.config.num_train_timesteps
