"""Tiny random pipelines of each family, in the shape of the real ones: no downloads.

Each has text encoders of its kind, so that prompts go the whole way. Latents mostly have 4 channels; pictures are 8 times
their side.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from diffusers import (
    AutoencoderDC,
    AutoencoderKL,
    AutoencoderKLQwenImage,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    PixArtSigmaPipeline,
    PixArtTransformer2DModel,
    QwenImagePipeline,
    QwenImageTransformer2DModel,
    SanaPipeline,
    SanaTransformer2DModel,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from torch import nn
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    Gemma2Config,
    Gemma2Model,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    T5Config,
    T5EncoderModel,
    T5Tokenizer,
)

CHANNELS = 4
WORDS = "a an and with the red blue green yellow cat dog car bench apple bird of in on".split()
LETTERS = [chr(code) for code in range(33, 127)]


def sharpened(denoiser: nn.Module) -> Any:
    """Return a denoiser with larger queries and keys: random weights give maps that are flat to the eye of a loss."""
    for name, module in denoiser.named_modules():
        if isinstance(module, nn.Linear) and name.rpartition(".")[2] in ("to_q", "to_k", "add_q_proj", "add_k_proj"):
            nn.init.normal_(module.weight, std=0.5)
    return denoiser.eval()


def clip_encoder(tokenizer: CLIPTokenizer, *, projected: bool = False) -> Any:
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=32,
        projection_dim=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=tokenizer.model_max_length,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return (CLIPTextModelWithProjection if projected else CLIPTextModel)(config).eval()


def t5_tokenizer() -> T5Tokenizer:
    """Whole words where it knows them, else letters; no start token, as T5's."""
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *(("▁" + word, -1.0) for word in WORDS)]
    return T5Tokenizer(vocab=[*pieces, *((letter, -9.0) for letter in (*LETTERS, "▁"))], extra_ids=0, model_max_length=64)


def t5_encoder(tokenizer: T5Tokenizer) -> T5EncoderModel:
    config = T5Config(vocab_size=len(tokenizer), d_model=32, d_kv=8, d_ff=32, num_layers=2, num_heads=4)
    return T5EncoderModel(config).eval()


def llm_tokenizer(*specials: str, start: str | None = None) -> PreTrainedTokenizerFast:
    """Words and letters with the space before them, as large language models have them; a start token if they do."""
    vocabulary = {
        piece: number for number, piece in enumerate((*specials, *(" " + word for word in WORDS), *LETTERS, " ", "\n"))
    }
    made = Tokenizer(
        models.WordPiece(vocabulary, unk_token=specials[0], continuing_subword_prefix="", max_input_chars_per_word=10_000)
    )
    made.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_next")
    made.decoder = decoders.Fuse()
    if start:
        made.post_processor = processors.TemplateProcessing(single=f"{start} $A", special_tokens=[(start, vocabulary[start])])
    return PreTrainedTokenizerFast(
        tokenizer_object=made,
        pad_token=specials[0],
        unk_token=specials[0],
        bos_token=start,
        additional_special_tokens=list(specials),
    )


def kl(channels: int = CHANNELS) -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=(8, 8, 8, 8),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=channels,
        norm_num_groups=4,
        shift_factor=0.0,
        scaling_factor=1.0,
    ).eval()


def sdxl(tokenizer: CLIPTokenizer, **changes: Any) -> StableDiffusionXLPipeline:
    sizes: dict[str, Any] = {
        "sample_size": 32,
        "in_channels": CHANNELS,
        "out_channels": CHANNELS,
        "block_out_channels": (8, 8, 16),
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        "layers_per_block": 1,
        "attention_head_dim": 2,
        "cross_attention_dim": 32,
        "norm_num_groups": 4,
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 4,
        "projection_class_embeddings_input_dim": 16 + 6 * 4,
        "use_linear_projection": True,
    }
    return StableDiffusionXLPipeline(
        vae=kl(),
        text_encoder=clip_encoder(tokenizer),
        text_encoder_2=clip_encoder(tokenizer, projected=True),
        tokenizer=tokenizer,
        tokenizer_2=tokenizer,
        unet=sharpened(UNet2DConditionModel(**(sizes | changes))),
        scheduler=EulerDiscreteScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear"),
        add_watermarker=False,
    )


def sd3(tokenizer: CLIPTokenizer) -> StableDiffusion3Pipeline:
    t5 = t5_tokenizer()
    transformer = SD3Transformer2DModel(
        sample_size=32,
        patch_size=2,
        in_channels=16,  # its inpainting asks for that many
        out_channels=16,
        num_layers=4,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=32,
        caption_projection_dim=16,
        pooled_projection_dim=32,
        pos_embed_max_size=32,
        dual_attention_layers=(0, 1),
        qk_norm="rms_norm",
    )
    return StableDiffusion3Pipeline(
        transformer=sharpened(transformer),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=kl(16),
        text_encoder=clip_encoder(tokenizer, projected=True),
        tokenizer=tokenizer,
        text_encoder_2=clip_encoder(tokenizer, projected=True),
        tokenizer_2=tokenizer,
        text_encoder_3=t5_encoder(t5),
        tokenizer_3=t5,
    )


def flux(tokenizer: CLIPTokenizer, **changes: Any) -> FluxPipeline:
    t5 = t5_tokenizer()
    sizes: dict[str, Any] = {
        "patch_size": 1,
        "in_channels": CHANNELS * 4,
        "num_layers": 2,
        "num_single_layers": 2,
        "attention_head_dim": 16,
        "num_attention_heads": 2,
        "joint_attention_dim": 32,
        "pooled_projection_dim": 16,
        "axes_dims_rope": (4, 4, 8),
        "guidance_embeds": True,
    }
    transformer = FluxTransformer2DModel(**(sizes | changes))
    return FluxPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
        vae=kl(),
        text_encoder=clip_encoder(tokenizer),
        tokenizer=tokenizer,
        text_encoder_2=t5_encoder(t5),
        tokenizer_2=t5,
        transformer=sharpened(transformer),
    )


def pixart(tokenizer: CLIPTokenizer) -> PixArtSigmaPipeline:
    t5 = t5_tokenizer()
    transformer = PixArtTransformer2DModel(
        num_attention_heads=2,
        attention_head_dim=8,
        in_channels=CHANNELS,
        out_channels=2 * CHANNELS,
        num_layers=4,
        cross_attention_dim=16,
        caption_channels=32,
        sample_size=32,
        patch_size=2,
        use_additional_conditions=False,
    )
    return PixArtSigmaPipeline(
        tokenizer=t5,
        text_encoder=t5_encoder(t5),
        vae=kl(),
        transformer=sharpened(transformer),
        scheduler=DPMSolverMultistepScheduler(),
    )


def sana(tokenizer: CLIPTokenizer) -> SanaPipeline:
    gemma = llm_tokenizer("<pad>", "<eos>", "<bos>", start="<bos>")
    text = Gemma2Model(
        Gemma2Config(
            vocab_size=len(gemma),
            hidden_size=16,
            intermediate_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
            head_dim=8,
        )
    )
    vae = AutoencoderDC(
        in_channels=3,
        latent_channels=CHANNELS,
        attention_head_dim=2,
        encoder_block_types=("ResBlock",) * 2,
        decoder_block_types=("ResBlock",) * 2,
        encoder_block_out_channels=(8, 8),
        decoder_block_out_channels=(8, 8),
        encoder_qkv_multiscales=((), ()),
        decoder_qkv_multiscales=((), ()),
        encoder_layers_per_block=(1, 1),
        decoder_layers_per_block=(1, 1),
        downsample_block_type="conv",
        upsample_block_type="interpolate",
        decoder_norm_types="rms_norm",
        decoder_act_fns="silu",
    )
    transformer = SanaTransformer2DModel(
        patch_size=1,
        in_channels=CHANNELS,
        out_channels=CHANNELS,
        num_layers=4,
        num_attention_heads=2,
        attention_head_dim=8,
        num_cross_attention_heads=2,
        cross_attention_head_dim=8,
        cross_attention_dim=16,
        caption_channels=16,
        sample_size=32,
    )
    return SanaPipeline(
        tokenizer=gemma,
        text_encoder=text.eval(),
        vae=vae.eval(),
        transformer=sharpened(transformer),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
    )


def qwen(tokenizer: CLIPTokenizer) -> QwenImagePipeline:
    own = llm_tokenizer("<|endoftext|>", "<|im_start|>", "<|im_end|>")
    config = Qwen2_5_VLConfig(
        text_config={
            "vocab_size": len(own),
            "bos_token_id": None,
            "eos_token_id": 0,
            "hidden_size": 16,
            "intermediate_size": 16,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 2,
            "rope_scaling": {"mrope_section": [1, 1, 2], "rope_type": "default", "type": "default"},
        },
        vision_config={"depth": 2, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2, "out_hidden_size": 16},
    )
    vae = AutoencoderKLQwenImage(
        base_dim=24,
        z_dim=CHANNELS,
        dim_mult=[1, 2, 4, 4],
        num_res_blocks=1,
        temperal_downsample=[False, True, True],
        latents_mean=[0.0] * CHANNELS,
        latents_std=[1.0] * CHANNELS,
    )
    transformer = QwenImageTransformer2DModel(
        patch_size=2,
        in_channels=CHANNELS * 4,
        out_channels=CHANNELS,
        num_layers=4,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=16,
        axes_dims_rope=(8, 4, 4),
    )
    pipe = QwenImagePipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
        vae=vae.eval(),
        text_encoder=Qwen2_5_VLForConditionalGeneration(config).eval(),
        tokenizer=own,
        transformer=sharpened(transformer),
    )
    # its own counts 34 tokens before the prompt, of a vocabulary that is not this one
    pipe.prompt_template_encode = "<|im_start|>the picture of{}<|im_end|>"
    pipe.prompt_template_encode_start_idx = len(own("<|im_start|>the picture of")["input_ids"])
    return pipe


FAMILIES: dict[str, Callable[..., Any]] = {"sdxl": sdxl, "sd3": sd3, "flux": flux, "pixart": pixart, "sana": sana, "qwen": qwen}


def make(name: str, tokenizer: CLIPTokenizer) -> Any:
    """Return the tiny pipeline of a family; the same weights every time."""
    torch.manual_seed(0)
    pipe = FAMILIES[name](tokenizer)
    pipe.set_progress_bar_config(disable=True)
    return pipe
