"""The settings that suit a model: sampling, and one table of method settings, read from `unbleed.json` beside its weights.

A method is named by a label: `syngen` with the model's own settings, `syngen@paper` with its paper's, and either with some
changed, as in `syngen:step_size=5:stop=0.8`. A sum of methods stands in place of a name, as in `syngen + 0.5*overlap-iou`.

A method's own defaults are its paper's, found on Stable Diffusion. A model of another scale wants other step sizes; whoever
has measured them for a model writes them into its folder, and they are used wherever the model is named.
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
    """Sampling defaults of a model, and for each method the settings in which it departs from the paper's.

    The defaults here are those of the papers, for Stable Diffusion.
    """

    steps: int = 50
    guidance_scale: float = 7.5
    methods: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def settings_of(model: str | Path | None) -> ModelSettings:
    """Return the settings of an embedded model, of a folder that has an `unbleed.json`, or the papers' for any other model.

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
    """Return what `given` means for a pipeline: a label has the settings of the folder that the pipeline was loaded from.

    Of a pipeline that was put together from components, it is the folder of its denoiser.
    """
    return method_of(given, folder_of(pipe)) if isinstance(given, str) else method_from(given)


def folder_of(pipe: Any) -> str | Path | None:
    """Return the folder that a pipeline was loaded from, or its denoiser; None where neither says so."""
    if name := getattr(pipe, "name_or_path", None):
        return name
    name = getattr(getattr(denoiser_of(pipe), "config", None), "_name_or_path", None)
    if not name:
        return None
    own = Path(name)  # "folder/unet" where the pipeline was loaded as a whole, "folder" where its denoiser was
    return next((folder for folder in (own, own.parent) if (folder / FILE_NAME).is_file()), None)


def method_of(label: str, model: str | Path | None, changes: Mapping[str, Any] | None = None) -> BaseMethod:
    """Return the method that `label` (NAME, NAME@paper, NAME:SETTING=VALUE:...) means for a model, with `changes` on top.

    >>> method_of("syngen@paper", "emoji").settings()["step_size"]
    20.0
    >>> method_of("syngen:step_size=3", "emoji").settings()["step_size"]
    3

    Raises `MethodError` for a name, a variant or a setting that does not exist.
    """
    base, *settings = label.split(":")
    name, at, variant = base.partition("@")
    if at and variant != "paper":
        raise MethodError(f'"{label}" is no method; expected NAME, NAME@paper or NAME:SETTING=VALUE')
    own: dict[str, Any] = {}
    if not at:
        suited = settings_of(model).methods
        for number, part in enumerate(names_in(name)):
            own |= {f"{part}.{key}" if number else key: value for key, value in suited.get(part, {}).items()}
    return method_from(name, {**own, **read_settings(settings), **(changes or {})})


def read_settings(pairs: Sequence[str]) -> dict[str, Any]:
    """Return {name: value} of NAME=VALUE texts, each value read as JSON or a number (".3") where it is one, else as text."""
    settings: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise MethodError(f'"{pair}" is no setting; expected NAME=VALUE, as in step_size=15')
        settings[name.strip()] = _value(value)
    return settings


def _value(text: str) -> Any:
    for read in (json.loads, float):
        try:
            return read(text)
        except ValueError:
            pass
    return text
