"""Calls of a denoiser with nothing in them: the shapes of what its pipeline would hand it for one picture.

For counting on the meta device, which knows shapes alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def _unet(config: Any, height: int, width: int, tokens: int) -> dict[str, Any]:
    call = _call("sample", config.in_channels, height, width, tokens, config.cross_attention_dim)
    if config.addition_embed_type == "text_time":
        pooled = config.projection_class_embeddings_input_dim - 6 * config.addition_time_embed_dim
        call["added_cond_kwargs"] = {"text_embeds": torch.empty(1, pooled), "time_ids": torch.empty(1, 6)}
    return call


def _sd3(config: Any, height: int, width: int, tokens: int) -> dict[str, Any]:
    call = _call("hidden_states", config.in_channels, height, width, tokens, config.joint_attention_dim)
    return {**call, "pooled_projections": torch.empty(1, config.pooled_projection_dim)}


def _captioned(config: Any, height: int, width: int, tokens: int) -> dict[str, Any]:
    call = _call("hidden_states", config.in_channels, height, width, tokens, config.caption_channels)
    mask = torch.empty(1, tokens, dtype=torch.long)
    return {**call, "encoder_attention_mask": mask}


def _pixart(config: Any, height: int, width: int, tokens: int) -> dict[str, Any]:
    told = config.use_additional_conditions
    sizes = {"resolution": torch.empty(1, 2) if told else None, "aspect_ratio": torch.empty(1, 1) if told else None}
    return {**_captioned(config, height, width, tokens), "added_cond_kwargs": sizes}


def _flux(config: Any, height: int, width: int, tokens: int) -> dict[str, Any]:
    rows, columns = height // 2, width // 2
    call = {
        **_packed(config, rows * columns, tokens, config.joint_attention_dim),
        "pooled_projections": torch.empty(1, config.pooled_projection_dim),
        "txt_ids": torch.empty(tokens, 3),
        "img_ids": torch.empty(rows * columns, 3),
    }
    return {**call, "guidance": torch.empty(1)} if config.guidance_embeds else call


def _qwen(config: Any, height: int, width: int, tokens: int) -> dict[str, Any]:
    rows, columns = height // 2, width // 2
    call = _packed(config, rows * columns, tokens, config.joint_attention_dim)
    return {**call, "img_shapes": [[(1, rows, columns)]]}


def _call(name: str, channels: int, height: int, width: int, tokens: int, width_of_text: int) -> dict[str, Any]:
    return {name: torch.empty(1, channels, height, width), **_text(tokens, width_of_text)}


def _packed(config: Any, places: int, tokens: int, width_of_text: int) -> dict[str, Any]:
    return {"hidden_states": torch.empty(1, places, config.in_channels), **_text(tokens, width_of_text)}


def _text(tokens: int, width: int) -> dict[str, Tensor]:
    return {"timestep": torch.empty(1), "encoder_hidden_states": torch.empty(1, tokens, width)}


# by the name of a family: the call, and how many tokens of text its pipeline gives the denoiser
EXAMPLES: dict[str, tuple[Callable[[Any, int, int, int], dict[str, Any]], int]] = {
    "sd": (_unet, 77),
    "sd3": (_sd3, 77 + 256),
    "flux": (_flux, 512),
    "pixart": (_pixart, 300),
    "sana": (_captioned, 300),
    "qwen-image": (_qwen, 64),
}
"""Qwen-Image's sequence is as long as the prompt; a usual one is taken."""
