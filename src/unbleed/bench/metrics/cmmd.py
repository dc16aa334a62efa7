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

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ...errors import BenchError
from ...files import open_image
from ..plan import fingerprints
from ..plan.cases import Case
from .embedding import Clip
from .models import Pretrained

WIDTH, SCALE = 10.0, 1000.0
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")

ROWS = 1000  # pictures whose kernel with all others is held at once

Features = NDArray[np.float64]
"""(picture, channel)."""


@dataclass(frozen=True)
class Distance:
    """A distance of pictures of several prompts, and what it is without each of the prompts, in the order of their numbers.

    The difference of two distances from the same reference pictures is one too, where both are of the same prompts.
    """

    value: float
    left_out: Features  # (prompt,)

    @property
    def error(self) -> float:
        """The standard error, for the reference as given: the jackknife's."""
        count = len(self.left_out)
        return float(np.sqrt((count - 1) / count * ((self.left_out - self.left_out.mean()) ** 2).sum()))

    def __sub__(self, other: Distance) -> Distance:
        return Distance(self.value - other.value, self.left_out - other.left_out)


class Sees(TypedDict):
    features: list[float]


@dataclass(frozen=True)
class Cmmd:
    model: str = "openai/clip-vit-large-patch14-336"
    revision: str | None = None
    device: str = "cpu"
    dtype: str = "float32"

    name = "cmmd"
    sees = Sees
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

    def reference(self, folder: Path, *, report: Callable[[int, int], None] = lambda done, total: None) -> Features:
        """Return the features of the pictures of a folder; raise `BenchError` for fewer than two, or one that is none."""
        files = sorted(file for file in folder.rglob("*") if file.suffix.lower() in SUFFIXES)
        if len(files) < 2:
            raise BenchError(f"{folder} has {len(files)} pictures; expected the reference pictures, {', '.join(SUFFIXES)}")
        rows = []
        for done, file in enumerate(files):
            report(done, len(files))
            try:
                with open_image(file) as image:
                    rows.append(self.clip.of_images([image])[0].double().numpy())
            except (OSError, ValueError, SyntaxError) as error:
                raise BenchError(f"{file} is no picture that can be read ({error}); remove it from the reference") from error
        report(len(files), len(files))
        return np.stack(rows)


def features_of(seen: Sequence[Mapping[str, Any]]) -> Features:
    lengths = {len(one["features"]) for one in seen}
    if len(lengths) > 1:
        raise BenchError(f"cmmd saw features of {len(lengths)} lengths; let it look again: unbleed bench score")
    return np.array([one["features"] for one in seen])


def distance(pictures: Features, reference: Features, prompts: Sequence[int], *, of_reference: float | None = None) -> Distance:
    """Return the distance of pictures from reference pictures.

    `prompts` says of each picture whose it is: pictures of one prompt resemble each other, so the error is the jackknife's that
    leaves out one prompt at a time. `of_reference` is the mean over its pairs (`mean_of_pairs`), where that is known already.
    Raises `BenchError` where fewer than two pictures are left without one.
    """
    groups = np.unique(np.asarray(prompts, dtype=int), return_inverse=True)[1]
    count = int(groups.max(initial=-1)) + 1
    if count < 2 or len(pictures) - np.bincount(groups).max() < 2:
        raise BenchError(f"{len(pictures)} pictures of {count} prompts; expected more, to tell how sure the distance is")
    of_reference = mean_of_pairs(reference) if of_reference is None else of_reference
    sums = (_sums(pictures, pictures) - 1, _sums(pictures, reference) / len(reference), np.ones(len(groups)))
    to_all, to_reference, sizes = (np.bincount(groups, of) for of in sums)
    own = [pictures[groups == group] for group in range(count)]
    inside = np.array([_sums(of, of).sum() - len(of) for of in own])

    def of(total: Any, cross: Any, size: Any) -> Any:
        return SCALE * (total / (size * (size - 1)) + of_reference - 2 * cross / size)

    value = of(to_all.sum(), to_reference.sum(), len(pictures))
    left_out = of(to_all.sum() - 2 * to_all + inside, to_reference.sum() - to_reference, len(pictures) - sizes)
    return Distance(float(value), left_out)


def mean_of_pairs(of: Features) -> float:
    """Return the mean of k over all pairs of two different rows."""
    return float((_sums(of, of) - 1).sum() / (len(of) * (len(of) - 1)))


def kernel(x: Features, y: Features) -> Features:
    """Return k of each row of x with each of y."""
    squares = (x**2).sum(axis=1)[:, None] + (y**2).sum(axis=1) - 2 * x @ y.T
    return np.exp(-np.maximum(squares, 0) / (2 * WIDTH**2))


def _sums(x: Features, y: Features) -> Features:
    """Return for each row of x the sum of k with the rows of y, (row,); a row has k = 1 with itself."""
    return np.concatenate([kernel(x[first : first + ROWS], y).sum(axis=1) for first in range(0, len(x), ROWS)])
