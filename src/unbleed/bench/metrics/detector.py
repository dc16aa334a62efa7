"""Mask2Former (arXiv 2112.01527) of transformers: instance segmentation of an image.

Postprocessing follows mmdet's instance head: the 100 most probable pairs of query and class; a detection's confidence is the
class probability times the mean mask probability over the mask's pixels; its box is the mask's bounding box.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from .models import Pretrained

MOST = 100  # detections per image
BATCH = 8  # images per forward

PixelBox = tuple[int, int, int, int]  # left, top, right, bottom in pixels; right and bottom are exclusive


class Detection(NamedTuple):
    """A detected object."""

    label: str
    confidence: float
    box: PixelBox
    mask: Tensor  # bool, (height, width)


@dataclass(frozen=True)
class Detector:
    """A Mask2Former; detections need a confidence above `min_confidence`."""

    pretrained: Pretrained
    min_confidence: float

    @property
    def fingerprint(self) -> str:
        return self.pretrained.fingerprint

    @property
    def labels(self) -> dict[int, str]:
        return self.pretrained.config.id2label

    @torch.inference_mode()
    def detect(self, images: Sequence[Image.Image]) -> list[list[Detection]]:
        """Return the detections in each image, the most confident first."""
        found: list[list[Detection]] = [[] for _ in images]
        by_size: dict[tuple[int, int], list[int]] = {}  # equal sizes need no padding, which would change the output
        for number, image in enumerate(images):
            by_size.setdefault(image.size, []).append(number)
        for (width, height), numbers in by_size.items():
            for start in range(0, len(numbers), BATCH):
                part = numbers[start : start + BATCH]
                pixels = self.pretrained.pixels([images[number] for number in part])
                output = self.pretrained.network(**pixels)
                content = pixels["pixel_mask"][0].bool()  # without the padding to a multiple of a size
                unpadded = (int(content.any(dim=1).sum()), int(content.any(dim=0).sum()))
                for number, classes, masks in zip(
                    part, output.class_queries_logits.float(), output.masks_queries_logits.float(), strict=True
                ):
                    sizes = (tuple(pixels["pixel_values"].shape[-2:]), unpadded, (height, width))
                    found[number] = self._detections(classes, masks, sizes)
        return found

    def _detections(
        self, classes: Tensor, masks: Tensor, sizes: tuple[tuple[int, ...], tuple[int, int], tuple[int, int]]
    ) -> list[Detection]:
        padded, unpadded, original = sizes
        probability, label, query = top_pairs(classes, self.min_confidence)
        if not len(probability):
            return []
        whole = F.interpolate(masks[query][None], size=padded, mode="bilinear", align_corners=False)
        cropped = whole[..., : unpadded[0], : unpadded[1]]
        resized = F.interpolate(cropped, size=original, mode="bilinear", align_corners=False)[0]
        confidence = probability * mean_inside(resized)
        return [
            Detection(self.labels[int(label[k])], float(confidence[k]), box, mask)
            for k in confidence.argsort(descending=True, stable=True).tolist()
            if confidence[k] > self.min_confidence and (box := box_of(mask := (resized[k] > 0).cpu()))
        ]


def top_pairs(classes: Tensor, minimum: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return probability, class and query of the most probable pairs above `minimum`.

    `classes` are logits (query, class), the last class being "no object".
    """
    probabilities = classes.softmax(dim=-1)[:, :-1]
    top = probabilities.flatten().topk(min(MOST, probabilities.numel()))
    above = top.values > minimum
    index = top.indices[above]
    return top.values[above], index % probabilities.shape[1], index // probabilities.shape[1]


def mean_inside(masks: Tensor) -> Tensor:
    """Return the mean probability over each mask's own pixels, shape (mask,); `masks` are logits (mask, height, width)."""
    inside = (masks > 0).flatten(1).float()
    return (masks.sigmoid().flatten(1) * inside).sum(dim=1) / (inside.sum(dim=1) + 1e-6)


def box_of(mask: Tensor) -> PixelBox | None:
    """Return the bounding box of a mask (height, width); None for an empty mask."""
    rows, columns = mask.any(dim=1).nonzero().flatten().tolist(), mask.any(dim=0).nonzero().flatten().tolist()
    return (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1) if rows else None
