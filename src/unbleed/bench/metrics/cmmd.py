"""CMMD (arXiv 2401.09603): distance between the set of a method's images and a set of reference images.

    MMD² = mean k(x, x') + mean k(y, y') - 2 mean k(x, y),    k(x, y) = exp(-|x - y|² / (2 · 10²)),    times 1000

x and x' are the normalised CLIP embeddings (ViT-L/14 at 336 pixels) of two different images, y and y' those of two reference
images. Without the pairs of an image with itself, the estimate is unbiased for any number of images and can be negative. KID
and FID do the same with Inception's features; those weights are published as pickles, so neither is offered.

The distance belongs to a set of images: `run` stores each image's embedding, `score` is empty, `distance` computes the result.

Differences: the authors' code keeps the pairs of an image with itself, which makes a small set look more distant, and squeezes
images that are not square; transformers' processor crops the centre.
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
from .base import Metric
from .embedding import Clip
from .models import Pretrained

WIDTH, SCALE = 10.0, 1000.0
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")

ROWS = 1000  # images whose kernel with all others is in memory at once

Features = NDArray[np.float64]
"""(image, channel)."""


@dataclass(frozen=True)
class Distance:
    """A distance, and the distances with each prompt left out in turn, in the order of the prompts' indices.

    The difference of two distances from the same reference has the same form if both have the same prompts.
    """

    value: float
    left_out: Features  # (prompt,)

    @property
    def error(self) -> float:
        """The jackknife's standard error, for a fixed reference."""
        count = len(self.left_out)
        return float(np.sqrt((count - 1) / count * ((self.left_out - self.left_out.mean()) ** 2).sum()))

    def __sub__(self, other: Distance) -> Distance:
        return Distance(self.value - other.value, self.left_out - other.left_out)


class Output(TypedDict):
    features: list[float]


@dataclass(frozen=True)
class Cmmd(Metric):
    """Embeddings for the distance between the images of a method and reference images."""

    model: str = "openai/clip-vit-large-patch14-336"
    revision: str | None = None
    device: str = "cpu"
    dtype: str = "float32"

    name = "cmmd"
    output_type = Output
    scores = ()

    @cached_property
    def clip(self) -> Clip:
        return Clip(Pretrained(self.model, "CLIPModel", self.revision, self.device, self.dtype))

    @property
    def fingerprint(self) -> str:
        return fingerprints.of_values(metric="cmmd 1", model=self.clip.fingerprint, dtype=self.dtype)

    def run(self, images: Sequence[Image.Image], cases: Sequence[Case]) -> list[dict[str, Any]]:
        return [{"features": [round(value, 6) for value in row]} for row in self.clip.of_images(images).tolist()]

    def score(self, case: Case, output: Mapping[str, Any]) -> dict[str, float]:
        return {}

    def reference(self, folder: Path, *, on_progress: Callable[[int, int], None] = lambda done, total: None) -> Features:
        """Return the features of the images in a folder; raise `BenchError` for fewer than two or an unreadable one."""
        files = sorted(file for file in folder.rglob("*") if file.suffix.lower() in SUFFIXES)
        if len(files) < 2:
            raise BenchError(f"{folder} has {len(files)} images; expected at least 2 reference images, {', '.join(SUFFIXES)}")
        rows = []
        for done, file in enumerate(files):
            on_progress(done, len(files))
            try:
                with open_image(file) as image:
                    rows.append(self.clip.of_images([image])[0].double().numpy())
            except (OSError, ValueError, SyntaxError) as error:
                raise BenchError(f"{file} is not a readable image ({error}); remove it from the reference") from error
        on_progress(len(files), len(files))
        return np.stack(rows)


def features_of(outputs: Sequence[Mapping[str, Any]]) -> Features:
    """Return the features in outputs of `Cmmd.run`; raise `BenchError` if their lengths differ."""
    lengths = {len(output["features"]) for output in outputs}
    if len(lengths) > 1:
        raise BenchError(f"the outputs of cmmd have {len(lengths)} lengths; run it again: unbleed bench score")
    return np.array([output["features"] for output in outputs])


def distance(images: Features, reference: Features, prompts: Sequence[int], *, of_reference: float | None = None) -> Distance:
    """Return the distance between images and reference images.

    Images of one prompt are correlated, so the jackknife leaves out one prompt at a time; `prompts` has the index of each
    image's prompt. `of_reference` is `mean_of_pairs(reference)` if that is known already. Raises `BenchError` if leaving out a
    prompt leaves fewer than two images.
    """
    groups = np.unique(np.asarray(prompts, dtype=int), return_inverse=True)[1]
    count = int(groups.max(initial=-1)) + 1
    if count < 2 or len(images) - np.bincount(groups).max() < 2:
        raise BenchError(f"{len(images)} images of {count} prompts; expected more, to estimate the distance's error")
    of_reference = mean_of_pairs(reference) if of_reference is None else of_reference
    sums = (_sums(images, images) - 1, _sums(images, reference) / len(reference), np.ones(len(groups)))
    to_all, to_reference, sizes = (np.bincount(groups, of) for of in sums)
    own = [images[groups == group] for group in range(count)]
    within = np.array([_sums(group, group).sum() - len(group) for group in own])

    def mmd(total: Any, cross: Any, size: Any) -> Any:
        return SCALE * (total / (size * (size - 1)) + of_reference - 2 * cross / size)

    value = mmd(to_all.sum(), to_reference.sum(), len(images))
    left_out = mmd(to_all.sum() - 2 * to_all + within, to_reference.sum() - to_reference, len(images) - sizes)
    return Distance(float(value), left_out)


def mean_of_pairs(features: Features) -> float:
    """Return the mean of k over all pairs of different rows."""
    return float((_sums(features, features) - 1).sum() / (len(features) * (len(features) - 1)))


def kernel(x: Features, y: Features) -> Features:
    """Return k of each row of x with each row of y."""
    squares = (x**2).sum(axis=1)[:, None] + (y**2).sum(axis=1) - 2 * x @ y.T
    return np.exp(-np.maximum(squares, 0) / (2 * WIDTH**2))


def _sums(x: Features, y: Features) -> Features:
    """Return, for each row of x, the sum of k with the rows of y, shape (row,). A row has k = 1 with itself."""
    return np.concatenate([kernel(x[first : first + ROWS], y).sum(axis=1) for first in range(0, len(x), ROWS)])
