"""CMMD (arXiv 2401.09603): how far the pictures of a method are, as a whole, from reference pictures.

    MMD² = mean k(x, x') + mean k(y, y') - 2 mean k(x, y),    k(x, y) = exp(-|x - y|² / (2 · 10²)),    times 1000

x, x' are CLIP embeddings (ViT-L/14 at 336 pixels, of length 1) of two different pictures, y, y' of two reference pictures; so
written, without pairs of a picture with itself, it is unbiased from the first picture on and can be below 0. This is what a
KID or FID does with Inception's features; those weights come as pickles, so neither is offered.

It is a figure of a set of pictures: `look` keeps each picture's embedding, `score` has nothing to say, `distance` reckons.

Not theirs: the authors' code keeps the pairs of a picture with itself, which makes a small set look farther away, and squeezes
pictures that are not square, where transformers' processor cuts out the middle.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ...errors import BenchError
from .. import fingerprints
from ..cases import Case
from .embedding import Clip
from .models import Pretrained

WIDTH, SCALE = 10.0, 1000.0
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")

Features = NDArray[np.float64]
"""(picture, channel)."""


class Distance(NamedTuple):
    value: float
    error: float  # its standard error, for the reference as given


@dataclass(frozen=True)
class Cmmd:
    model: str = "openai/clip-vit-large-patch14-336"
    revision: str | None = None
    device: str = "cpu"
    dtype: str = "float32"

    name = "cmmd"
    scores = ()

    @cached_property
    def clip(self) -> Clip:
        return Clip(Pretrained(self.model, "CLIPModel", self.revision, self.device, self.dtype))

    @property
    def fingerprint(self) -> str:
        return fingerprints.of_values(metric="cmmd 1", model=self.clip.fingerprint, dtype=self.dtype)

    def look(self, images: Sequence[Image.Image], cases: Sequence[Case]) -> list[dict[str, Any]]:
        return [{"features": [round(value, 6) for value in row]} for row in self.clip.of_images(images).tolist()]

    def score(self, case: Case, seen: Mapping[str, Any]) -> dict[str, float]:
        return {}

    def reference(self, folder: Path) -> Features:
        """Return the features of the pictures of a folder; raise `BenchError` where there are fewer than two."""
        files = sorted(file for file in folder.rglob("*") if file.suffix.lower() in SUFFIXES)
        if len(files) < 2:
            raise BenchError(f"{folder} has {len(files)} pictures; expected the reference pictures, {', '.join(SUFFIXES)}")
        rows = []
        for file in files:
            with Image.open(file) as image:
                rows.append(self.clip.of_images([image])[0].double().numpy())
        return np.stack(rows)


def features_of(seen: Sequence[Mapping[str, Any]]) -> Features:
    return np.array([one["features"] for one in seen])


def distance(pictures: Features, reference: Features, prompts: Sequence[int]) -> Distance:
    """Return the distance of pictures from reference pictures.

    `prompts` says of each picture whose it is: pictures of one prompt resemble each other, so the error is the jackknife's that
    leaves out one prompt at a time. Raises `BenchError` where fewer than two pictures are left without one.
    """
    groups = np.unique(np.asarray(prompts, dtype=int), return_inverse=True)[1]
    count = int(groups.max(initial=-1)) + 1
    if count < 2 or len(pictures) - np.bincount(groups).max() < 2:
        raise BenchError(f"{len(pictures)} pictures of {count} prompts; expected more, to tell how sure the distance is")
    among, across = kernel(pictures, pictures), kernel(pictures, reference)
    np.fill_diagonal(among, 0)
    to_all, to_reference, sizes = (np.bincount(groups, sums) for sums in (among.sum(1), across.mean(1), np.ones(len(groups))))
    inside = np.array([among[np.ix_(groups == group, groups == group)].sum() for group in range(count)])
    of_reference = _mean_of_pairs(kernel(reference, reference))

    def of(total: Any, cross: Any, size: Any) -> Any:
        return SCALE * (total / (size * (size - 1)) + of_reference - 2 * cross / size)

    value = of(among.sum(), to_reference.sum(), len(pictures))
    left_out = of(among.sum() - 2 * to_all + inside, to_reference.sum() - to_reference, len(pictures) - sizes)
    error = np.sqrt((count - 1) / count * ((left_out - left_out.mean()) ** 2).sum())
    return Distance(float(value), float(error))


def kernel(x: Features, y: Features) -> Features:
    """Return k of each row of x with each of y."""
    squares = (x**2).sum(axis=1)[:, None] + (y**2).sum(axis=1) - 2 * x @ y.T
    return np.exp(-np.maximum(squares, 0) / (2 * WIDTH**2))


def _mean_of_pairs(among: Features) -> float:
    count = len(among)
    return (among.sum() - np.trace(among)) / (count * (count - 1))
