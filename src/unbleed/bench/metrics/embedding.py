"""CLIP embeddings of images and texts, as unit vectors of one space."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from .models import Pretrained

BATCH = 64  # images, or texts, per forward


@dataclass(frozen=True)
class Clip:
    """A CLIP model of transformers."""

    pretrained: Pretrained

    @property
    def fingerprint(self) -> str:
        return self.pretrained.fingerprint

    @torch.inference_mode()
    def of_images(self, images: Sequence[Image.Image]) -> Tensor:
        """Return (image, channel), rows of length 1, float32 on the CPU."""
        network = self.pretrained.network
        rows = [
            network.get_image_features(**self.pretrained.pixels(images[start : start + BATCH])).pooler_output
            for start in range(0, len(images), BATCH)
        ]
        return F.normalize(torch.cat(rows).float().cpu(), dim=-1)

    @torch.inference_mode()
    def of_texts(self, texts: Sequence[str]) -> Tensor:
        """Return (text, channel), as `of_images` does; long texts are truncated."""
        network = self.pretrained.network
        length = network.config.text_config.max_position_embeddings
        rows = [
            network.get_text_features(**self.pretrained.tokens(texts[start : start + BATCH], length)).pooler_output
            for start in range(0, len(texts), BATCH)
        ]
        return F.normalize(torch.cat(rows).float().cpu(), dim=-1)
