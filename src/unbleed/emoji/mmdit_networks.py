"""The parts of the joint-attention emoji model, in the layout of Stable Diffusion 3: stock classes, only the sizes are ours."""

# pyright: reportArgumentType=false, reportCallIssue=false
# (diffusers' configurations are untyped: the type of a default, such as a tuple of one, is taken for the parameter's)

from __future__ import annotations

import string
from typing import Any

import torch
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, SD3Transformer2DModel, StableDiffusion3Pipeline
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModelWithProjection, CLIPTokenizer, T5Config, T5EncoderModel, T5Tokenizer

from . import WEIGHTS
from .networks import LATENT_CHANNELS, LATENT_SIDE, TOKENS, known_words

WIDTH = 160  # channels of a token in the denoiser and of T5
CLIP_WIDTH = 64  # of each of the two CLIP encoders
BLOCKS = 5
HEADS = 4


def t5_tokenizer() -> T5Tokenizer:
    """Return T5's tokenizer with the words of the emoji world in one piece each; any other word is read letter by letter."""
    signs = sorted({*string.ascii_letters, *string.digits, *string.punctuation, "▁"})
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    pieces += [(f"▁{word}", -1.0) for word in sorted(known_words()) if word.isalpha()]
    # a word known whole always beats its letters: a path's score is the sum over its pieces
    return T5Tokenizer(vocab=[*pieces, *((sign, -9.0) for sign in signs)], extra_ids=0, model_max_length=TOKENS)


def t5_encoder(tokenizer: T5Tokenizer) -> T5EncoderModel:
    """Return a bidirectional encoder of two layers: every token of its output depends on every word."""
    return T5EncoderModel(
        T5Config(
            vocab_size=len(tokenizer),
            d_model=WIDTH,
            d_kv=32,
            d_ff=2 * WIDTH,
            num_layers=2,
            num_heads=4,
            dropout_rate=0.0,
            is_encoder_decoder=False,
            use_cache=False,
        )
    )


def clip_encoder(vocabulary: CLIPTokenizer) -> CLIPTextModelWithProjection:
    """Return CLIP's text encoder with one layer, whose projection is zero.

    Stable Diffusion 3 reads the hidden states before the last layer, which are the embeddings here: words that do not mix,
    beside T5's, which do. The pooled vector is zero because it would name a single thing past all attention; the
    joint-attention models after Stable Diffusion 3 (Qwen-Image, Z-Image, FLUX.2) have none.
    """
    clip = CLIPTextModelWithProjection(
        CLIPTextConfig(
            vocab_size=len(vocabulary),
            hidden_size=CLIP_WIDTH,
            intermediate_size=CLIP_WIDTH,
            projection_dim=CLIP_WIDTH,
            num_hidden_layers=1,
            num_attention_heads=2,
            max_position_embeddings=TOKENS,
            hidden_act="quick_gelu",
            bos_token_id=vocabulary.bos_token_id,
            eos_token_id=vocabulary.eos_token_id,
            pad_token_id=vocabulary.pad_token_id,
        )
    )
    nn.init.zeros_(clip.text_projection.weight)
    return clip


def denoiser() -> SD3Transformer2DModel:
    """Return the transformer: 16x16 picture tokens, one per place of the latents, jointly with the tokens of the text.

    Every block starts as the identity, with its gates open and its output projections at zero, so that depth costs
    nothing at first.
    """
    transformer = SD3Transformer2DModel(
        sample_size=LATENT_SIDE,
        patch_size=1,
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        num_layers=BLOCKS,
        attention_head_dim=WIDTH // HEADS,
        num_attention_heads=HEADS,
        joint_attention_dim=WIDTH,
        caption_projection_dim=WIDTH,
        pooled_projection_dim=2 * CLIP_WIDTH,
        pos_embed_max_size=2 * LATENT_SIDE,
        qk_norm="rms_norm",
    )
    _start_as_identity(transformer)
    return transformer


@torch.no_grad()
def _start_as_identity(transformer: Any) -> None:
    for name, module in transformer.named_modules():
        modulates = (".norm1" in name and name.endswith(".linear")) or name == "norm_out.linear"
        adds = name.endswith(("attn.to_out.0", "attn.to_add_out", "ff.net.2", "ff_context.net.2")) or name == "proj_out"
        if isinstance(module, nn.Linear) and (modulates or adds):
            nn.init.zeros_(module.weight)
            nn.init.zeros_(module.bias)
            if modulates and module.out_features == 6 * WIDTH:
                gates = module.bias.view(6, WIDTH)  # shift, scale, gate of attention; shift, scale, gate of the feed-forward
                gates[2] = gates[5] = 1


def autoencoder() -> AutoencoderKL:
    """Return the autoencoder of the first emoji model, with the shift factor that this pipeline reads."""
    vae = AutoencoderKL.from_pretrained(WEIGHTS / "vae")
    vae.register_to_config(shift_factor=0.0)
    return vae


def scheduler() -> FlowMatchEulerDiscreteScheduler:
    return FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000, shift=1.0)


def assemble(
    vae: AutoencoderKL,
    transformer: SD3Transformer2DModel,
    clips: tuple[CLIPTextModelWithProjection, CLIPTextModelWithProjection],
    vocabulary: CLIPTokenizer,
    t5: T5EncoderModel,
    t5_vocabulary: T5Tokenizer,
) -> StableDiffusion3Pipeline:
    return StableDiffusion3Pipeline(
        transformer=transformer,
        scheduler=scheduler(),
        vae=vae,
        text_encoder=clips[0],
        tokenizer=vocabulary,
        text_encoder_2=clips[1],
        tokenizer_2=vocabulary,
        text_encoder_3=t5,
        tokenizer_3=t5_vocabulary,
    )
