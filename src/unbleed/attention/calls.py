"""Arguments of a denoiser, for each family.

An example has the shapes that a pipeline passes for one image, for counting on the meta device. What a block of a modular
pipeline passes is made from the state of its blocks.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


def unet_example(config: Any, height: int, width: int, tokens: int) -> dict[str, Any]:
    text = config.encoder_hid_dim or config.cross_attention_dim  # Kolors projects its text first
    call = _call("sample", config.in_channels, height, width, tokens, text)
    if config.addition_embed_type == "text_time":
        pooled = config.projection_class_embeddings_input_dim - 6 * config.addition_time_embed_dim
        call["added_cond_kwargs"] = {"text_embeds": torch.empty(1, pooled), "time_ids": torch.empty(1, 6)}
    return call


def sd3_example(config: Any, height: int, width: int, tokens: int) -> dict[str, Any]:
    call = _call("hidden_states", config.in_channels, height, width, tokens, config.joint_attention_dim)
    return {**call, "pooled_projections": torch.empty(1, config.pooled_projection_dim)}


def captioned_example(config: Any, height: int, width: int, tokens: int) -> dict[str, Any]:
    call = _call("hidden_states", config.in_channels, height, width, tokens, config.caption_channels)
    mask = torch.empty(1, tokens, dtype=torch.long)
    return {**call, "encoder_attention_mask": mask}


def pixart_example(config: Any, height: int, width: int, tokens: int) -> dict[str, Any]:
    sized = config.use_additional_conditions
    sizes = {"resolution": torch.empty(1, 2) if sized else None, "aspect_ratio": torch.empty(1, 1) if sized else None}
    return {**captioned_example(config, height, width, tokens), "added_cond_kwargs": sizes}


def flux_example(config: Any, height: int, width: int, tokens: int) -> dict[str, Any]:
    rows, columns = height // 2, width // 2
    call = {
        **_packed(config, rows * columns, tokens, config.joint_attention_dim),
        "pooled_projections": torch.empty(1, config.pooled_projection_dim),
        "txt_ids": torch.empty(tokens, 3),
        "img_ids": torch.empty(rows * columns, 3),
    }
    return {**call, "guidance": torch.empty(1)} if config.guidance_embeds else call


def qwen_example(config: Any, height: int, width: int, tokens: int) -> dict[str, Any]:
    rows, columns = height // 2, width // 2
    call = _packed(config, rows * columns, tokens, config.joint_attention_dim)
    return {**call, "img_shapes": [[(1, rows, columns)]]}


def flux2_example(config: Any, height: int, width: int, tokens: int) -> dict[str, Any]:
    pixels = (height // 2) * (width // 2)
    call = {
        **_packed(config, pixels, tokens, config.joint_attention_dim),
        "txt_ids": torch.empty(tokens, 4),
        "img_ids": torch.empty(pixels, 4),
    }
    return {**call, "guidance": torch.empty(1)} if config.guidance_embeds else call


def chroma_example(config: Any, height: int, width: int, tokens: int) -> dict[str, Any]:
    pixels = (height // 2) * (width // 2)
    ids = {"txt_ids": torch.empty(tokens, 3), "img_ids": torch.empty(pixels, 3)}
    mask = torch.ones(1, tokens + pixels)
    return {**_packed(config, pixels, tokens, config.joint_attention_dim), **ids, "attention_mask": mask}


def z_image_example(config: Any, height: int, width: int, tokens: int) -> dict[str, Any]:
    picture = torch.empty(config.in_channels, 1, height, width)
    return {"x": [picture], "t": torch.empty(1), "cap_feats": [torch.empty(tokens, config.cap_feat_dim)]}


def lumina_example(config: Any, height: int, width: int, tokens: int) -> dict[str, Any]:
    call = _call("hidden_states", config.in_channels, height, width, tokens, config.cap_feat_dim)
    return {**call, "encoder_attention_mask": _known(tokens)}


def hunyuan_example(config: Any, height: int, width: int, tokens: int) -> dict[str, Any]:
    call = _call("hidden_states", config.in_channels, height, width, tokens, config.text_embed_dim)
    more = {"guidance": torch.empty(1)} if config.guidance_embeds else {}
    more |= {"timestep_r": torch.empty(1)} if config.use_meanflow else {}
    return {**call, "encoder_attention_mask": torch.ones(1, tokens), **more}


def krea_example(config: Any, height: int, width: int, tokens: int) -> dict[str, Any]:
    pixels = (height // 2) * (width // 2)
    text = torch.empty(1, tokens, config.num_text_layers, config.text_hidden_dim)
    call = {**_packed(config, pixels, tokens, 1), "encoder_hidden_states": text}
    mask = torch.ones(1, tokens, dtype=torch.bool)
    return {**call, "encoder_attention_mask": mask, "position_ids": torch.empty(tokens + pixels, 3)}


def qwen21_example(config: Any, height: int, width: int, tokens: int) -> dict[str, Any]:
    call = _packed(config, height * width, tokens, config.context_in_dim)
    slots = torch.cat([~_known(tokens).bool(), _known(height * width // 4).bool()], dim=1)
    return {**call, "img_shapes": [[(1, height, width)]], "img_mask": slots}


def _known(length: int) -> Tensor:
    """Return a mask of ones that a denoiser can look into, also while shapes are counted on the meta device."""
    return torch.ones(1, length, dtype=torch.long, device="cpu")


def _call(name: str, channels: int, height: int, width: int, tokens: int, width_of_text: int) -> dict[str, Any]:
    return {name: torch.empty(1, channels, height, width), **_text(tokens, width_of_text)}


def _packed(config: Any, pixels: int, tokens: int, width_of_text: int) -> dict[str, Any]:
    return {"hidden_states": torch.empty(1, pixels, config.in_channels), **_text(tokens, width_of_text)}


def _text(tokens: int, width: int) -> dict[str, Tensor]:
    return {"timestep": torch.empty(1), "encoder_hidden_states": torch.empty(1, tokens, width)}


def unet_from_blocks(state: Mapping[str, Any], timestep: Tensor) -> dict[str, Any]:
    """Return what SDXL's blocks pass besides the latents."""
    added = {"text_embeds": state["pooled_prompt_embeds"], "time_ids": state["add_time_ids"]}
    if state["ip_adapter_embeds"] is not None:
        added["image_embeds"] = state["ip_adapter_embeds"]
    own = {key: state[key] for key in ("timestep_cond", "cross_attention_kwargs")}
    return {"encoder_hidden_states": state["prompt_embeds"], **own, "timestep": timestep, "added_cond_kwargs": added}


def flux_from_blocks(state: Mapping[str, Any], timestep: Tensor) -> dict[str, Any]:
    """Return what FLUX's blocks pass besides the latents."""
    own = {key: state[key] for key in ("guidance", "joint_attention_kwargs", "txt_ids", "img_ids")}
    pooled = {"pooled_projections": state["pooled_prompt_embeds"], "timestep": timestep.flatten() / 1000}
    return {"encoder_hidden_states": state["prompt_embeds"], **own, **pooled}


def sd3_from_blocks(state: Mapping[str, Any], timestep: Tensor) -> dict[str, Any]:
    """Return what the blocks of Stable Diffusion 3 pass besides the latents."""
    pooled = {"pooled_projections": state["pooled_prompt_embeds"], "joint_attention_kwargs": state["joint_attention_kwargs"]}
    return {"encoder_hidden_states": state["prompt_embeds"], **pooled, "timestep": _per_row(state, timestep)}


def flux2_from_blocks(state: Mapping[str, Any], timestep: Tensor) -> dict[str, Any]:
    """Return what FLUX.2's blocks pass; its latents are followed by those of reference pictures."""
    own = {key: state[key] for key in ("guidance", "joint_attention_kwargs", "txt_ids")}
    call = {"encoder_hidden_states": state["prompt_embeds"], **own, "timestep": _per_row(state, timestep) / 1000}
    if state["image_latents"] is None:
        return {**call, "img_ids": state["latent_ids"]}
    ids = torch.cat([state["latent_ids"], state["image_latent_ids"]], dim=1)
    return {**call, "img_ids": ids, "hidden_states": torch.cat([state["latents"], state["image_latents"]], dim=1)}


def z_image_from_blocks(state: Mapping[str, Any], timestep: Tensor) -> dict[str, Any]:
    """Return what Z-Image's blocks pass besides the latents."""
    return {"cap_feats": state["prompt_embeds"], "t": (1000 - _per_row(state, timestep)) / 1000}


def qwen_from_blocks(state: Mapping[str, Any], timestep: Tensor) -> dict[str, Any]:
    """Return what Qwen-Image's blocks pass; where they edit, the latents are followed by those of the pictures."""
    call = {"encoder_hidden_states": state["prompt_embeds"], "encoder_hidden_states_mask": state["prompt_embeds_mask"]}
    call |= {"img_shapes": state["img_shapes"], "attention_kwargs": state["attention_kwargs"]}
    call["timestep"] = _per_row(state, timestep) / 1000
    if isinstance(state["img_shapes"][0], list) and len(state["img_shapes"][0]) > 1:
        call["hidden_states"] = torch.cat([state["latents"], state["image_latents"]], dim=1)
    return call


def _per_row(state: Mapping[str, Any], timestep: Tensor) -> Tensor:
    return timestep.expand(len(state["latents"])).to(state["latents"].dtype)
