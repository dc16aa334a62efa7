"""Metrics: one file each. Their models are loaded when they first look, not before."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import fields
from typing import Any, NamedTuple

from ...errors import BenchError
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

__all__ = ["Metric", "MetricFacts", "Score", "metric", "metric_facts", "metric_names"]


class MetricFacts(NamedTuple):
    """What is known of a metric before it is made."""

    name: str
    about: str
    model: str  # the default
    licence: str | None  # of that model


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
    return MetricFacts(name, about, "shipped" if name == "oracle" else model, licence)


def metric(name: str, **settings: Any) -> Metric:
    """Return the metric called `name`; every one takes `model`, a hub id, folder or file, and `device`.

    >>> metric("clip", strict=True).strict
    True

    Raises `BenchError` for a name or a setting that it does not know.
    """
    kind, _ = _find(name)
    known = [field.name for field in fields(kind) if field.init]
    if strange := [setting for setting in settings if setting not in known]:
        raise BenchError(f'metric "{name}" has no setting "{strange[0]}"; it has {", ".join(known)}')
    return kind(**settings)


def _find(name: str) -> tuple[Any, str]:
    if name not in _CLASSES:
        near = difflib.get_close_matches(name, _CLASSES, n=1)
        hint = f'did you mean "{near[0]}"?' if near else f"known: {', '.join(_CLASSES)}"
        raise BenchError(f'there is no metric "{name}"; {hint}')
    return _CLASSES[name]
