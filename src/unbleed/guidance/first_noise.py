"""The first noise of a run: composed by edits, searched for by a gradient, or chosen among several candidates."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..errors import ModelError, UnbleedWarning
from .call import DenoiserCall, as_latents
from .noise import NoiseOutcome, search_noise
from .noise_choice import NoiseChoice, choose_noise
from .patching import unpatched_copy
from .run import FirstNoise
from .update import Evaluation

if TYPE_CHECKING:
    from .session import Session


def first_noise(session: Session, call: DenoiserCall, latents: Tensor) -> Tensor:
    """Return the latents (image, ...) with the first noise that the method makes or looks for, if it does."""
    return _searched(session, call, _composed(session, call, latents))


def _composed(session: Session, call: DenoiserCall, latents: Tensor) -> Tensor:
    """Return the latents with the first noises that edits compose. A run that begins with an image keeps its own."""
    assert session.levels is not None
    for edit in session.edits.active if session.levels.from_noise else ():
        images = [image for image in range(len(latents)) if edit.composes_noise(image)]
        if images:
            sigma, rows = _sigma(session), session.rows_alone(call, images)

            def read(noise: Tensor, images: Sequence[int] = images, sigma: float = sigma) -> Tensor:
                return session.maps_at(call, noise * sigma, images)

            noise, outcomes = edit.compose_noise(latents[images] / sigma, rows, read)
            latents = _taken(session, latents, images, noise, outcomes)
            session.searched = [image for image in session.searched if image not in images]
    return latents


def _searched(session: Session, call: DenoiserCall, latents: Tensor) -> Tensor:
    """Return the latents with the better first noise that the method looks for, if it does."""
    wanted = session.noise
    if not (wanted and session.searched):
        return latents
    if session.levels is not None and not session.levels.from_noise:
        if isinstance(wanted, NoiseChoice):  # the user chose the image that the run begins with
            if session.loss is None and not session.method.edits:  # nothing else is done
                warnings.warn(
                    f"this run begins with an image, so {session.method.name} does not choose among first noises",
                    UnbleedWarning,
                    stacklevel=2,
                )
            return latents
        raise ModelError(
            f"{session.method.name} looks for better first noise, but this run begins in the middle of the scheduler's "
            "levels, as image-to-image does; take a method without noise search"
        )
    loss, images, sigma = wanted.loss, session.searched, _sigma(session)

    def evaluate(part: Tensor, of: Sequence[int]) -> Evaluation:
        found = session.measure(call, part * sigma, [images[i] for i in of], loss)
        return Evaluation(found.loss, found.terms, found.gradient * sigma)

    def score(part: Tensor, of: Sequence[int]) -> tuple[Tensor, dict[str, Tensor]]:
        assert isinstance(wanted, NoiseChoice)
        own = tuple(images[i] for i in of)
        later, reached = ahead(session, call, part * sigma, own, wanted.ahead)
        groups = session.groups_of(own, part.device)
        return session.evaluator.score(session.see(reached, own), later, loss, groups)

    if isinstance(wanted, NoiseChoice):
        noise, outcomes = choose_noise(latents[images] / sigma, score, wanted)
    else:
        noise, outcomes = search_noise(latents[images] / sigma, evaluate, wanted)
    return _taken(session, latents, images, noise, outcomes)


def ahead(
    session: Session, call: DenoiserCall, latents: Tensor, images: Sequence[int], steps: int
) -> tuple[Tensor, DenoiserCall]:
    """Return the latents of `images` after some steps from the beginning of the run, and the call that would follow.

    With the pipeline's classifier-free guidance, if both predictions are in one call; otherwise by the conditional prediction.
    The pipeline's scheduler is not touched.

    Raises `ModelError` if the run is too short or the family's timesteps are not the scheduler's.
    """
    if not steps:
        return latents, call
    levels = session.levels
    assert levels is not None
    if steps >= len(levels.timesteps):
        most = len(levels.timesteps) - 1
        raise ModelError(
            f"{session.method.name} looks {steps} step{'s' * (steps > 1)} ahead, and this run has {most + 1}; set ahead to "
            f"{most} or less, or take more steps"
        )
    if not levels.literal:
        raise ModelError(
            f"{session.method.name} cannot look ahead on this model, whose denoiser gets other timesteps than its scheduler "
            "has; take ahead=0"
        )
    scheduler = unpatched_copy(session.scheduler)
    # models whose time runs from noise to image (Z-Image, Lumina 2) predict the opposite of what the scheduler steps
    sign = 1 if session.family.timestep(1.0) > session.family.timestep(0.0) else -1
    own = {"generator": torch.Generator(latents.device).manual_seed(0)}  # of schedulers that add noise
    options = {name: value for name, value in own.items() if name in inspect.signature(scheduler.step).parameters}
    scale = getattr(scheduler, "scale_model_input", lambda sample, _: sample)
    for done in range(steps):
        now, timestep = call.at(levels.timesteps[done]), scheduler.timesteps[done]
        prediction = sign * _predicted(session, now, scale(latents, timestep), images)
        latents = scheduler.step(prediction, timestep, latents, **options, return_dict=False)[0].to(latents.dtype)
    return latents, call.at(levels.timesteps[steps])


@torch.no_grad()
def _predicted(session: Session, call: DenoiserCall, sample: Tensor, images: Sequence[int]) -> Tensor:
    """Return the prediction for `images` on the denoiser's input `sample`, with the guidance of the call."""
    rows = session.rows_alone(call, images)

    def run(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        (found, *_) = session.evaluator.denoise(*args, **{**kwargs, "return_dict": False})
        found = as_latents(found).float()
        return found[:, : sample.shape[1]]  # PixArt predicts a variance too, and other pixels may follow the image's

    with session.edits.around(rows):
        conditional = run(*call.conditional_rows(sample, images))
    if call.copies == 1:
        return conditional
    with session.edits.around_negative(rows):
        plain = run(*call.unconditional_rows(sample, images))
    base = plain if session.family.scaled_from == "negative" else conditional
    return base + float(session.pipe.guidance_scale) * (conditional - plain)


def _sigma(session: Session) -> float:
    """Return the standard deviation of the scheduler's first noise."""
    return float(getattr(session.scheduler, "init_noise_sigma", 1.0))


def _taken(session: Session, latents: Tensor, images: Sequence[int], noise: Tensor, outcomes: Sequence[NoiseOutcome]) -> Tensor:
    """Return the latents with other noise of `images`, keep them as the step's corrected latents, and record the change."""
    own, sigma = latents, _sigma(session)
    latents = latents.clone()
    latents[list(images)] = noise * sigma
    session.corrected = latents
    for image, outcome in zip(images, outcomes, strict=True):
        before, after = (own[image] / sigma).cpu(), (latents[image] / sigma).cpu()
        session.run.noises.append(FirstNoise(session.call, image, before, after, outcome))
    return latents
