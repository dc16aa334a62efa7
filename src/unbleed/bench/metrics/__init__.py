"""Metrics, one per file. Their models are loaded when `run` is first called.

A label names a metric: `clip` with its defaults, `clip:strict=true:device=cuda:1` with settings. Values are read like those of
methods (`unbleed.model_settings`), except that a string setting stays a string: a folder may be called 7.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any, NamedTuple, get_type_hints

from ...errors import BenchError
from ...model_settings import read_settings
from .base import Metric, Score
from .blip_caption import BlipCaption
from .blip_vqa import BlipVqa
from .clip import ClipSimilarity
from .cmmd import Cmmd
from .dsg import SceneGraph
from .entity_questions import EntityQuestions
from .geneval import GenEval
from .hpsv2 import HpsV2
from .image_reward import ImageReward
from .models import PUBLISHED
from .oracle import OracleMetric
from .pickscore import PickScore
from .soft_tifa import SoftTifa
from .vqascore import VqaScore

__all__ = ["Metric", "MetricFacts", "Score", "metric", "metric_facts", "metric_names", "metrics_from", "read_label"]


class MetricFacts(NamedTuple):
    """Facts about a metric, known without creating it."""

    name: str
    about: str
    model: str  # the default model
    licence: str | None  # of the default model
    settings: Mapping[str, Any]  # {setting: default}


_CLASSES: dict[str, tuple[Callable[..., Metric], str]] = {
    "oracle": (OracleMetric, "detector for the embedded model: which things, where, in which colour"),
    "clip": (ClipSimilarity, "CLIP similarity to the full prompt and lowest similarity to an entity, after Attend-and-Excite"),
    "blip-caption": (BlipCaption, "CLIP similarity between the prompt and BLIP's caption"),
    "blip-vqa": (BlipVqa, "T2I-CompBench's BLIP-VQA: product over a question per noun phrase"),
    "entity-questions": (EntityQuestions, '"Is there any X in the picture?", soft and harsh, by BLIP or ViLT'),
    "vqascore": (VqaScore, 'probability of "Yes" when a vision-language model is asked whether the image shows the prompt'),
    "geneval": (GenEval, "GenEval's objects, counts, colours and positions, with transformers' Mask2Former"),
    "dsg": (SceneGraph, "Davidsonian Scene Graph: the case's questions and their dependencies"),
    "soft-tifa": (SoftTifa, "GenEval 2's probability of the right answer to a question per atom of the prompt"),
    "image-reward": (ImageReward, "ImageReward, from a converted checkpoint"),
    "pickscore": (PickScore, "PickScore: CLIP-H trained on human choices"),
    "hpsv2": (HpsV2, "HPS v2: CLIP-H trained on human preferences, from a converted checkpoint"),
    "cmmd": (Cmmd, "distance between all images of a method and reference images, in CLIP's embedding space"),
}

_LICENCES = {
    "oracle": "Apache-2.0",
    "image-reward": "Apache-2.0",
    "hpsv2": "Apache-2.0",
}
"""Licences of default models that are not hub ids."""


def metric_names() -> list[str]:
    return list(_CLASSES)


def metric_facts(name: str) -> MetricFacts:
    kind, about = _find(name)
    model: str = kind.model  # the default of its field
    licence = PUBLISHED[model].licence if model in PUBLISHED else _LICENCES.get(name)
    settings = {field.name: field.default for field in fields(kind) if field.init}
    return MetricFacts(name, about, "shipped" if name == "oracle" else model, licence, settings)


def metric(name: str, **settings: Any) -> Metric:
    """Return the metric called `name`. All metrics take `model` (a hub id, folder or file) and `device`.

    >>> metric("clip", strict=True).strict
    True

    Raises `BenchError` for an unknown name or setting, and for a value of the wrong type.
    """
    kind, _ = _find(name)
    known, types = [field.name for field in fields(kind) if field.init], get_type_hints(kind)
    settings = {key: os.fspath(value) if isinstance(value, os.PathLike) else value for key, value in settings.items()}
    for setting, value in settings.items():
        if setting not in known:
            raise BenchError(f'metric "{name}" has no setting "{setting}"; it has {", ".join(known)}')
        if not isinstance(value, types[setting]):
            expected = "true or false" if types[setting] is bool else "a string"
            raise BenchError(f'metric "{name}" cannot take {setting}={value}; expected {expected}')
    return kind(**settings)


def metrics_from(labels: str) -> dict[str, Metric]:
    """Return {label: metric} for comma-separated labels.

    >>> metrics_from("clip:strict=true:device=cuda:1, cmmd")["clip:strict=true:device=cuda:1"].device
    'cuda:1'

    Raises `BenchError` for an invalid or repeated label.
    """
    made: dict[str, Metric] = {}
    for label in [label.strip() for label in labels.split(",")]:
        if not label:
            raise BenchError(f'"{labels}" has an empty name; expected metrics separated by single commas, as in clip,vqascore')
        if label in made:
            raise BenchError(f"{label} named twice; name each metric once")
        name, settings = read_label(label)
        made[label] = metric(name, **settings)
    return made


def read_label(label: str) -> tuple[str, dict[str, Any]]:
    """Return name and settings from NAME or NAME:SETTING=VALUE:..."""
    name, colon, rest = label.strip().partition(":")
    if not colon:
        return name, {}
    types, settings = get_type_hints(_find(name)[0]), {}
    for pair in re.split(r":(?=\w+=)", rest):  # a value may hold colons, as cuda:1 does
        setting, equals, text = pair.partition("=")
        if not (setting and equals and text):
            raise BenchError(f'"{pair}" in "{label}" is not a setting; expected NAME:SETTING=VALUE, as in clip:strict=true')
        [value] = read_settings([pair]).values()
        settings[setting] = value if isinstance(value, types.get(setting, object)) else text
    return name, settings


def _find(name: str) -> tuple[Any, str]:
    if name not in _CLASSES:
        near = difflib.get_close_matches(name, _CLASSES, n=1)
        hint = f'did you mean "{near[0]}"?' if near else f"known: {', '.join(_CLASSES)}"
        raise BenchError(f'there is no metric "{name}"; {hint}')
    return _CLASSES[name]
