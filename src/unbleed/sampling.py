"""Steps and guidance scale that suit a model, and the arguments by which its pipeline takes them.

In order: those of the model's `unbleed.json`, those that its makers name for a model distilled to few steps, and the defaults
of the pipeline's own call.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .attention.families import denoiser_of
from .attention.table import FAMILIES
from .emoji import folder_named
from .errors import ModelError, PromptError
from .model_settings import folder_of, settings_of


@dataclass(frozen=True)
class Sampling:
    """Number of denoising steps and guidance scale; None for a pipeline whose call takes no scale.

    >>> Sampling(steps=9, guidance_scale=0.0).steps
    9
    """

    steps: int = 50
    guidance_scale: float | None = 7.5


@dataclass(frozen=True)
class _Model:
    """What is known of a model without its weights: the class of its pipeline, its name, and its configurations."""

    pipeline: Any
    name: str
    config: Mapping[str, Any] = field(default_factory=dict)
    denoiser: Mapping[str, Any] = field(default_factory=dict)
    scheduler: str = ""

    def named(self, part: str) -> bool:
        return part in re.sub(r"[^a-z0-9]", "", self.name.lower())


def _is_distilled(model: _Model) -> bool:
    return bool(model.config.get("is_distilled"))


def _has_no_guidance(model: _Model) -> bool:
    return not model.denoiser.get("guidance_embeds", False)


# Models distilled to few steps, told by their configuration, else by their name: (class of the pipeline, sign, sampling).
# Their makers' model cards, and the documentation of diffusers. Of SDXL-Turbo and SD-Turbo these give 1 to 4 steps.
_FEW_STEPS: tuple[tuple[str, Callable[[_Model], bool], Sampling], ...] = (
    (r"Flux2Klein", _is_distilled, Sampling(4, 1.0)),
    (r"Krea2", _is_distilled, Sampling(8, 0.0)),
    (r"Flux(?!2)", _has_no_guidance, Sampling(4, 0.0)),  # FLUX.1 schnell
    (r"HunyuanImage", lambda model: not _has_no_guidance(model), Sampling(8, 3.25)),
    (r"ZImage", lambda model: model.named("zimageturbo"), Sampling(9, 0.0)),
    (r"StableDiffusion3", lambda model: model.named("35largeturbo"), Sampling(4, 0.0)),
    (r"StableDiffusion", lambda model: model.named("sdxlturbo") or model.named("sdturbo"), Sampling(4, 0.0)),
    (r"", lambda model: model.scheduler == "LCMScheduler", Sampling(4, 1.0)),
)


def sampling_of(pipe: Any) -> Sampling:
    """Return the steps and the guidance scale that suit a pipeline.

    >>> import unbleed
    >>> sampling_of(unbleed.load("emoji"))
    Sampling(steps=30, guidance_scale=3.0)
    """
    name = folder_of(pipe)
    config = dict(getattr(denoiser_of(pipe), "config", {}))
    scheduler = type(getattr(pipe, "scheduler", None)).__name__
    return _suited(name, _Model(type(pipe), str(name or ""), dict(getattr(pipe, "config", {})), config, scheduler))


def sampling_named(model: str) -> Sampling:
    """Return the same for a model that is not loaded: an embedded one, a pipeline folder or a hub id.

    Only its configurations are read. Raises `ModelError` if they cannot be.
    """
    own = settings_of(model)
    if own.steps is not None and own.guidance_scale is not None:
        return Sampling(own.steps, own.guidance_scale)
    import diffusers

    source = str(folder_named(model))
    try:
        index: Any = diffusers.DiffusionPipeline.load_config(source)
        parts = dict.fromkeys(family.pipeline_attribute for family in FAMILIES)
        part = next((name for name in parts if index.get(name, [None])[0]), None)
        kind: Any = getattr(diffusers, index[part][1]) if part else None
        config: Any = kind.load_config(source, subfolder=part) if part else {}
    except (OSError, ValueError, AttributeError, KeyError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelError(
            f'"{model}" has no configuration that can be read ({reason}); name a pipeline, or give steps and guidance scale'
        ) from error
    pipeline = getattr(diffusers, index["_class_name"], None)
    scheduler = str((index.get("scheduler") or ["", ""])[1])
    return _suited(model, _Model(pipeline, model, index, config, scheduler))


def _suited(name: str | Path | None, model: _Model) -> Sampling:
    own, found = settings_of(name), _by_kind(model)
    return Sampling(
        steps=found.steps if own.steps is None else own.steps,
        guidance_scale=found.guidance_scale if own.guidance_scale is None else own.guidance_scale,
    )


def _by_kind(model: _Model) -> Sampling:
    pipeline = getattr(model.pipeline, "__name__", "")
    for pattern, sign, sampling in _FEW_STEPS:
        if re.match(pattern, pipeline) and sign(model):
            return sampling
    known = _arguments_of(model.pipeline)
    if "num_inference_steps" not in known:
        return Sampling(guidance_scale=None)
    scales = ("guidance_scale", "true_cfg_scale")  # Qwen-Image's guidance scale is for a distilled model that it never had
    return Sampling(
        steps=known["num_inference_steps"],
        guidance_scale=next((known[name] for name in scales if known.get(name) is not None), None),
    )


def _arguments_of(pipeline: Any) -> dict[str, Any]:
    """Return the arguments of a pipeline's call with their defaults."""
    call = getattr(pipeline, "__call__", None)  # noqa: B004 - the method of the class is asked for
    return {name: one.default for name, one in inspect.signature(call).parameters.items()} if inspect.isfunction(call) else {}


def guidance_arguments(pipe: Any, scale: float | None, negative_prompt: str | None = None, prompts: int = 1) -> dict[str, Any]:
    """Return the arguments for classifier-free guidance, by the names that a pipeline's call has for them.

    Args:
        pipe: A diffusers pipeline.
        scale: The guidance scale; None for the pipeline's own.
        negative_prompt: The negative prompt, for each of `prompts`.
        prompts: How many prompts the call has.

    Raises:
        PromptError: the pipeline takes no scale, or no negative prompt.
    """
    known, embedded = _arguments_of(type(pipe)), getattr(_config_of(pipe), "guidance_embeds", False)
    apart = "true_cfg_scale" in known and not embedded  # the scale is that of the negative prompt
    given: dict[str, Any] = {}
    if scale is not None:
        if "guidance_scale" in known:
            given["guidance_scale"] = scale
        elif "distilled_guidance_scale" in known and embedded:
            given["distilled_guidance_scale"] = scale
        elif not apart:
            raise PromptError(f"{type(pipe).__name__} takes no guidance scale here; leave it out")
    if negative_prompt is not None:
        if "negative_prompt" not in known:
            raise PromptError(f"{type(pipe).__name__} takes no negative prompt; leave it out")
        given["negative_prompt"] = [negative_prompt] * prompts
        if apart and scale is not None:
            given["true_cfg_scale"] = scale
    return given


def _config_of(pipe: Any) -> Any:
    return getattr(denoiser_of(pipe), "config", None)


class _WithScale:
    """A pipeline as it would be during a call with this guidance scale."""

    def __init__(self, pipe: Any, scale: float | None) -> None:
        self._pipe, self._guidance_scale = pipe, scale or 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pipe, name)


def forwards_per_step(pipe: Any, given: Mapping[str, Any]) -> int:
    """Return how many runs of the denoiser a step needs for an image: 2 with classifier-free guidance, else 1.

    Args:
        pipe: A diffusers pipeline.
        given: The arguments of its call, as `guidance_arguments` returns them.
    """
    known = _arguments_of(type(pipe))
    scale = given.get("guidance_scale", known.get("guidance_scale"))
    decides = getattr(type(pipe), "do_classifier_free_guidance", None)
    if isinstance(decides, property) and decides.fget:
        return 1 + bool(decides.fget(_WithScale(pipe, scale)))
    negative = given.get("negative_prompt") is not None
    if "true_cfg_scale" in known:
        return 1 + (negative and given.get("true_cfg_scale", known["true_cfg_scale"]) > 1)
    if "distilled_guidance_scale" in known:  # HunyuanImage, which leaves it to a component
        guider = getattr(pipe, "guider", None)
        return 1 + bool(guider is not None and guider._enabled and guider.num_conditions > 1)
    return 1 + ("negative_prompt" in known and (scale or 0.0) > 1)
