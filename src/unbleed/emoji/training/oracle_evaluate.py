"""Error rates of the oracle, on scenes of a stream that neither its training nor its thresholds used."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import compress, product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..findings import Box, Finding, Sighting
from ..oracle import LOOKS, SAME_THING, SIDE, Oracle, from_pixels, overlap
from ..scenes import Thing, sample_scene
from ..sprites import NOUNS
from .oracle import Tally
from .oracle_redraw import from_latents, outlasted, redraw, round_trip
from .oracle_scenes import EVERY_PAIR, Blend, Scene, blend_scene, draw_all

EVALUATION_SEED = 2_000_003

_CHUNK = 32

Seen = Sequence[tuple[Sequence[Thing], Finding]]  # for each image: the things in it, the oracle's answer


def evaluate(
    oracle: Oracle,
    pipe: Any,
    font: Path,
    scenes: int = 1000,
    seed: int = EVALUATION_SEED,
    report: Callable[[int, int], None] = lambda done, of: None,
) -> dict[str, Any]:
    """Return how well `oracle` sees, as one document for JSON; all shares from 0 to 1, NaN where nothing was to be seen.

    The pictures: `scenes` scenes of one to three things (`VARIED`, every pair of nouns), each as it was drawn, after a round
    trip through the autoencoder of the emoji model's pipeline `pipe`, and redrawn by that model, see `redraw`; and as many
    with a blend, alone or beside things, every other one after a round trip, and all of them redrawn. Under "oracle":

    - presence: share of the entities that are seen, lowered by false alarms, see `Tally.presence`;
    - colour: share of the seen entities whose colour, or natural look, is right, see `colour_shares`;
    - count: share of the pictures in which as many things are seen as are there;
    - centre_error_pixels: mean distance of a seen entity's middle from where it is, in pixels of a 128x128 picture;
    - per_noun, per_colour: the same as error rates, 1 - presence of the noun and 1 - colour of the entities of that colour;
    - blend_recall: share of the blends on which a blend is seen;
    - blend_false_alarm: share of the pictures without a blend in which one is seen, half of them after a round trip;
    - blend_recall_redrawn, blend_false_alarm_redrawn: the same of redrawn pictures, recall of those on which the blend has
      outlasted it, see `outlasted`.

    Other keys that end in `_round_trip` or `_redrawn` speak of the pictures after it, those without of the pictures as they
    were drawn.
    """
    things = [sample_scene(seed, i, EVERY_PAIR) for i in range(scenes)]
    blends = [blend_scene(seed, i) for i in range(scenes)]
    clean: list[Finding] = []
    decoded: list[Finding] = []
    redrawn: list[Finding] = []
    blended: list[Finding] = []
    blends_left: list[Scene] = []
    blended_redrawn: list[Finding] = []
    for first in range(0, scenes, _CHUNK):
        chunk = slice(first, first + _CHUNK)
        pixels = draw_all(things[chunk], seed, first, font)
        clean += oracle.look(_images(pixels))
        decoded += oracle.look(_images(_round_trip(pipe.vae, pixels)))
        redrawn += oracle.look(_images(_redrawn(pipe, pixels, things[chunk], seed, first)))
        pixels = draw_all(blends[chunk], seed, first, font)
        again = _redrawn(pipe, pixels, blends[chunk], seed, first)
        left = outlasted(from_pixels(again), blends[chunk], seed, first, font)
        blends_left += compress(blends[chunk], left)
        blended_redrawn += oracle.look(_images(again[left]))
        pixels[1::2] = _round_trip(pipe.vae, pixels[1::2])
        blended += oracle.look(_images(pixels))
        report(min(first + _CHUNK, scenes), scenes)
    return {
        "oracle": {
            **summary(*(list(zip(things, findings, strict=True)) for findings in (clean, decoded, redrawn))),
            "blend_recall": blend_recall(blends, blended),
            "blend_false_alarm": sum(bool(f.blends) for f in (*clean[::2], *decoded[1::2])) / scenes,
            "blend_recall_redrawn": blend_recall(blends_left, blended_redrawn),
            "blend_false_alarm_redrawn": sum(bool(finding.blends) for finding in redrawn) / scenes,
        },
        "scenes": scenes,
        "seed": seed,
    }


def summary(clean: Seen, decoded: Seen, redrawn: Seen) -> dict[str, Any]:
    """Return all rates on scenes of things, see `evaluate`."""
    rates: dict[str, Any] = {}
    per_noun: dict[str, dict[str, float]] = {noun: {} for noun in NOUNS}
    per_colour: dict[str, dict[str, float]] = {look or "natural": {} for look in LOOKS}
    for suffix, seen in (("", clean), ("_round_trip", decoded), ("_redrawn", redrawn)):
        pairs = [pair for things, finding in seen for pair in matches(things, finding)]
        colours = colour_shares(pairs)
        rates[f"presence{suffix}"] = sum((Tally.of(*picture) for picture in seen), Tally()).presence
        rates[f"colour{suffix}"] = _mean([thing.colour == sighting.colour for thing, sighting in pairs])
        rates[f"count{suffix}"] = _mean([len(things) == len(finding.things) for things, finding in seen])
        rates[f"centre_error_pixels{suffix}"] = _mean([SIDE * _distance(t.box, s.box) for t, s in pairs])
        for noun in NOUNS:
            per_noun[noun][f"error{suffix}"] = 1 - _presence_of(noun, seen)
        for look in LOOKS:
            per_colour[look or "natural"][f"error{suffix}"] = 1 - colours[look]
    return {**rates, "per_noun": per_noun, "per_colour": per_colour}


def _presence_of(noun: str, seen: Seen) -> float:
    """Return `Tally.presence` as if there were no other noun; NaN where it neither is nor is seen."""
    total = Tally()
    for things, finding in seen:
        sightings = tuple(sighting for sighting in finding.things if sighting.noun == noun)
        total += Tally.of([thing for thing in things if thing.noun == noun], Finding(sightings))
    return total.presence


def matches(things: Sequence[Thing], finding: Finding) -> list[tuple[Thing, Sighting]]:
    """Return each thing with the sighting of its noun that is of it: the nearest first, none of either twice.

    Things of which there is no sighting are left out.
    """
    by_distance = sorted(
        (_distance(thing.box, sighting.box), i, j)
        for (i, thing), (j, sighting) in product(enumerate(things), enumerate(finding.things))
        if thing.noun == sighting.noun
    )
    taken: dict[int, int] = {}
    for _, i, j in by_distance:
        if i not in taken and j not in taken.values():
            taken[i] = j
    return [(things[i], finding.things[j]) for i, j in sorted(taken.items())]


def colour_shares(pairs: Sequence[tuple[Thing, Sighting]]) -> dict[str | None, float]:
    """Return for each look, the natural one (None) and the colours, the fraction of its things that were detected with it."""
    return {look: _mean([s.colour == look for t, s in pairs if t.colour == look]) for look in LOOKS}


def blend_recall(scenes: Sequence[Scene], findings: Sequence[Finding]) -> float:
    """Return the fraction of the blends that were found: detected with a box that covers theirs as boxes of one thing do."""
    return _mean(
        [
            any(overlap(item.box, box) >= SAME_THING for box in finding.blends)
            for scene, finding in zip(scenes, findings, strict=True)
            for item in scene
            if isinstance(item, Blend)
        ]
    )


def _round_trip(vae: Any, pixels: np.ndarray) -> np.ndarray:
    """Return uint8 pictures (batch, side, side, rgb) after a round trip."""
    if not len(pixels):
        return pixels
    weight: Tensor = next(vae.parameters())
    return _to_pixels(round_trip(vae, from_pixels(pixels).to(weight)))


def _redrawn(pipe: Any, pixels: np.ndarray, scenes: Sequence[Scene], seed: int, first: int) -> np.ndarray:
    """Return uint8 images (batch, side, side, rgb) of `scenes`, redrawn by the model."""
    return _to_pixels(from_latents(pipe.vae, redraw(pipe, from_pixels(pixels), scenes, seed, first)))


def _to_pixels(pictures: Tensor) -> np.ndarray:
    """Return pictures (batch, rgb, height, width) in [-1, 1] as uint8 (batch, height, width, rgb), rounded as by a pipeline."""
    return ((pictures / 2 + 0.5) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()


def _images(pixels: np.ndarray) -> list[Image.Image]:
    return [Image.fromarray(picture) for picture in pixels]


def _distance(a: Box, b: Box) -> float:
    """Return the distance of two boxes' centers, as a fraction of the image's side."""
    return math.hypot(a[0] + a[2] - b[0] - b[2], a[1] + a[3] - b[1] - b[3]) / 2


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else math.nan
