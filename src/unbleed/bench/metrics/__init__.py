"""Metrics: one file each. Their models are loaded when they first look, not before.

A metric is named by a label: `clip` as it is, `clip:strict=true:device=cuda:1` with settings. A value is read as a method's is
(`unbleed.model_settings`), but where the setting is a text it stays one: a folder may be called 7.
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
from .vqascore import VqaScore

__all__ = ["Metric", "MetricFacts", "Score", "metric", "metric_facts", "metric_names", "metrics_from", "read_label"]


class MetricFacts(NamedTuple):
    """What is known of a metric before it is made."""

    name: str
    about: str
    model: str  # the default
    licence: str | None  # of that model
    settings: Mapping[str, Any]  # with their defaults


_CLASSES: dict[str, tuple[Callable[..., Metric], str]] = {
    "oracle": (OracleMetric, "the emoji world's own judge: which things, where, in which colour"),
    "clip": (ClipSimilarity, "CLIP similarity to the full prompt and to the least entity, after Attend-and-Excite"),
    "blip-caption": (BlipCaption, "CLIP similarity, text to text, of the prompt and BLIP's caption"),
    "blip-vqa": (BlipVqa, "T2I-CompBench's BLIP-VQA: a question per noun phrase, their product"),
    "entity-questions": (EntityQuestions, "is there any X in the picture? Soft and harsh, by BLIP or ViLT"),
    "vqascore": (VqaScore, 'the probability of "Yes" when a vision-language model is asked for the prompt'),
    "geneval": (GenEval, "GenEval's detector, colours, counts and positions, on transformers' Mask2Former"),
    "dsg": (SceneGraph, "Davidsonian Scene Graph: the case's questions, with those that they depend on"),
    "image-reward": (ImageReward, "ImageReward, of a converted checkpoint"),
    "pickscore": (PickScore, "PickScore: CLIP-H after people's choices"),
    "hpsv2": (HpsV2, "HPS v2: CLIP-H after people's preferences, of a converted checkpoint"),
    "cmmd": (Cmmd, "distance of all pictures from reference pictures, in CLIP's space"),
}

_LICENCES = {
    "oracle": "Apache-2.0",
    "image-reward": "Apache-2.0",
    "hpsv2": "Apache-2.0",
}
"""Of default models that are no hub id."""


def metric_names() -> list[str]:
    return list(_CLASSES)


def metric_facts(name: str) -> MetricFacts:
    kind, about = _find(name)
    model: str = kind.model  # the default of its field
    licence = PUBLISHED[model].licence if model in PUBLISHED else _LICENCES.get(name)
    settings = {field.name: field.default for field in fields(kind) if field.init}
    return MetricFacts(name, about, "shipped" if name == "oracle" else model, licence, settings)


def metric(name: str, **settings: Any) -> Metric:
    """Return the metric called `name`; every one takes `model`, a hub id, folder or file, and `device`.

    >>> metric("clip", strict=True).strict
    True

    Raises `BenchError` for a name or a setting that it does not know, and for a value of another kind than the setting's.
    """
    kind, _ = _find(name)
    known, types = [field.name for field in fields(kind) if field.init], get_type_hints(kind)
    settings = {key: os.fspath(value) if isinstance(value, os.PathLike) else value for key, value in settings.items()}
    for setting, value in settings.items():
        if setting not in known:
            raise BenchError(f'metric "{name}" has no setting "{setting}"; it has {", ".join(known)}')
        if not isinstance(value, types[setting]):
            expected = "true or false" if types[setting] is bool else "a text"
            raise BenchError(f'metric "{name}" cannot take {setting}={value}; expected {expected}')
    return kind(**settings)


def metrics_from(labels: str) -> dict[str, Metric]:
    """Return {label: metric} of labels with commas between.

    >>> metrics_from("clip:strict=true:device=cuda:1, cmmd")["clip:strict=true:device=cuda:1"].device
    'cuda:1'

    Raises `BenchError` for a label that cannot be understood, or stands twice.
    """
    made: dict[str, Metric] = {}
    for label in [label.strip() for label in labels.split(",")]:
        if not label:
            raise BenchError(f'"{labels}" has an empty place; expected metrics with single commas, as in clip,vqascore')
        if label in made:
            raise BenchError(f"{label} named twice; name each metric once")
        name, settings = read_label(label)
        made[label] = metric(name, **settings)
    return made


def read_label(label: str) -> tuple[str, dict[str, Any]]:
    """Return name and settings of NAME or NAME:SETTING=VALUE:..."""
    name, colon, rest = label.strip().partition(":")
    if not colon:
        return name, {}
    types, settings = get_type_hints(_find(name)[0]), {}
    for pair in re.split(r":(?=\w+=)", rest):  # a value may hold colons, as cuda:1 does
        setting, equals, text = pair.partition("=")
        if not (setting and equals and text):
            raise BenchError(f'"{pair}" in "{label}" is no setting; expected NAME:SETTING=VALUE, as in clip:strict=true')
        [value] = read_settings([pair]).values()
        settings[setting] = value if isinstance(value, types.get(setting, object)) else text
    return name, settings


def _find(name: str) -> tuple[Any, str]:
    if name not in _CLASSES:
        near = difflib.get_close_matches(name, _CLASSES, n=1)
        hint = f'did you mean "{near[0]}"?' if near else f"known: {', '.join(_CLASSES)}"
        raise BenchError(f'there is no metric "{name}"; {hint}')
    return _CLASSES[name]
