"""ImageReward (arXiv 2304.05977; ImageReward/ImageReward.py at 0f5fa3e2): a reward learnt from human rankings.

BLIP's text encoder reads the prompt, at most 35 tokens including [CLS], and attends to the image of 224 pixels. Five linear
layers without activations map its first position to a number; the reward is (number - 0.1672) / 1.0333.

The checkpoint (ImageReward.pt of THUDM/ImageReward on the hub, Apache-2.0) is a pickle with BLIP's own names. Pickles are not
read; a safetensors file converted from it is. Its tensors are renamed to those of transformers' BLIP, which is the same
network. The config follows from the tensors' shapes; attention heads are 64 wide, as in every BLIP.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypedDict

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from ..plan import fingerprints
from ..plan.cases import Case
from .base import Metric, Score
from .models import Pretrained, dtype_of, fill, read_weights, to_device, weights_file

CHECKPOINT = "ImageReward.pt of THUDM/ImageReward"
MEAN, DEVIATION = 0.16717362830052426, 1.0333394966054072
PROMPT_LENGTH = 35
BATCH = 32
HEAD = 64  # channels per attention head

_PIXEL_MEAN = np.array([0.48145466, 0.4578275, 0.40821073], dtype=np.float32)
_PIXEL_DEVIATION = np.array([0.26862954, 0.26130258, 0.27577711], dtype=np.float32)

_RENAMED = (  # (name in ImageReward, name in transformers)
    (r"^blip\.", ""),
    (r"^visual_encoder\.cls_token", "vision_model.embeddings.class_embedding"),
    (r"^visual_encoder\.pos_embed", "vision_model.embeddings.position_embedding"),
    (r"^visual_encoder\.patch_embed\.proj", "vision_model.embeddings.patch_embedding"),
    (r"^visual_encoder\.norm", "vision_model.post_layernorm"),
    (r"^visual_encoder\.blocks\.(\d+)\.norm([12])", r"vision_model.encoder.layers.\1.layer_norm\2"),
    (r"^visual_encoder\.blocks\.(\d+)\.attn\.proj", r"vision_model.encoder.layers.\1.self_attn.projection"),
    (r"^visual_encoder\.blocks\.(\d+)\.attn", r"vision_model.encoder.layers.\1.self_attn"),
    (r"^visual_encoder\.blocks\.(\d+)\.mlp", r"vision_model.encoder.layers.\1.mlp"),
)
_UNUSED = ("vision_proj.", "text_proj.", "itm_head.", "text_encoder.embeddings.position_ids")


def renamed(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return ImageReward's tensors under the names of transformers' BLIP; those of the head keep their names."""
    found: dict[str, Tensor] = {}
    for old, tensor in tensors.items():
        name = old
        for pattern, replacement in _RENAMED:
            name = re.sub(pattern, replacement, name)
        found[name] = tensor
    return found


def pixels_of(image: Image.Image, side: int) -> Tensor:
    """Return (rgb, side, side): the shorter side resized, the centre cropped, normalised as for CLIP."""
    width, height = image.size
    short = min(width, height)
    image = image.convert("RGB").resize((side * width // short, side * height // short), Image.Resampling.BICUBIC)
    left, top = round((image.width - side) / 2), round((image.height - side) / 2)
    values = np.asarray(image.crop((left, top, left + side, top + side)), dtype=np.float32) / 255
    return torch.from_numpy((values - _PIXEL_MEAN) / _PIXEL_DEVIATION).permute(2, 0, 1)


class Output(TypedDict):
    reward: float


@dataclass(frozen=True)
class ImageReward(Metric):
    """Reward learnt from human rankings."""

    model: str = "ImageReward.safetensors"  # a file
    tokenizer: str = "google-bert/bert-base-uncased"
    device: str = "cpu"
    dtype: str = "float32"

    name = "image-reward"
    output_type = Output
    scores = (Score("image_reward", "ImageReward", "reward learnt from human rankings", fraction=False),)

    @cached_property
    def reader(self) -> Pretrained:
        return Pretrained(self.tokenizer, "AutoTokenizer", device=self.device)

    @cached_property
    def network(self) -> tuple[Any, nn.Module]:
        """BLIP, and the head that maps the text's first position to a number."""
        tensors = renamed(read_weights(weights_file(self.model, CHECKPOINT)))
        head_tensors = {name.removeprefix("mlp.layers."): t for name, t in tensors.items() if name.startswith("mlp.")}
        blip = _blip({name: t for name, t in tensors.items() if not name.startswith("mlp.")}, self.model)
        head = _head(head_tensors, self.model)
        return to_device(blip, self.device, dtype_of(self.dtype)), to_device(head, self.device)

    @property
    def fingerprint(self) -> str:
        file = weights_file(self.model, CHECKPOINT)
        models = [fingerprints.of_files(file.parent, [file]), self.reader.fingerprint]
        return fingerprints.of_values(metric="image-reward 1", models=models, dtype=self.dtype)

    @torch.inference_mode()
    def run(self, images: Sequence[Image.Image], cases: Sequence[Case]) -> list[dict[str, Any]]:
        blip, head = self.network
        side = blip.config.vision_config.image_size
        rewards: list[float] = []
        for start in range(0, len(images), BATCH):
            part = slice(start, start + BATCH)
            pixels = torch.stack([pixels_of(image, side) for image in images[part]])
            tokens = self.reader.tokens([case.prompt for case in cases[part]], PROMPT_LENGTH)
            patches = blip.vision_model(
                pixels.to(self.device, dtype_of(self.dtype))
            ).last_hidden_state  # (image, patch, channel)
            text = blip.text_encoder(**tokens, encoder_hidden_states=patches).last_hidden_state  # (image, token, channel)
            rewards += ((head(text[:, 0].float())[:, 0] - MEAN) / DEVIATION).tolist()
        return [{"reward": reward} for reward in rewards]

    def score(self, case: Case, output: Mapping[str, Any]) -> dict[str, float]:
        return {"image_reward": output["reward"]}


def _blip(tensors: Mapping[str, Tensor], source: str) -> Any:
    from transformers import BlipConfig, BlipForImageTextRetrieval

    def size(name: str, dimension: int) -> int:
        return tensors[name].shape[dimension] if name in tensors else HEAD  # `fill` reports missing tensors

    def layers(pattern: str) -> int:
        return len({found[1] for name in tensors if (found := re.match(pattern, name))})

    width, patch = (size("vision_model.embeddings.patch_embedding.weight", dimension) for dimension in (0, 2))
    patches = size("vision_model.embeddings.position_embedding", 1) - 1
    vocabulary, text_width = (size("text_encoder.embeddings.word_embeddings.weight", dimension) for dimension in (0, 1))
    config = BlipConfig(
        vision_config={
            "hidden_size": width,
            "intermediate_size": size("vision_model.encoder.layers.0.mlp.fc1.weight", 0),
            "num_hidden_layers": layers(r"vision_model\.encoder\.layers\.(\d+)"),
            "num_attention_heads": width // HEAD,
            "image_size": round(patches**0.5) * patch,
            "patch_size": patch,
            "layer_norm_eps": 1e-6,  # BLIP's own; transformers' default is ten times as large
        },
        text_config={
            "vocab_size": vocabulary,
            "hidden_size": text_width,
            "encoder_hidden_size": width,
            "intermediate_size": size("text_encoder.encoder.layer.0.intermediate.dense.weight", 0),
            "num_hidden_layers": layers(r"text_encoder\.encoder\.layer\.(\d+)"),
            "num_attention_heads": text_width // HEAD,
            "max_position_embeddings": size("text_encoder.embeddings.position_embeddings.weight", 0),
        },
    )
    blip = BlipForImageTextRetrieval(config)
    fill(blip, tensors, source, without=_UNUSED)
    return blip.eval().requires_grad_(False)


def _head(tensors: Mapping[str, Tensor], source: str) -> nn.Module:
    """Return the linear layers; indices without tensors were dropout in training and become identities."""
    weights = {int(name.partition(".")[0]): t for name, t in tensors.items() if name.endswith(".weight")}
    layers = [
        nn.Linear(weights[index].shape[1], weights[index].shape[0]) if index in weights else nn.Identity()
        for index in range(max(weights, default=0) + 1)
    ]
    head = nn.Sequential(*layers)
    fill(head, tensors, source)
    return head.eval().requires_grad_(False)
