"""What differs between families of denoisers, one row each.

A row names the modules whose attention goes from the pixels to the text, in running order, their grid, the position of the
text in their sequence, how the text encoders get a prompt, and the denoiser's arguments. Nothing else in the library knows a
model by its name: a new family is a new row.

Layers are chosen for the reason beside them. Only the embedded models' choices were measured; none of the others has been
tried on real weights.
"""

from __future__ import annotations

from typing import Any

from . import calls, encoders, positions
from .family import Arguments, Family, blocks, ending, of_blocks, unet_layers

SECOND_QUARTER = (5 / 24, 13 / 24)
"""Blocks 5 to 12 of 24, as Self-Cross reads on Stable Diffusion 3 medium; the same fraction of other stacks.

On emoji-mmdit, the small joint-attention model of the package, they are the best on the mean over 17 methods: 33.7 % of the
validation pictures all-correct, 15.7 % with the first third of the blocks and 22.2 % with the last (docs/results/emoji-mmdit).
"""


def _thousandths(timestep: float) -> float:
    return timestep * 1000


def _from_noise_to_image(timestep: float) -> float:
    """Z-Image and Lumina 2 count from 0, noise, to 1, image."""
    return (1 - timestep) * 1000


def _is_kolors(config: Any) -> bool:
    return config.encoder_hid_dim_type == "text_proj" and config.addition_embed_type == "text_time"


def _refuse_layers(arguments: Arguments) -> str | None:
    if arguments.get("additional_t_cond") is not None:
        return "several layers of one image are denoised in one sequence (QwenImageLayered), which guidance cannot follow"
    return None


def _refuse_kept_pictures(arguments: Arguments) -> str | None:
    if arguments.get("kv_cache_mode") is not None:
        return (
            "the keys of reference pictures are kept from the first step, before the picture itself (Flux2KleinKVPipeline); "
            "guide Flux2KleinPipeline, which has them in every call"
        )
    return None


def _refuse_pictures_in_text(arguments: Arguments) -> str | None:
    if len(arguments["img_shapes"][0]) > 1:
        return "Qwen-Image 2.1 puts reference pictures amid the text, which guidance cannot follow yet; call it without `image`"
    return None


def _refuse_omni(arguments: Arguments) -> str | None:
    if isinstance(arguments["x"][0], (list, tuple)):
        return "ZImageOmniPipeline gives reference pictures and text in turns, which guidance cannot follow; use ZImagePipeline"
    return None


FAMILIES = (
    Family(
        name="kolors",
        models="Kolors",
        denoiser_class="UNet2DConditionModel",
        pipeline_attribute="unet",
        fits=_is_kolors,
        layers=unet_layers,  # as Stable Diffusion XL, whose UNet it has
        example=calls.unet_example,
        text_length=256,
        encoders=encoders.plain,
        text_modules=ending(".attn2"),
        on_text=r"attn2\.to_[kv]\b|add_[kv]_proj|encoder_hid_proj",
        sample="sample",
    ),
    Family(
        name="sd",
        models="Stable Diffusion 1, 2 and XL",
        denoiser_class="UNet2DConditionModel",
        pipeline_attribute="unet",
        # the coarsest level whose down block attends to text: 16x16 for SD 1 and 2 at 512 pixels, 24x24 for SD 2 at
        # 768, as all the papers read; 32x32 for SDXL at 1024, which has no coarser one; 8x8 for the emoji model
        layers=unet_layers,
        example=calls.unet_example,
        text_length=77,
        from_blocks=calls.unet_from_blocks,
        encoders=encoders.clip,
        text_modules=ending(".attn2"),
        on_text=r"attn2\.to_[kv]\b|add_[kv]_proj|encoder_hid_proj",
        beside=("prompt_2",),
        sample="sample",
    ),
    Family(
        name="sd3",
        models="Stable Diffusion 3 and 3.5",
        denoiser_class="SD3Transformer2DModel",
        layers=blocks("transformer_blocks", joint="image first", fraction=SECOND_QUARTER),
        example=calls.sd3_example,
        from_blocks=calls.sd3_from_blocks,
        text_length=77 + 256,
        encoders=encoders.clip_and_t5,
        text_modules=of_blocks("transformer_blocks"),
        on_text=r"add_[qkv]_proj|to_add_out|ff_context|context_embedder",
        beside=("prompt_2",),
    ),
    Family(
        name="flux",
        models="FLUX.1 and FLUX.1 Kontext",
        denoiser_class="FluxTransformer2DModel",
        # all double blocks, which keep text and image apart; they come first, so the forward ends a third of the
        # way
        layers=blocks("transformer_blocks", joint="text first"),
        example=calls.flux_example,
        text_length=512,
        shared=("img_ids", "txt_ids"),
        from_blocks=calls.flux_from_blocks,
        encoders=encoders.second_t5,
        text_modules=of_blocks("transformer_blocks", "single_transformer_blocks"),
        on_text=r"add_[qkv]_proj|to_add_out|ff_context|context_embedder",
        texts=("prompt_2", "prompt"),
        packed=2,
        negatives="apart",
        timestep=_thousandths,
        grid=positions.grid_of_ids,
    ),
    Family(
        name="flux2",
        models="FLUX.2 dev and klein",
        denoiser_class="Flux2Transformer2DModel",
        # single block 18, as FreeFuse reads on klein (arXiv 2510.23515)
        layers=blocks(
            "transformer_blocks", "single_transformer_blocks", joint="text first", one=("single_transformer_blocks", 18)
        ),
        example=calls.flux2_example,
        from_blocks=calls.flux2_from_blocks,
        text_length=512,
        encoders=encoders.flux2,
        text_modules=of_blocks("transformer_blocks", "single_transformer_blocks"),
        on_text=r"add_[qkv]_proj|to_add_out|ff_context|context_embedder",
        packed=2,
        negatives="apart",
        timestep=_thousandths,
        grid=positions.grid_of_ids,
        refuses=_refuse_kept_pictures,
    ),
    Family(
        name="chroma",
        models="Chroma",
        denoiser_class="ChromaTransformer2DModel",
        layers=blocks("transformer_blocks", joint="text first"),  # all double blocks, as FLUX.1, which it is made from
        example=calls.chroma_example,
        text_length=512,
        shared=("img_ids", "txt_ids"),
        encoders=encoders.plain,
        text_modules=of_blocks("transformer_blocks", "single_transformer_blocks"),
        on_text=r"add_[qkv]_proj|to_add_out|ff_context|context_embedder",
        packed=2,
        negatives="apart",
        timestep=_thousandths,
        grid=positions.grid_of_ids,
    ),
    Family(
        name="z-image",
        models="Z-Image and Z-Image-Turbo",
        denoiser_class="ZImageTransformer2DModel",
        # block 18 of 30, as FreeFuse reads (arXiv 2510.23515)
        layers=blocks("layers", attention="attention", joint="image first", one=("layers", 18)),
        example=calls.z_image_example,
        from_blocks=calls.z_image_from_blocks,
        text_length=64,  # as long as the prompt in its template; a usual one
        encoders=encoders.chat(thinking=True),
        text_modules=of_blocks("layers", attention="attention"),
        on_text=r"cap_embedder|context_refiner",
        sample="x",
        time="t",
        text="cap_feats",
        negatives="last",
        scaled_from="prompt",
        timestep=_from_noise_to_image,
        starts=positions.padded(32),
        refuses=_refuse_omni,
    ),
    Family(
        name="qwen-image",
        models="Qwen-Image and Qwen-Image-Edit",
        denoiser_class="QwenImageTransformer2DModel",
        layers=blocks("transformer_blocks", joint="text first", fraction=SECOND_QUARTER),  # nobody has searched
        example=calls.qwen_example,
        from_blocks=calls.qwen_from_blocks,
        text_length=64,  # as long as the prompt; a usual one
        listed=("img_shapes",),
        encoders=encoders.templated,
        text_modules=of_blocks("transformer_blocks"),
        on_text=r"add_[qkv]_proj|to_add_out|txt_in|txt_mlp",
        packed=2,
        negatives="apart",
        timestep=_thousandths,
        grid=positions.grid_of_shapes,
        refuses=_refuse_layers,
    ),
    Family(
        name="qwen-image-2.1",
        models="Qwen-Image 2.1",
        denoiser_class="QwenImage21Transformer2DModel",
        layers=blocks("transformer_blocks", joint="text first", fraction=SECOND_QUARTER),  # nobody has searched
        example=calls.qwen21_example,
        text_length=64,  # as long as the prompt; a usual one
        listed=("img_shapes",),
        dropped=("kv_cache", "kv_cache_mode"),  # a kept key would keep the graph of the evaluation that made it
        encoders=encoders.of_processor,
        text_modules=of_blocks("transformer_blocks"),
        on_text=r"txt_in",
        packed=1,
        negatives="apart",
        timestep=_thousandths,
        grid=positions.grid_of_shapes,
        reads="last",  # the text attends to itself first, in a call of its own
        refuses=_refuse_pictures_in_text,
    ),
    Family(
        name="krea2",
        models="Krea 2",
        denoiser_class="Krea2Transformer2DModel",
        layers=blocks("transformer_blocks", joint="text first", fraction=SECOND_QUARTER),  # nobody has searched
        example=calls.krea_example,
        text_length=512,
        shared=("position_ids",),
        encoders=encoders.padded_in_the_middle,
        text_modules=of_blocks("transformer_blocks"),
        on_text=r"txt_in|text_fusion",
        packed=2,
        negatives="apart",
        timestep=_thousandths,
        grid=positions.grid_of_positions,
    ),
    Family(
        name="lumina2",
        models="Lumina 2",
        denoiser_class="Lumina2Transformer2DModel",
        layers=blocks("layers", joint="text first", fraction=SECOND_QUARTER),  # nobody has searched
        example=calls.lumina_example,
        text_length=256,
        encoders=encoders.instructed,
        text_modules=of_blocks("layers"),
        on_text=r"context_refiner|caption_embedder",
        negatives="apart",
        timestep=_from_noise_to_image,
        starts=positions.after_own_text,
    ),
    Family(
        name="hunyuan-image",
        models="HunyuanImage 2.1",
        denoiser_class="HunyuanImageTransformer2DModel",
        layers=blocks("transformer_blocks", joint="image first"),  # all double blocks, as FLUX.1; a third of the forward
        example=calls.hunyuan_example,
        text_length=1000,
        encoders=encoders.all_of_template,
        text_modules=of_blocks("transformer_blocks", "single_transformer_blocks"),
        on_text=r"add_[qkv]_proj|to_add_out|ff_context|context_embedder",
        side=2048,
        negatives="apart",
        starts=positions.after_glyphs,
    ),
    Family(
        name="pixart",
        models="PixArt-alpha and -sigma",
        denoiser_class="PixArtTransformer2DModel",
        layers=blocks("transformer_blocks", attention="attn2", fraction=SECOND_QUARTER),  # nobody has searched
        example=calls.pixart_example,
        text_length=300,
        encoders=encoders.cleaned_t5,
        text_modules=ending(".attn2"),
        on_text=r"attn2\.to_[kv]\b|caption_projection",
    ),
    Family(
        name="sana",
        models="Sana",
        denoiser_class="SanaTransformer2DModel",
        layers=blocks("transformer_blocks", attention="attn2", fraction=SECOND_QUARTER),  # nobody has searched
        example=calls.captioned_example,
        text_length=300,
        encoders=encoders.gemma,
        text_modules=ending(".attn2"),
        on_text=r"attn2\.to_[kv]\b|caption_projection",
    ),
)
