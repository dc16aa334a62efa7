"""What guidance costs on each kind of model, counted on shapes alone: no weights, no memory, half a minute.

    python benchmarks/families.py            # the table of docs/families.md
    python benchmarks/families.py --write    # puts it there

Sizes are those of the published configurations, which are diffusers' own defaults unless given here. Each model has its own
picture size; "a step" is one forward, without a negative prompt.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import diffusers
import torch
from torch import nn

import unbleed
from unbleed.attention import family_of

PAGE = Path(__file__).parents[1] / "docs" / "families.md"
BEGIN, END = "<!-- table: python benchmarks/families.py --write -->", "<!-- end of table -->"
SDXL: dict[str, Any] = {
    "sample_size": 128,
    "block_out_channels": (320, 640, 1280),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "transformer_layers_per_block": (1, 2, 10),
    "attention_head_dim": (5, 10, 20),
    "cross_attention_dim": 2048,
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
}
KLEIN: dict[str, Any] = {"num_layers": 5, "num_single_layers": 20, "num_attention_heads": 24, "joint_attention_dim": 7680}

# name, denoiser class, what differs from its defaults, side of its pictures, pixels per latent
MODELS: list[tuple[str, str, dict[str, Any], int, int]] = [
    ("Stable Diffusion 1.5", "UNet2DConditionModel", {"sample_size": 64, "cross_attention_dim": 768}, 512, 8),
    ("Stable Diffusion XL", "UNet2DConditionModel", SDXL, 1024, 8),
    (
        "Kolors",
        "UNet2DConditionModel",
        SDXL | {"encoder_hid_dim": 4096, "encoder_hid_dim_type": "text_proj", "projection_class_embeddings_input_dim": 5632},
        1024,
        8,
    ),
    (
        "Stable Diffusion 3.5 large",
        "SD3Transformer2DModel",
        {
            "num_layers": 38,
            "num_attention_heads": 38,
            "qk_norm": "rms_norm",
            "caption_projection_dim": 2432,
            "pos_embed_max_size": 192,
        },
        1024,
        8,
    ),
    ("FLUX.1 dev, Kontext", "FluxTransformer2DModel", {"guidance_embeds": True}, 1024, 8),
    ("Chroma", "ChromaTransformer2DModel", {}, 1024, 8),
    ("FLUX.2 dev", "Flux2Transformer2DModel", {}, 1024, 8),
    ("FLUX.2 klein 4B", "Flux2Transformer2DModel", KLEIN | {"guidance_embeds": False}, 1024, 8),
    ("Z-Image, Z-Image-Turbo", "ZImageTransformer2DModel", {}, 1024, 8),
    ("Qwen-Image, Qwen-Image-Edit", "QwenImageTransformer2DModel", {}, 1024, 8),
    ("Qwen-Image 2.1", "QwenImage21Transformer2DModel", {}, 1024, 16),
    ("Krea 2", "Krea2Transformer2DModel", {}, 1024, 8),
    ("Lumina 2", "Lumina2Transformer2DModel", {"cap_feat_dim": 2304}, 1024, 8),
    ("HunyuanImage 2.1", "HunyuanImageTransformer2DModel", {"text_embed_2_dim": 1472}, 2048, 32),
    ("PixArt-sigma", "PixArtTransformer2DModel", {"caption_channels": 4096, "use_additional_conditions": False}, 1024, 8),
    ("Sana 1.6B", "SanaTransformer2DModel", {}, 1024, 32),
]


class Around:
    """As much of a pipeline as an estimate looks at."""

    def __init__(self, denoiser: Any, pixels: int) -> None:
        self.vae_scale_factor = pixels
        setattr(self, family_of(denoiser).pipeline_attribute, denoiser)


def row(name: str, kind: str, changes: dict[str, Any], side: int, pixels: int) -> str:
    with torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        denoiser: Any = nn.Module.to(getattr(diffusers, kind)(**changes), torch.bfloat16)  # diffusers' own warns
    found = unbleed.estimate(Around(denoiser, pixels), "syngen@paper", (side, side), forwards_per_step=1)
    size = sum(weight.numel() for weight in denoiser.parameters()) / 1e9
    layers = len(family_of(denoiser).layers(denoiser, None, "all").names)
    kept, saved = (f"{count / 2**30:.2f}" for count in (found.activation_bytes, found.activation_bytes_checkpointed))
    return f"| {name} | {side} | {size:.2f} | {layers} | {found.evaluation:.2f} | {kept} | {saved} |"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--write", action="store_true", help="put the table into docs/families.md")
    parser.add_argument("--only", help="models whose name has this")
    asked = parser.parse_args()
    lines = [
        "| model | side | billion parameters | layers read | forwards per evaluation | GiB kept | with checkpointing |",
        "|---|---|---|---|---|---|---|",
    ]
    for model in MODELS:
        if asked.only and asked.only not in model[0]:
            continue
        begun = time.process_time()
        lines.append(row(*model))
        print(f"{model[0]}: {time.process_time() - begun:.1f} s", file=sys.stderr)
    table = "\n".join(lines)
    print(table)
    if asked.write:
        before, rest = PAGE.read_text(encoding="utf-8").split(BEGIN)
        PAGE.write_text(f"{before}{BEGIN}\n\n{table}\n\n{END}{rest.split(END)[1]}", encoding="utf-8")


if __name__ == "__main__":
    main()
