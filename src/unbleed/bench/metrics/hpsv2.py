"""HPS v2 (arXiv 2306.09341; hpsv2/img_score.py at 708ffb31): cosine similarity of a CLIP-H trained on human preferences.

The image is resized to 224 pixels on its longer side and padded with black. The prompt is truncated at 77 tokens; there is no
template. (The official code prints the mean over images times 100.)

The checkpoints (xswu/HPSv2 on the hub, Apache-2.0) are pickles of open_clip's ViT-H-14. Pickles are not read; a safetensors
file converted from one is. Its tensors are renamed to those of transformers' CLIP, which is the same network.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypedDict

from PIL import Image, ImageOps
from torch import Tensor

from ..plan import fingerprints
from ..plan.cases import Case
from .base import Metric, Score
from .embedding import Clip
from .models import Pretrained, dtype_of, fill, read_weights, to_device, weights_file

CHECKPOINT = "HPS_v2.1_compressed.pt of xswu/HPSv2"

_RENAMED = (  # (name in open_clip, name in transformers)
    (r"^visual\.class_embedding", "vision_model.embeddings.class_embedding"),
    (r"^visual\.positional_embedding", "vision_model.embeddings.position_embedding.weight"),
    (r"^visual\.conv1", "vision_model.embeddings.patch_embedding"),
    (r"^visual\.ln_pre", "vision_model.pre_layrnorm"),
    (r"^visual\.ln_post", "vision_model.post_layernorm"),
    (r"^visual\.proj$", "visual_projection.weight"),
    (r"^visual\.transformer", "vision_model.transformer"),
    (r"^token_embedding", "text_model.embeddings.token_embedding"),
    (r"^positional_embedding", "text_model.embeddings.position_embedding.weight"),
    (r"^ln_final", "text_model.final_layer_norm"),
    (r"^text_projection$", "text_projection.weight"),
    (r"^transformer", "text_model.transformer"),
    (r"transformer\.resblocks", "encoder.layers"),
    (r"\.ln_([12])\.", r".layer_norm\1."),
    (r"\.c_fc\.", ".fc1."),
    (r"\.c_proj\.", ".fc2."),
    (r"\.attn\.", ".self_attn."),
)


def renamed(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return open_clip's tensors under the names of transformers' CLIP, with queries, keys and values split."""
    found: dict[str, Tensor] = {}
    for old, tensor in tensors.items():
        name = old
        for pattern, replacement in _RENAMED:
            name = re.sub(pattern, replacement, name)
        if name.endswith("projection.weight"):
            found[name] = tensor.T.contiguous()  # (width, channel) in open_clip, (channel, width) in a linear layer
        elif joined := re.fullmatch(r"(.*)\.in_proj_(weight|bias)", name):
            for part, rows in zip("qkv", tensor.chunk(3), strict=True):
                found[f"{joined[1]}.{part}_proj.{joined[2]}"] = rows
        else:
            found[name] = tensor
    return found


@dataclass(frozen=True)
class _Checkpoint(Pretrained):
    """A CLIP with the config and processor of `model` and the weights in `file`."""

    file: str = ""

    @cached_property
    def network(self) -> Any:
        from transformers import CLIPModel

        tensors = renamed(read_weights(weights_file(self.file, CHECKPOINT)))
        network = CLIPModel(self.config)
        fill(network, tensors, self.file)
        network.eval().requires_grad_(False)
        return to_device(network, self.device, dtype_of(self.dtype))

    @cached_property
    def fingerprint(self) -> str:
        file = weights_file(self.file, CHECKPOINT)
        return f"{fingerprints.of_files(file.parent, [file])} {super().fingerprint}"


class Output(TypedDict):
    cosine: float


@dataclass(frozen=True)
class HpsV2(Metric):
    """Cosine similarity of a CLIP that was trained on human preferences."""

    model: str = "HPS_v2.1_compressed.safetensors"  # a file
    backbone: str = "laion/CLIP-ViT-H-14-laion2B-s32B-b79K"  # for config, tokenizer and image processor
    revision: str | None = None  # of the backbone
    device: str = "cpu"
    dtype: str = "float32"

    name = "hpsv2"
    output_type = Output
    scores = (Score("hpsv2", "HPS v2", "cosine similarity of a CLIP trained on human preferences", fraction=False),)

    @cached_property
    def clip(self) -> Clip:
        return Clip(_Checkpoint(self.backbone, "CLIPModel", self.revision, self.device, self.dtype, file=self.model))

    @property
    def fingerprint(self) -> str:
        return fingerprints.of_values(metric="hpsv2 1", model=self.clip.fingerprint, dtype=self.dtype)

    def run(self, images: Sequence[Image.Image], cases: Sequence[Case]) -> list[dict[str, Any]]:
        side = self.clip.pretrained.network.config.vision_config.image_size
        square = [ImageOps.pad(image.convert("RGB"), (side, side), Image.Resampling.BICUBIC, color=0) for image in images]
        cosines = (self.clip.of_images(square) * self.clip.of_texts([case.prompt for case in cases])).sum(dim=-1)
        return [{"cosine": cosine} for cosine in cosines.tolist()]

    def score(self, case: Case, output: Mapping[str, Any]) -> dict[str, float]:
        return {"hpsv2": output["cosine"]}
