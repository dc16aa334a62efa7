"""GenEval (arXiv 2310.11513; evaluation/evaluate_images.py at af4902f2): objects, counts, colours and positions.

A detector finds objects with a confidence above 0.3 (0.9 for counting prompts), at most 16 per class. Every entry of `include`
must hold and none of `exclude`. An entry has `"class"` and `"count"`. It may have `"color"`, which all of the `count` most
confident objects must have, and `"position": [relation, n]`, which must hold between each of them and each object matched by
entry n of `include`.

- Colour: the object is cut out on grey, and CLIP chooses among ten colours, each embedded as the mean of three sentences.
- Position: the vector between the two box centres is shortened by a tenth of both widths and both heights. A relation holds if
  its component is more than half of the vector's original length.

The case's annotations are a line of GenEval's file: `{"tag": ..., "include": [...], "exclude": [...]}`. The score says whether
an image is correct. GenEval's overall figure is the mean over the means of the six tasks, which are groups here.

Differences: the detector is transformers' Mask2Former (Swin-S, COCO instances); the official one is mmdet's with other weights
and larger images. Agreement of scores was not shown. CLIP is the same, through transformers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypedDict

import torch
from PIL import Image
from torch import Tensor

from ...errors import BenchError
from ...files import understanding
from ...schema import SchemaError, check
from ..plan import fingerprints
from ..plan.cases import Case
from .base import Metric, Score
from .detector import Detection, Detector
from .embedding import Clip
from .models import Pretrained
from .templates import mean_of_templates

MIN_CONFIDENCE, MIN_CONFIDENCE_COUNTING = 0.3, 0.9
MOST = 16  # objects per class
NEAR = 0.1  # fraction of both sizes that is subtracted from the distance between two boxes
COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "black", "white")
NAMES = {"mouse": "computer mouse", "remote": "tv remote", "keyboard": "computer keyboard"}
"""{COCO class: GenEval's name} where they differ."""

Counted = TypedDict("Counted", {"class": str, "count": int})


class Entry(Counted, total=False):
    """An object that the prompt asks for. The position is a relation and the index of an earlier entry."""

    color: str
    position: tuple[str, int]


class Tagged(TypedDict):
    tag: str
    include: list[Entry]


class Annotations(Tagged, total=False):
    """A line of GenEval's file."""

    exclude: list[Counted]


class DetectedObject(TypedDict):
    box: tuple[float, float, float, float]
    confidence: float
    colour: str | None


Objects = Mapping[str, Sequence[Mapping[str, Any]]]
"""{class: objects, the most confident first}, each with box, confidence, and a colour if the prompt names one."""


def annotations_of(case: Case) -> Annotations:
    """Return the checked annotations of a case; raise `BenchError` if they are missing or invalid."""
    if not {"tag", "include"} <= case.annotations.keys():
        raise BenchError(
            f'"{case.prompt}" does not say which objects to expect; expected annotations "tag" and "include", '
            "as in the suite geneval"
        )
    with understanding(f'annotations of "{case.prompt}"', error=BenchError, remedy="correct the suite's file"):
        annotations = check(case.annotations, Annotations)
        for number, entry in enumerate(annotations["include"]):
            if "position" in entry and not 0 <= entry["position"][1] < number:
                message = f"is {entry['position'][1]}; expected the index of an earlier entry, from 0"
                raise SchemaError(message).inside(f".include[{number}].position[1]")
    return annotations


def relations(a: Sequence[float], b: Sequence[float]) -> set[str]:
    """Return the position of box a relative to box b.

    >>> relations((0, 0, 10, 10), (50, 0, 60, 10)), relations((0, 0, 10, 10), (1, 0, 11, 10))
    ({'left of'}, set())
    """
    x, y = (a[0] + a[2] - b[0] - b[2]) / 2, (a[1] + a[3] - b[1] - b[3]) / 2
    dx = math.copysign(max(abs(x) - NEAR * (a[2] - a[0] + b[2] - b[0]), 0), x)
    dy = math.copysign(max(abs(y) - NEAR * (a[3] - a[1] + b[3] - b[1]), 0), y)
    if max(abs(dx), abs(dy)) < 1e-3:
        return set()
    far = math.hypot(x, y) / 2
    beyond = {"left of": dx < -far, "right of": dx > far, "above": dy < -far, "below": dy > far}
    return {relation for relation, holds in beyond.items() if holds}


def is_correct(annotations: Mapping[str, Any], objects: Objects) -> bool:
    """Return whether the objects satisfy `annotations`, a line of GenEval's file."""
    minimum = MIN_CONFIDENCE_COUNTING if annotations["tag"] == "counting" else MIN_CONFIDENCE
    kept = {name: [thing for thing in things if thing["confidence"] > minimum] for name, things in objects.items()}
    matched: list[list[Mapping[str, Any]] | None] = []
    for entry in annotations.get("include", ()):
        things = kept.get(entry["class"], [])[: entry["count"]]
        matched.append(things if _fulfilled(entry, things, matched) else None)
    too_many = any(len(kept.get(entry["class"], [])) >= entry["count"] for entry in annotations.get("exclude", ()))
    return not too_many and all(things is not None for things in matched)


def _fulfilled(entry: Mapping[str, Any], things: Sequence[Mapping[str, Any]], matched: Sequence[Any]) -> bool:
    if len(things) < entry["count"]:
        return False
    if "color" in entry and any(thing["colour"] != entry["color"] for thing in things):
        return False
    if "position" not in entry:
        return True
    relation, number = entry["position"]
    others = matched[number]
    return others is not None and all(relation in relations(a["box"], b["box"]) for a in things for b in others)


class Output(TypedDict):
    objects: Mapping[str, list[DetectedObject]]


@dataclass(frozen=True)
class GenEval(Metric):
    """Whether the objects, their counts, colours and positions are as the prompt says."""

    model: str = "facebook/mask2former-swin-small-coco-instance"
    clip: str = "openai/clip-vit-large-patch14"
    revision: str | None = None  # of the detector
    device: str = "cpu"
    dtype: str = "float32"
    _colours: dict[str, Tensor] = field(default_factory=dict, init=False, repr=False, compare=False)

    name = "geneval"
    output_type = Output
    scores = (Score("correct", "correct (GenEval)", "objects, counts, colours and positions are as the prompt says"),)

    @cached_property
    def detector(self) -> Detector:
        kind = "Mask2FormerForUniversalSegmentation"
        return Detector(Pretrained(self.model, kind, self.revision, self.device, self.dtype), MIN_CONFIDENCE)

    @cached_property
    def embedding(self) -> Clip:
        return Clip(Pretrained(self.clip, "CLIPModel", None, self.device, self.dtype))

    @property
    def fingerprint(self) -> str:
        models = [self.detector.fingerprint, self.embedding.fingerprint]
        return fingerprints.of_values(metric="geneval 1", models=models, dtype=self.dtype)

    def run(self, images: Sequence[Image.Image], cases: Sequence[Case]) -> list[dict[str, Any]]:
        expected = [self._include(case) for case in cases]
        found = self.detector.detect(images)
        return [
            {"objects": self._describe(image, entries, things)}
            for image, entries, things in zip(images, expected, found, strict=True)
        ]

    def score(self, case: Case, output: Mapping[str, Any]) -> dict[str, float]:
        return {"correct": float(is_correct(annotations_of(case), output["objects"]))}

    def _include(self, case: Case) -> Sequence[Mapping[str, Any]]:
        """Return the objects that a case asks for; raise `BenchError` if they are missing or unknown to the detector."""
        include = annotations_of(case)["include"]
        known = {NAMES.get(label, label) for label in self.detector.labels.values()}
        if unknown := [entry["class"] for entry in include if entry["class"] not in known]:
            raise BenchError(
                f'"{case.prompt}" asks for "{unknown[0]}", which "{self.model}" does not know; name a detector that does'
            )
        return include

    def _describe(
        self, image: Image.Image, entries: Sequence[Mapping[str, Any]], things: Sequence[Detection]
    ) -> dict[str, list[dict[str, Any]]]:
        coloured: dict[str, int] = {}
        for entry in entries:
            if "color" in entry:
                coloured[entry["class"]] = max(entry["count"], coloured.get(entry["class"], 0))
        by_class: dict[str, list[Detection]] = {}
        for thing in things:
            by_class.setdefault(NAMES.get(thing.label, thing.label), []).append(thing)
        described = {}
        for name, of_class in by_class.items():
            of_class = of_class[:MOST]
            colours = self._name_colours(image, of_class[: coloured.get(name, 0)], name)
            colours += [None] * (len(of_class) - len(colours))
            described[name] = [
                {"box": list(thing.box), "confidence": thing.confidence, "colour": colour}
                for thing, colour in zip(of_class, colours, strict=True)
            ]
        return described

    def _name_colours(self, image: Image.Image, things: Sequence[Detection], name: str) -> list[str | None]:
        if not things:
            return []
        similar = self.embedding.of_images([cut_out(image, thing) for thing in things]) @ self._classifier(name).T
        return [COLOURS[number] for number in similar.argmax(dim=1).tolist()]

    def _classifier(self, name: str) -> Tensor:
        """Return the text embeddings (colour, channel) for objects called `name`."""
        if name not in self._colours:
            sentences = [
                [f"a photo of a {colour} {name}", f"a photo of a {colour}-colored {name}", f"a photo of a {colour} object"]
                for colour in COLOURS
            ]
            self._colours[name] = torch.stack([mean_of_templates(self.embedding.of_texts, three) for three in sentences])
        return self._colours[name]


def cut_out(image: Image.Image, thing: Detection) -> Image.Image:
    """Return the image inside an object's box, grey outside its mask."""
    mask = Image.fromarray(thing.mask.numpy())
    return Image.composite(image.convert("RGB"), Image.new("RGB", image.size, "#999"), mask).crop(thing.box)
