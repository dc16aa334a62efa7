"""Scenes composed of sprites: the training data of the emoji model, with the ground truth of each image.

A scene is a pure function of a seed and an index, so any scene can be repeated, on any machine and in any order.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass, replace
from functools import cache
from itertools import combinations
from pathlib import Path

import numpy as np
from PIL import Image

from ..prompt.words import split
from .sprites import COLOURS, NOUNS, sprite

HELD_OUT_SEED = 2301_13826  # the arXiv number of Attend-and-Excite: a fixed and unsuspicious choice

_SINGLE = ("a {0}",) * 7 + ("{0}", "a photo of a {0}", "an emoji of a {0}")
_PAIR = ("a {0} and a {1}",) * 6 + ("a {0} with a {1}",) * 2 + ("{0} and {1}", "a {0} next to a {1}", "a {0}, a {1}")
_TRIPLE = ("a {0}, a {1} and a {2}",) * 2 + ("a {0} and a {1} and a {2}",)
TEMPLATES = {1: _SINGLE, 2: _PAIR, 3: _TRIPLE}
_OTHER_WORDS = {word for group in TEMPLATES.values() for template in group for word in re.findall(r"[a-z]+", template)}
WORDS = frozenset({*NOUNS, *COLOURS, *_OTHER_WORDS, "an", "grey"})
"""Every word of the captions that the emoji model was trained on."""


def unknown_words(prompt: str) -> list[str]:
    """Return the words of a prompt, each once, that the emoji model was never shown.

    >>> unknown_words("a red castle on a hill with a cat")
    ['castle', 'on', 'hill']
    """
    words = [span.text for span in split(prompt) if any(letter.isalpha() for letter in span.text)]
    return [word for word in dict.fromkeys(words) if word.lower() not in WORDS]


@dataclass(frozen=True)
class Thing:
    """One entity of a scene: a noun, a colour (None: natural), and its box as fractions of the image's side."""

    noun: str
    colour: str | None
    box: tuple[float, float, float, float]  # left, top, right, bottom
    mirrored: bool = False

    @property
    def words(self) -> str:
        return self.noun if self.colour is None else f"{self.colour} {self.noun}"


@dataclass(frozen=True)
class Mixture:
    """The distribution of scenes: number of things, their sizes, how often they are coloured.

    `shares[n]` is the probability of n + 1 things, `sides[n]` the range of their sizes: the longer side of a sprite over the
    image's.
    """

    shares: tuple[float, ...] = (0.40, 0.50, 0.10)
    sides: tuple[tuple[float, float], ...] = ((0.50, 0.70), (0.38, 0.50), (0.30, 0.40))
    coloured: float = 0.6  # fraction of the things with a colour
    mirrored: float = 0.0  # fraction of the things that are mirrored
    held_out: bool = False  # whether held-out pairs may be in one scene


# wider in every respect than the denoiser's training data: for networks that get images from elsewhere
VARIED = Mixture(shares=(0.60, 0.36, 0.04), sides=((0.50, 0.85), (0.38, 0.52), (0.30, 0.40)), mirrored=0.5)


@cache
def held_out_pairs() -> frozenset[frozenset[str]]:
    """Return the half of all 276 noun pairs that no training scene shows together.

    The rule: the pairs in the order of the benchmark's word lists, shuffled by `random.Random(HELD_OUT_SEED)`,
    the first 138.
    """
    pairs = list(combinations(NOUNS, 2))
    random.Random(HELD_OUT_SEED).shuffle(pairs)
    return frozenset(frozenset(pair) for pair in pairs[: len(pairs) // 2])


_HELD_OUT = held_out_pairs()


def sample_scene(seed: int, index: int, mixture: Mixture) -> tuple[Thing, ...]:
    """Return the things of scene `index` of the stream `seed`, a pure function of all three."""
    rng = np.random.default_rng([seed, index])
    count = 1 + int(rng.choice(len(mixture.shares), p=mixture.shares))
    while True:
        nouns = [str(n) for n in rng.choice(NOUNS, size=count, replace=False)]
        if mixture.held_out or not any(frozenset(pair) in _HELD_OUT for pair in combinations(nouns, 2)):
            break
    colours = [str(rng.choice(COLOURS)) if rng.random() < mixture.coloured else None for _ in nouns]
    boxes = _place(count, mixture.sides[count - 1], rng)
    mirrored = [bool(rng.random() < mixture.mirrored) for _ in nouns]
    return tuple(Thing(*facts) for facts in zip(nouns, colours, boxes, mirrored, strict=True))


def _place(count: int, sides: tuple[float, float], rng: np.random.Generator) -> list[tuple[float, float, float, float]]:
    """Return `count` square boxes inside the picture, none touching another."""
    while True:
        boxes: list[tuple[float, float, float, float]] = []
        for _ in range(count):
            side = rng.uniform(*sides)
            left, top = rng.uniform(0.02, 0.98 - side, size=2)
            boxes.append((float(left), float(top), float(left + side), float(top + side)))
        if all(_apart(a, b) for a, b in combinations(boxes, 2)):
            return boxes


def _apart(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    return a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]


def as_told(things: tuple[Thing, ...], rng: np.random.Generator, swapped: float, unseen: float) -> tuple[Thing, ...]:
    """Return the things of a careless caption of the scene, as captions of the web are.

    With probability `swapped` the colours of a scene of several things are rotated by one; with probability `unseen` a scene
    of one thing is said to have another too, but never one that makes a held-out pair.
    """
    if len(things) == 1:
        if unseen and rng.random() < unseen:
            there = things[0]
            others = [noun for noun in NOUNS if noun != there.noun and frozenset((noun, there.noun)) not in _HELD_OUT]
            noun = str(rng.choice(others))
            colour = str(rng.choice(COLOURS)) if rng.random() < 0.6 else None
            return there, replace(there, noun=noun, colour=colour)
    elif swapped and rng.random() < swapped:
        colours = [thing.colour for thing in things]
        return tuple(replace(thing, colour=c) for thing, c in zip(things, [*colours[1:], colours[0]], strict=True))
    return things


def draw_scene(things: tuple[Thing, ...], size: int, rng: np.random.Generator, font: Path) -> np.ndarray:
    """Return the image of `things`: uint8 (size, size, 3), on a plain or gently graded pastel background."""
    canvas = _ground(size, rng)
    for thing in things:
        pixels = sprite(thing.noun, thing.colour, font)
        side = (thing.box[2] - thing.box[0]) * size
        scale = side / max(pixels.shape[:2])
        height, width = (max(1, round(s * scale)) for s in pixels.shape[:2])
        pixels = resize(pixels, width, height)
        if thing.mirrored:
            pixels = pixels[:, ::-1]
        top = round(thing.box[1] * size + (side - height) / 2)
        left = round(thing.box[0] * size + (side - width) / 2)
        window = canvas[top : top + height, left : left + width]
        pixels = pixels[: window.shape[0], : window.shape[1]]
        window *= 1 - pixels[..., 3:]
        window += pixels[..., :3]  # colour is premultiplied by alpha
    return (canvas.clip(0, 1) * 255 + 0.5).astype(np.uint8)


def resize(pixels: np.ndarray, width: int, height: int) -> np.ndarray:
    """Return the sprite at a new size with its colour premultiplied, so that no fringe of hidden colour appears."""
    premultiplied = np.concatenate([pixels[..., :3] * pixels[..., 3:], pixels[..., 3:]], axis=-1)
    image = Image.fromarray((premultiplied * 255 + 0.5).astype(np.uint8))
    resized = image.resize((width, height), Image.Resampling.BILINEAR, reducing_gap=2.0)
    return np.asarray(resized, dtype=np.float32) / 255


def _ground(size: int, rng: np.random.Generator) -> np.ndarray:
    """Return a pastel background, float32 (size, size, 3), plain in a third of the cases."""
    first = rng.uniform(0.80, 0.98, size=3)
    last = first if rng.random() < 1 / 3 else np.clip(first + rng.uniform(-0.10, 0.10, size=3), 0.78, 1.0)
    angle = rng.uniform(0, 2 * np.pi)
    axis = np.linspace(-0.5, 0.5, size)
    ramp = 0.5 + (np.cos(angle) * axis[None, :] + np.sin(angle) * axis[:, None]) / np.sqrt(2)
    return (first + (last - first) * ramp[..., None]).astype(np.float32)


def caption(things: tuple[Thing, ...], rng: np.random.Generator) -> str:
    """Return a caption of `things` in a random order and phrasing.

    Half of the captions say "an elephant", half "a elephant", since the benchmark's prompts always say "a".
    """
    order = [things[i].words for i in rng.permutation(len(things))]
    templates = TEMPLATES[len(things)]
    text = templates[rng.integers(len(templates))].format(*order)
    if rng.random() < 0.5:
        for vowel in "aeiou":
            text = text.replace(f" a {vowel}", f" an {vowel}")
            if text.startswith(f"a {vowel}"):
                text = "an" + text[1:]
    return text.replace("gray", "grey") if rng.random() < 0.1 else text
