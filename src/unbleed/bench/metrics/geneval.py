"""GenEval (arXiv 2310.11513; evaluation/evaluate_images.py at af4902f2): the right things, number, colours, places?

A detector names things with a confidence above 0.3, or 0.9 where they are to be counted, at most 16 of a class. All of
`include` must hold and none of `exclude`: `{"class", "count"}`, and for the `count` surest things of the class `"color"`, all
of them, and `"position": [relation, n]`, each of them to each thing that entry n of `include` has matched.

- colour: the thing is cut out on grey and CLIP chooses among ten colours, each the mean of three sentences;
- position: the way from one middle to the other, shortened by a tenth of both widths and of both heights, relative to its
  length: a relation holds where its component is beyond a half.

A case brings this as its annotations: `{"tag": ..., "include": [...], "exclude": [...]}`, a line of GenEval's file. The score
of a picture is whether it is correct; GenEval's overall figure is the mean of the six tasks' means, a matter of groups.

Not theirs: the detector is transformers' Mask2Former (Swin-S, COCO instances), theirs mmdet's of the same make but of other
weights and of larger pictures; that scores agree was not shown. CLIP is the same, through transformers.
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
from .base import Score
from .detector import Detector, Thing
from .embedding import Clip
from .models import Pretrained
from .templates import mean_of_templates

LEAST, LEAST_COUNTED = 0.3, 0.9  # confidence
MOST = 16  # things of a class
NEAR = 0.1  # of the sizes of both, taken off the way between them
COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "black", "white")
NAMES = {"mouse": "computer mouse", "remote": "tv remote", "keyboard": "computer keyboard"}
"""Classes of COCO that GenEval calls otherwise."""

Counted = TypedDict("Counted", {"class": str, "count": int})


class Entry(Counted, total=False):
    """A thing that is asked for. The position is a relation, and the number of an earlier entry."""

    color: str
    position: tuple[str, int]


class Tagged(TypedDict):
    tag: str
    include: list[Entry]


class Asked(Tagged, total=False):
    """A line of GenEval's file."""

    exclude: list[Counted]


class SeenThing(TypedDict):
    box: tuple[float, float, float, float]
    confidence: float
    colour: str | None


Seen = Mapping[str, Sequence[Mapping[str, Any]]]
"""The things of each class, the surest first: box, confidence, and a colour where one was asked for."""


def asked_in(case: Case) -> Asked:
    """Return what a case asks for; raise `BenchError` where it does not say so."""
    if not {"tag", "include"} <= case.annotations.keys():
        raise BenchError(
            f'"{case.prompt}" does not say which things its picture shows; expected annotations "tag" and "include", '
            "as the suite geneval brings them"
        )
    with understanding(f'annotations of "{case.prompt}"', error=BenchError, remedy="correct the suite's file"):
        asked = check(case.annotations, Asked)
        for number, entry in enumerate(asked["include"]):
            if "position" in entry and not 0 <= entry["position"][1] < number:
                said = f"is {entry['position'][1]}; expected the number of an earlier entry, from 0"
                raise SchemaError(said).inside(f".include[{number}].position[1]")
    return asked


def relations(a: Sequence[float], b: Sequence[float]) -> set[str]:
    """Return where box a lies as seen from box b.

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


def is_correct(asked: Mapping[str, Any], objects: Seen) -> bool:
    """Return whether things fulfil what is asked; `asked` is a line of GenEval's file."""
    least = LEAST_COUNTED if asked["tag"] == "counting" else LEAST
    kept = {name: [thing for thing in things if thing["confidence"] > least] for name, things in objects.items()}
    matched: list[list[Mapping[str, Any]] | None] = []
    for entry in asked.get("include", ()):
        things = kept.get(entry["class"], [])[: entry["count"]]
        matched.append(things if _fulfilled(entry, things, matched) else None)
    too_many = any(len(kept.get(entry["class"], [])) >= entry["count"] for entry in asked.get("exclude", ()))
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


class Sees(TypedDict):
    objects: Mapping[str, list[SeenThing]]


@dataclass(frozen=True)
class GenEval:
    model: str = "facebook/mask2former-swin-small-coco-instance"
    clip: str = "openai/clip-vit-large-patch14"
    revision: str | None = None  # of the detector
    device: str = "cpu"
    dtype: str = "float32"
    _colours: dict[str, Tensor] = field(default_factory=dict, init=False, repr=False, compare=False)

    name = "geneval"
    sees = Sees
    scores = (Score("correct", "correct (GenEval)", "things, their number, colours and places are as asked for"),)

    @cached_property
    def detector(self) -> Detector:
        kind = "Mask2FormerForUniversalSegmentation"
        return Detector(Pretrained(self.model, kind, self.revision, self.device, self.dtype), LEAST)

    @cached_property
    def embedding(self) -> Clip:
        return Clip(Pretrained(self.clip, "CLIPModel", None, self.device, self.dtype))

    @property
    def fingerprint(self) -> str:
        models = [self.detector.fingerprint, self.embedding.fingerprint]
        return fingerprints.of_values(metric="geneval 1", models=models, dtype=self.dtype)

    def look(self, images: Sequence[Image.Image], cases: Sequence[Case]) -> list[dict[str, Any]]:
        asked = [self._asked(case) for case in cases]
        found = self.detector.look(images)
        return [
            {"objects": self._describe(image, entries, things)}
            for image, entries, things in zip(images, asked, found, strict=True)
        ]

    def score(self, case: Case, seen: Mapping[str, Any]) -> dict[str, float]:
        return {"correct": float(is_correct(asked_in(case), seen["objects"]))}

    def _asked(self, case: Case) -> Sequence[Mapping[str, Any]]:
        """Return what a case asks for; raise `BenchError` where it does not say so or the detector cannot know it."""
        include = asked_in(case)["include"]
        known = {NAMES.get(label, label) for label in self.detector.labels.values()}
        if strange := [entry["class"] for entry in include if entry["class"] not in known]:
            raise BenchError(
                f'"{case.prompt}" asks for "{strange[0]}", which "{self.model}" does not know; name a detector that does'
            )
        return include

    def _describe(
        self, image: Image.Image, entries: Sequence[Mapping[str, Any]], things: Sequence[Thing]
    ) -> dict[str, list[dict[str, Any]]]:
        coloured: dict[str, int] = {}
        for entry in entries:
            if "color" in entry:
                coloured[entry["class"]] = max(entry["count"], coloured.get(entry["class"], 0))
        by_class: dict[str, list[Thing]] = {}
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

    def _name_colours(self, image: Image.Image, things: Sequence[Thing], name: str) -> list[str | None]:
        if not things:
            return []
        similar = self.embedding.of_images([cut_out(image, thing) for thing in things]) @ self._classifier(name).T
        return [COLOURS[number] for number in similar.argmax(dim=1).tolist()]

    def _classifier(self, name: str) -> Tensor:
        """Return (colour, channel) for things called `name`."""
        if name not in self._colours:
            sentences = [
                [f"a photo of a {colour} {name}", f"a photo of a {colour}-colored {name}", f"a photo of a {colour} object"]
                for colour in COLOURS
            ]
            self._colours[name] = torch.stack([mean_of_templates(self.embedding.of_texts, of_one) for of_one in sentences])
        return self._colours[name]


def cut_out(image: Image.Image, thing: Thing) -> Image.Image:
    """Return the picture within a thing's box, grey where the thing is not."""
    mask = Image.fromarray(thing.mask.numpy())
    return Image.composite(image.convert("RGB"), Image.new("RGB", image.size, "#999"), mask).crop(thing.box)
