"""Tiny checkpoints with the names of open_clip and of ImageReward, and what their own codes compute of them.

The forwards are slow transcriptions of the published architectures on the published names: they know nothing of transformers.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor

Tensors = Mapping[str, Tensor]


def hps_checkpoint(clip_folder: Path, file: Path) -> Path:
    """Write random weights of a CLIP of the folder's sizes under open_clip's names."""
    sizes = {name: tuple(tensor.shape) for name, tensor in load_file(clip_folder / "model.safetensors").items()}
    width = sizes["vision_model.embeddings.class_embedding"][0]
    text_width = sizes["text_model.final_layer_norm.weight"][0]
    channels = sizes["visual_projection.weight"][0]
    shapes: dict[str, tuple[int, ...]] = {
        "visual.class_embedding": (width,),
        "visual.positional_embedding": sizes["vision_model.embeddings.position_embedding.weight"],
        "visual.conv1.weight": sizes["vision_model.embeddings.patch_embedding.weight"],
        "visual.proj": (width, channels),
        "positional_embedding": sizes["text_model.embeddings.position_embedding.weight"],
        "token_embedding.weight": sizes["text_model.embeddings.token_embedding.weight"],
        "text_projection": (text_width, channels),
        "logit_scale": (),
    }
    for name, of in (("visual.ln_pre", width), ("visual.ln_post", width), ("ln_final", text_width)):
        shapes |= {f"{name}.weight": (of,), f"{name}.bias": (of,)}
    for tower, of in (("visual.transformer", width), ("transformer", text_width)):
        for layer in range(2):
            at = f"{tower}.resblocks.{layer}"
            for norm in ("ln_1", "ln_2"):
                shapes |= {f"{at}.{norm}.weight": (of,), f"{at}.{norm}.bias": (of,)}
            shapes |= {f"{at}.attn.in_proj_weight": (3 * of, of), f"{at}.attn.in_proj_bias": (3 * of,)}
            shapes |= {f"{at}.attn.out_proj.weight": (of, of), f"{at}.attn.out_proj.bias": (of,)}
            shapes |= {f"{at}.mlp.c_fc.weight": (32, of), f"{at}.mlp.c_fc.bias": (32,)}
            shapes |= {f"{at}.mlp.c_proj.weight": (of, 32), f"{at}.mlp.c_proj.bias": (of,)}
    return _write(shapes, file)


def open_clip_image(t: Tensors, pixels: Tensor, heads: int) -> Tensor:
    """Return (image, channel) of pixels (image, rgb, height, width), as open_clip's VisionTransformer does."""
    patch = t["visual.conv1.weight"].shape[-1]
    x = F.conv2d(pixels, t["visual.conv1.weight"], stride=patch).flatten(2).transpose(1, 2)
    x = torch.cat([t["visual.class_embedding"].expand(len(x), 1, -1), x], dim=1) + t["visual.positional_embedding"]
    x = _norm(t, "visual.ln_pre", x)
    x = _open_clip_tower(t, "visual.transformer", x, heads, None)
    return _norm(t, "visual.ln_post", x[:, 0]) @ t["visual.proj"]


def open_clip_text(t: Tensors, tokens: Tensor, heads: int) -> Tensor:
    """Return (text, channel) of tokens (text, token), of which the largest is the end."""
    count = tokens.shape[1]
    x = t["token_embedding.weight"][tokens] + t["positional_embedding"][:count]
    causal = torch.full((count, count), float("-inf")).triu(1)
    x = _norm(t, "ln_final", _open_clip_tower(t, "transformer", x, heads, causal))
    return x[torch.arange(len(x)), tokens.argmax(dim=-1)] @ t["text_projection"]


def _open_clip_tower(t: Tensors, tower: str, x: Tensor, heads: int, mask: Tensor | None) -> Tensor:
    for layer in range(2):
        at = f"{tower}.resblocks.{layer}"
        y = _norm(t, f"{at}.ln_1", x)
        q, k, v = (y @ t[f"{at}.attn.in_proj_weight"].T + t[f"{at}.attn.in_proj_bias"]).chunk(3, dim=-1)
        x = x + _linear(t, f"{at}.attn.out_proj", _attend(q, k, v, heads, mask))
        y = _linear(t, f"{at}.mlp.c_fc", _norm(t, f"{at}.ln_2", x))
        x = x + _linear(t, f"{at}.mlp.c_proj", y * torch.sigmoid(1.702 * y))  # the tiny CLIP's, as OpenAI's
    return x


# -------------------------------------------------------------------------------------------------- ImageReward

VISION, TEXT, HEAD = 128, 64, 64  # widths, and that of a head


def image_reward_checkpoint(file: Path, vocabulary: int) -> Path:
    """Write random weights of a BLIP with its head under ImageReward's names."""
    shapes: dict[str, tuple[int, ...]] = {
        "blip.visual_encoder.cls_token": (1, 1, VISION),
        "blip.visual_encoder.pos_embed": (1, 5, VISION),
        "blip.visual_encoder.patch_embed.proj.weight": (VISION, 3, 16, 16),
        "blip.visual_encoder.patch_embed.proj.bias": (VISION,),
        "blip.vision_proj.weight": (8, VISION),
        "blip.vision_proj.bias": (8,),
        "blip.text_proj.weight": (8, TEXT),
        "blip.text_proj.bias": (8,),
        "blip.text_encoder.embeddings.word_embeddings.weight": (vocabulary, TEXT),
        "blip.text_encoder.embeddings.position_embeddings.weight": (40, TEXT),
        "blip.text_encoder.embeddings.position_ids": (1, 40),
    }

    def linear(name: str, into: int, of: int) -> None:
        shapes.update({f"{name}.weight": (into, of), f"{name}.bias": (into,)})

    def norm(name: str, of: int) -> None:
        shapes.update({f"{name}.weight": (of,), f"{name}.bias": (of,)})

    norm("blip.visual_encoder.norm", VISION)
    norm("blip.text_encoder.embeddings.LayerNorm", TEXT)
    for layer in range(2):
        at = f"blip.visual_encoder.blocks.{layer}"
        norm(f"{at}.norm1", VISION)
        norm(f"{at}.norm2", VISION)
        linear(f"{at}.attn.qkv", 3 * VISION, VISION)
        linear(f"{at}.attn.proj", VISION, VISION)
        linear(f"{at}.mlp.fc1", 96, VISION)
        linear(f"{at}.mlp.fc2", VISION, 96)
        at = f"blip.text_encoder.encoder.layer.{layer}"
        for attention, source in (("attention", TEXT), ("crossattention", VISION)):
            linear(f"{at}.{attention}.self.query", TEXT, TEXT)
            linear(f"{at}.{attention}.self.key", TEXT, source)
            linear(f"{at}.{attention}.self.value", TEXT, source)
            linear(f"{at}.{attention}.output.dense", TEXT, TEXT)
            norm(f"{at}.{attention}.output.LayerNorm", TEXT)
        linear(f"{at}.intermediate.dense", 96, TEXT)
        linear(f"{at}.output.dense", TEXT, 96)
        norm(f"{at}.output.LayerNorm", TEXT)
    for place, (into, of) in {0: (32, TEXT), 2: (16, 32), 4: (8, 16), 6: (4, 8), 7: (1, 4)}.items():
        linear(f"mlp.layers.{place}", into, of)
    return _write(shapes, file)


def image_reward(t: Tensors, pixels: Tensor, tokens: Tensor) -> Tensor:
    """Return the rewards (image,) of pixels (image, rgb, height, width) and tokens (image, token) without padding."""
    v = "blip.visual_encoder"
    x = (
        F.conv2d(pixels, t[f"{v}.patch_embed.proj.weight"], t[f"{v}.patch_embed.proj.bias"], stride=16)
        .flatten(2)
        .transpose(1, 2)
    )
    x = torch.cat([t[f"{v}.cls_token"].expand(len(x), -1, -1), x], dim=1) + t[f"{v}.pos_embed"]
    for layer in range(2):
        at = f"{v}.blocks.{layer}"
        q, k, w = _linear(t, f"{at}.attn.qkv", _norm(t, f"{at}.norm1", x, 1e-6)).chunk(3, dim=-1)
        x = x + _linear(t, f"{at}.attn.proj", _attend(q, k, w, VISION // HEAD))
        x = x + _linear(t, f"{at}.mlp.fc2", F.gelu(_linear(t, f"{at}.mlp.fc1", _norm(t, f"{at}.norm2", x, 1e-6))))
    seen = _norm(t, f"{v}.norm", x, 1e-6)
    e = "blip.text_encoder.embeddings"
    y = t[f"{e}.word_embeddings.weight"][tokens] + t[f"{e}.position_embeddings.weight"][: tokens.shape[1]]
    y = _norm(t, f"{e}.LayerNorm", y, 1e-12)
    for layer in range(2):
        at = f"blip.text_encoder.encoder.layer.{layer}"
        for attention, source in (("attention", None), ("crossattention", seen)):
            of = y if source is None else source
            q = _linear(t, f"{at}.{attention}.self.query", y)
            k, w = _linear(t, f"{at}.{attention}.self.key", of), _linear(t, f"{at}.{attention}.self.value", of)
            said = _linear(t, f"{at}.{attention}.output.dense", _attend(q, k, w, TEXT // HEAD))
            y = _norm(t, f"{at}.{attention}.output.LayerNorm", y + said, 1e-12)
        said = _linear(t, f"{at}.output.dense", F.gelu(_linear(t, f"{at}.intermediate.dense", y)))
        y = _norm(t, f"{at}.output.LayerNorm", y + said, 1e-12)
    z = y[:, 0]
    for place in (0, 2, 4, 6, 7):
        z = _linear(t, f"mlp.layers.{place}", z)
    return (z[:, 0] - 0.16717362830052426) / 1.0333394966054072


def _attend(q: Tensor, k: Tensor, v: Tensor, heads: int, mask: Tensor | None = None) -> Tensor:
    q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (q, k, v))
    scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
    return ((scores if mask is None else scores + mask).softmax(dim=-1) @ v).transpose(1, 2).flatten(2)


def _linear(t: Tensors, name: str, x: Tensor) -> Tensor:
    return x @ t[f"{name}.weight"].T + t[f"{name}.bias"]


def _norm(t: Tensors, name: str, x: Tensor, eps: float = 1e-5) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], t[f"{name}.weight"], t[f"{name}.bias"], eps)


def _write(shapes: Mapping[str, tuple[int, ...]], file: Path) -> Path:
    generator = torch.Generator().manual_seed(0)
    save_file({name: torch.randn(shape, generator=generator) * 0.2 for name, shape in shapes.items()}, file)
    return file
