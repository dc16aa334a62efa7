"""Settings for a model, read from `unbleed.json` in the folder of its weights: sampling, and settings of methods.

A label names a method: `syngen` with the model's own settings, `syngen@paper` with its paper's, and either with some changed,
as in `syngen:step_size=5:stop=0.8`. A sum of methods can take the place of a name, as in `syngen + 0.5*overlap-iou`.

The defaults of a method are its paper's, found on Stable Diffusion. A model of another scale needs other step sizes. Once
measured, they are written into the model's folder, and are used wherever the model is named.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .attention.families import denoiser_of
from .emoji import folder_named
from .errors import MethodError, ModelError
from .guidance.method import BaseMethod
from .methods import MethodLike, method_from, names_in

FILE_NAME = "unbleed.json"


@dataclass(frozen=True)
class ModelSettings:
    """Sampling defaults of a model, and for each method the settings that differ from its paper's.

    None in place of steps or scale leaves them to `sampling.sampling_of`. None in place of a method's settings says that the
    method does not work on the model.
    """

    steps: int | None = None
    guidance_scale: float | None = None
    methods: Mapping[str, Mapping[str, Any] | None] = field(default_factory=dict)


def settings_of(model: str | Path | None) -> ModelSettings:
    """Return the settings of an embedded model or of a folder that has an `unbleed.json`; empty ones for any other model.

    Raises `ModelError` when the file is there but cannot be understood.
    """
    if model is None:
        return ModelSettings()
    path = folder_named(model) / FILE_NAME
    if not os.path.isfile(path):
        return ModelSettings()
    try:
        settings = ModelSettings(**json.loads(path.read_text()))
        for name, own in settings.methods.items():
            method_from(name, own)
    except (ValueError, TypeError, AttributeError) as error:
        raise ModelError(
            f"{path} cannot be understood ({error}); expected steps, guidance_scale and methods: {{name: settings}}"
        ) from error
    return settings


def method_for(pipe: Any, given: MethodLike) -> BaseMethod:
    """Return the method for a pipeline: a label gets the settings of the folder that the pipeline was loaded from.

    For a pipeline made from components, it is the folder of its denoiser.
    """
    return method_of(given, folder_of(pipe)) if isinstance(given, str) else method_from(given)


def folder_of(pipe: Any) -> str | Path | None:
    """Return the folder that a pipeline or its denoiser was loaded from; None if neither has one."""
    if name := getattr(pipe, "name_or_path", None):
        return name
    name = getattr(getattr(denoiser_of(pipe), "config", None), "_name_or_path", None)
    if not name:
        return None
    own = Path(name)  # "folder/unet" where the pipeline was loaded as a whole, "folder" where its denoiser was
    return next((folder for folder in (own, own.parent) if (folder / FILE_NAME).is_file()), None)


def method_of(label: str, model: str | Path | None, changes: Mapping[str, Any] | None = None) -> BaseMethod:
    """Return the method for `label` (NAME, NAME@paper, NAME:SETTING=VALUE:...) and a model, with further `changes`.

    >>> method_of("syngen@paper", "emoji").settings()["step_size"]
    20.0
    >>> method_of("syngen:step_size=3", "emoji").settings()["step_size"]
    3

    Raises `MethodError` for a name, a variant or a setting that does not exist.
    """
    base, *settings = label.split(":")
    name, at, variant = base.partition("@")
    if at and variant != "paper":
        raise MethodError(f'"{label}" is not a method; expected NAME, NAME@paper or NAME:SETTING=VALUE')
    own: dict[str, Any] = {}
    if not at:
        suited = settings_of(model).methods
        for number, part in enumerate(names_in(name)):
            own |= {f"{part}.{key}" if number else key: value for key, value in (suited.get(part) or {}).items()}
    return method_from(name, {**own, **read_settings(settings), **(changes or {})})


def read_settings(pairs: Sequence[str]) -> dict[str, Any]:
    """Return {name: value} of NAME=VALUE texts, each value read as JSON, as a number (".3"), or else as text."""
    settings: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise MethodError(f'"{pair}" is not a setting; expected NAME=VALUE, as in step_size=15')
        settings[name.strip()] = _value(value)
    return settings


def _value(text: str) -> Any:
    for read in (json.loads, float):
        try:
            return read(text)
        except ValueError:
            pass
    return text
