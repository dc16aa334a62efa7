"""Mask2Former (arXiv 2112.01527) of transformers: the things in a picture, each with its outline.

How its answer is read is that of mmdet's instance head: of all pairs of query and class the 100 surest; a thing's confidence is
the class's probability times the mean probability of the mask's own pixels; its box is that of the mask.
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

MOST = 100  # things in a picture
BATCH = 8  # pictures in one forward

PixelBox = tuple[int, int, int, int]  # left, top, right, bottom, in pixels, the last two behind the last pixel


class Thing(NamedTuple):
    label: str
    confidence: float
    box: PixelBox
    mask: Tensor  # of bool (height, width)


@dataclass(frozen=True)
class Detector:
    pretrained: Pretrained
    least: float  # the confidence above which a thing is there

    @property
    def fingerprint(self) -> str:
        return self.pretrained.fingerprint

    @property
    def labels(self) -> dict[int, str]:
        return self.pretrained.config.id2label

    @torch.inference_mode()
    def look(self, images: Sequence[Image.Image]) -> list[list[Thing]]:
        """Return the things in each picture, the surest first."""
        found: list[list[Thing]] = [[] for _ in images]
        by_size: dict[tuple[int, int], list[int]] = {}  # pictures of one size need no padding, which would be seen
        for number, image in enumerate(images):
            by_size.setdefault(image.size, []).append(number)
        for (width, height), numbers in by_size.items():
            for start in range(0, len(numbers), BATCH):
                part = numbers[start : start + BATCH]
                pixels = self.pretrained.pixels([images[number] for number in part])
                answer = self.pretrained.network(**pixels)
                inside = pixels["pixel_mask"][0].bool()  # of a size that is padded to a multiple, what is picture
                seen = (int(inside.any(dim=1).sum()), int(inside.any(dim=0).sum()))
                for number, classes, masks in zip(
                    part, answer.class_queries_logits.float(), answer.masks_queries_logits.float(), strict=True
                ):
                    sizes = (tuple(pixels["pixel_values"].shape[-2:]), seen, (height, width))
                    found[number] = self._read(classes, masks, sizes)
        return found

    def _read(
        self, classes: Tensor, masks: Tensor, sizes: tuple[tuple[int, ...], tuple[int, int], tuple[int, int]]
    ) -> list[Thing]:
        padded, seen, original = sizes
        sure, label, query = surest_pairs(classes, self.least)
        if not len(sure):
            return []
        whole = F.interpolate(masks[query][None], size=padded, mode="bilinear", align_corners=False)
        picture = F.interpolate(whole[..., : seen[0], : seen[1]], size=original, mode="bilinear", align_corners=False)[0]
        confidence = sure * mean_inside(picture)
        things = [
            Thing(self.labels[int(label[k])], float(confidence[k]), box, mask)
            for k in confidence.argsort(descending=True, stable=True).tolist()
            if confidence[k] > self.least and (box := box_of(mask := (picture[k] > 0).cpu()))
        ]
        return things


def surest_pairs(classes: Tensor, least: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return probability, class and query of the surest pairs above `least`; `classes` are logits (query, class or none)."""
    sure = classes.softmax(dim=-1)[:, :-1]
    top = sure.flatten().topk(min(MOST, sure.numel()))
    kept = top.values > least
    place = top.indices[kept]
    return top.values[kept], place % sure.shape[1], place // sure.shape[1]


def mean_inside(masks: Tensor) -> Tensor:
    """Return (thing,): the mean probability of the pixels that are inside; `masks` are logits (thing, height, width)."""
    inside = (masks > 0).flatten(1).float()
    return (masks.sigmoid().flatten(1) * inside).sum(dim=1) / (inside.sum(dim=1) + 1e-6)


def box_of(mask: Tensor) -> PixelBox | None:
    """Return the box around a mask (height, width); None for an empty one."""
    rows, columns = mask.any(dim=1).nonzero().flatten().tolist(), mask.any(dim=0).nonzero().flatten().tolist()
    return (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1) if rows else None
