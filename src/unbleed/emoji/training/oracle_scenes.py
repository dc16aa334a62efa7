"""Scenes for the oracle: more varied than the denoiser's, with blends, which it must tell from things.

Every scene is a pure function of seed and index.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from ..findings import Box
from ..oracle import SIDE
from ..scenes import VARIED, Mixture, Thing, draw_scene, resize, sample_scene
from ..sprites import COLOURS, NOUNS, sprite

# more varied than the denoiser's; all pairs, since it must recognise those that the denoiser was never shown
MIXTURE = Mixture(
    shares=(0.36, 0.42, 0.17, 0.05),
    sides=((0.38, 0.85), (0.25, 0.52), (0.25, 0.40), (0.25, 0.32)),
    mirrored=0.5,
    held_out=True,
)
EVERY_PAIR = replace(VARIED, held_out=True)


@dataclass(frozen=True)
class Blend:
    """Two things melted into one in the box of the first, so that it is neither.

    `way` says how: "average" draws one over the other, half transparent; "seam" puts a part of one beside, above or
    slantwise to the rest of the other; "patches" lets them alternate in large soft spots.
    Of twice the same noun it is no blend but a thing in two colours, which the oracle must not take for one.
    """

    first: Thing
    second: Thing
    way: str
    seed: int

    @property
    def box(self) -> Box:
        return self.first.box

    @property
    def is_one_noun(self) -> bool:
        return self.first.noun == self.second.noun


WAYS = ("average", "seam", "patches")
Scene = tuple[Thing | Blend, ...]


def learning_scene(seed: int, index: int) -> Scene:
    """Return scene `index` that the oracle learns from: none to four things, blends in about a third of the scenes."""
    rng = np.random.default_rng([seed, 11, index])
    kind = rng.random()
    if kind < 0.03:
        return ()
    things = list(sample_scene(seed, index, MIXTURE))
    if len(things) > 1 and rng.random() < 0.12:
        things[1] = replace(things[1], noun=things[0].noun)
    if kind < 0.36:
        # one of them, at times the others too: a model that blends two words often draws the blend twice
        surely = rng.integers(len(things))
        return tuple(melt(t, rng) if i == surely or rng.random() < 0.25 else t for i, t in enumerate(things))
    if kind < 0.44:
        return (melt(things[0], rng, same_noun=True), *things[1:])
    return tuple(things)


def blend_scene(seed: int, index: int, mixture: Mixture = EVERY_PAIR) -> Scene:
    """Return scene `index` with one blend in it, alone or beside the things of `mixture`."""
    rng = np.random.default_rng([seed, 12, index])
    first, *others = sample_scene(seed, index, mixture)
    return (melt(first, rng), *others)


def melt(thing: Thing, rng: np.random.Generator, *, same_noun: bool = False) -> Blend:
    """Return a blend of `thing` and another noun, or another look of its own with `same_noun`.

    The two have the same look in most cases, natural or of one colour, so that a blend cannot be told by its colours.
    """
    if same_noun:
        other = str(rng.choice([look for look in COLOURS if look != thing.colour]))
        return Blend(thing, replace(thing, colour=other), str(rng.choice(WAYS[1:])), int(rng.integers(2**31)))
    noun = str(rng.choice([noun for noun in NOUNS if noun != thing.noun]))
    kind = rng.random()
    colour = thing.colour if kind < 0.6 else None if kind < 0.75 else str(rng.choice(COLOURS))
    second = Thing(noun, colour, thing.box, bool(rng.random() < 0.5))
    return Blend(thing, second, str(rng.choice(WAYS)), int(rng.integers(2**31)))


def draw(scene: Scene, rng: np.random.Generator, font: Path) -> np.ndarray:
    """Return the picture of `scene`, uint8 (side, side, 3): as `draw_scene` draws it, blends beside the things."""
    picture = draw_scene(tuple(item for item in scene if isinstance(item, Thing)), SIDE, rng, font)
    for blend in scene:
        if isinstance(blend, Blend):
            pixels = blend_pixels(blend, font)
            left, top = (round(edge * SIDE) for edge in blend.box[:2])
            window = picture[top : top + len(pixels), left : left + len(pixels)]
            pixels = pixels[: window.shape[0], : window.shape[1]]
            window[:] = (window * (1 - pixels[..., 3:]) + pixels[..., :3] * 255 + 0.5).clip(0, 255)
    return picture


def blend_pixels(blend: Blend, font: Path) -> np.ndarray:
    """Return a blend's square box, float32 (size, size, 4), its colour multiplied by alpha."""
    size = round((blend.box[2] - blend.box[0]) * SIDE)
    first, second = (_in_square(thing, size, font) for thing in (blend.first, blend.second))
    rng = np.random.default_rng(blend.seed)
    share = rng.uniform(0.35, 0.65)
    if blend.way == "average":
        return first + (second - first) * np.float32(share)
    axis = np.linspace(-0.5, 0.5, size, dtype=np.float32)
    if blend.way == "seam":
        angle = rng.uniform(0, 2 * np.pi)
        field = np.cos(angle) * axis[None, :] + np.sin(angle) * axis[:, None]
    else:
        coarse = Image.fromarray(rng.standard_normal((4, 4)).astype(np.float32))
        field = np.asarray(coarse.resize((size, size), Image.Resampling.BICUBIC)) / 2
    # the border runs where it leaves `share` of all that tells the two apart on one side, so that both can be seen
    difference = np.abs(first - second).sum(axis=-1).ravel()
    order = field.ravel().argsort()
    along = difference[order].cumsum()
    border = field.ravel()[order[min(along.searchsorted(share * along[-1]), len(order) - 1)]]
    softness = rng.uniform(0.01, 0.06)
    weight = 1 / (1 + np.exp(((field - border) / softness).clip(-30, 30)))
    return (second + (first - second) * weight[..., None]).astype(np.float32)


def _in_square(thing: Thing, size: int, font: Path) -> np.ndarray:
    """Return a thing's sprite in the middle of a transparent square, its colour multiplied by alpha."""
    pixels = sprite(thing.noun, thing.colour, font)
    scale = size / max(pixels.shape[:2])
    height, width = (max(1, round(side * scale)) for side in pixels.shape[:2])
    pixels = resize(pixels, width, height)
    square = np.zeros((size, size, 4), dtype=np.float32)
    top, left = (size - height) // 2, (size - width) // 2
    square[top : top + height, left : left + width] = pixels[:, ::-1] if thing.mirrored else pixels
    return square


def draw_all(scenes: Sequence[Scene], seed: int, first: int, font: Path) -> np.ndarray:
    """Return the pictures of `scenes`, whose indices begin at `first`: uint8 (batch, side, side, rgb)."""
    return np.stack([draw(scene, np.random.default_rng([seed, 13, first + i]), font) for i, scene in enumerate(scenes)])
