"""The components of the emoji model. All are unmodified classes of diffusers and transformers; this file sets their sizes."""

# pyright: reportArgumentType=false, reportCallIssue=false
# (diffusers' configurations are untyped, so pyright infers a parameter's type from its default, such as a tuple of one)

from __future__ import annotations

import json
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from tokenizers import pre_tokenizers
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from .scenes import TEMPLATES
from .sprites import COLOURS, NOUNS

IMAGE_SIDE = 128  # pixels
LATENT_SIDE = 16  # the autoencoder downsamples by 8
LATENT_CHANNELS = 8
TOKENS = 24  # length of the text encoder's sequence; the longest caption of three coloured entities has 13 tokens

# Words besides the nouns and colours that are one token each. Any other word is several tokens.
_MORE_WORDS = "grey photo picture emoji of the an a and with next to in on two three , . ! & - '".split()


def tokenizer(folder: Path) -> CLIPTokenizer:
    """Return CLIP's tokenizer with the vocabulary of the captions: the one in `folder`, else a new one, which is saved there.

    It is a byte-level BPE, so any string can be encoded; known words are one token each. An existing vocabulary is never
    rebuilt, because trained embeddings belong to its token ids.
    """
    if not (folder / "tokenizer.json").exists():
        merges = _merges(known_words())
        alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
        # in CLIP's order: bytes, bytes that end a word, merges, start and end tokens
        pieces = [*alphabet, *(f"{byte}</w>" for byte in alphabet), *("".join(pair) for pair in merges)]
        pieces += ["<|startoftext|>", "<|endoftext|>"]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "vocab.json").write_text(json.dumps({piece: i for i, piece in enumerate(pieces)}, ensure_ascii=False))
        (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(" ".join(pair) for pair in merges) + "\n")
        CLIPTokenizer.from_pretrained(folder, model_max_length=TOKENS).save_pretrained(folder)
    return CLIPTokenizer.from_pretrained(folder)


def known_words() -> set[str]:
    """Return the words and punctuation marks that are one token each."""
    words = [*NOUNS, *COLOURS, *_MORE_WORDS, *" ".join(t for group in TEMPLATES.values() for t in group).split()]
    return {w.strip("{}0123, ") for w in words} - {""}


def _merges(words: set[str]) -> list[tuple[str, str]]:
    """Return BPE merges that make every word one token, most frequent pair first.

    Ties are broken alphabetically. (The trainer of the tokenizers library breaks them differently from call to call.)
    """
    spelt = [[*word[:-1], f"{word[-1]}</w>"] for word in sorted(words)]
    merges = []
    while pairs := Counter(pair for pieces in spelt for pair in pairwise(pieces)):
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        for pieces in spelt:
            for at in range(len(pieces) - 2, -1, -1):
                if tuple(pieces[at : at + 2]) == best:
                    pieces[at : at + 2] = ["".join(best)]
    return merges


def autoencoder() -> AutoencoderKL:
    vae = AutoencoderKL(
        block_out_channels=(16, 32, 64, 128),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1,
        latent_channels=LATENT_CHANNELS,
        norm_num_groups=1,  # more groups lose an image's colours, because each group is normalised by itself
        mid_block_add_attention=False,
        sample_size=IMAGE_SIDE,
        scaling_factor=1.0,  # the 1x1 convolutions whiten the latents, see training.model.whiten
    )
    _start_near_identity(vae)
    return vae


@torch.no_grad()
def _start_near_identity(vae: AutoencoderKL) -> None:
    """Initialise the autoencoder so that it passes a coarse image through, with little noise on the latents.

    With the default initialisation it takes thousands of steps until background colours are right. Here residual branches
    start at zero, and every other convolution is an identity from channel i to channel i plus half of its random weights.
    """
    for name, module in vae.named_modules():
        if not isinstance(module, nn.Conv2d):
            continue
        if ".resnets." in name and not name.endswith("conv_shortcut"):
            if name.endswith("conv2"):
                nn.init.zeros_(module.weight)
            continue
        module.weight *= 0.5
        shared = range(min(module.weight.shape[:2]))
        if "downsamplers" in name:
            module.weight[shared, shared, :2, :2] += 0.25  # the mean of the four pixels that become one
        else:
            module.weight[shared, shared, module.kernel_size[0] // 2, module.kernel_size[1] // 2] += 1
    before: Any = vae.quant_conv
    before.bias[LATENT_CHANNELS:] -= 4  # log-variance


def text_encoder(vocabulary: CLIPTokenizer) -> CLIPTextModel:
    """Return CLIP's text encoder without layers: token and position embeddings and the final layer norm.

    A causal layer copies every noun into the tokens after it, above all into the end token and the padding. The UNet then
    draws from these copies, and guiding the attention of the noun's own token changes little
    (`experiments/token_information.py`).
    """
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(vocabulary),
            hidden_size=256,
            intermediate_size=512,
            projection_dim=256,
            num_hidden_layers=0,
            num_attention_heads=4,
            max_position_embeddings=TOKENS,
            hidden_act="quick_gelu",
            bos_token_id=vocabulary.bos_token_id,
            eos_token_id=vocabulary.eos_token_id,
            pad_token_id=vocabulary.pad_token_id,
        )
    )


def denoiser() -> UNet2DConditionModel:
    """Return the UNet: two levels, 16x16 and 8x8, with cross-attention in both.

    The query projections of cross-attention start at twice their usual size. Otherwise attention stays uniform over the tokens
    for thousands of steps, since the mean of a few tokens tells the UNet enough of a short caption.
    """
    unet = UNet2DConditionModel(
        sample_size=LATENT_SIDE,
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        block_out_channels=(128, 192),
        down_block_types=("CrossAttnDownBlock2D",) * 2,
        mid_block_type="UNetMidBlock2DCrossAttn",
        up_block_types=("CrossAttnUpBlock2D",) * 2,
        layers_per_block=1,
        attention_head_dim=(4, 6),  # diffusers takes these as numbers of heads: 32 channels per head
        cross_attention_dim=256,
        norm_num_groups=16,
    )
    for name, module in unet.named_modules():
        if name.endswith("attn2.to_q"):
            module.weight.data *= 2
    return unet


def scheduler() -> DDIMScheduler:
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type="v_prediction",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )


def assemble(
    vae: AutoencoderKL, text: CLIPTextModel, vocabulary: CLIPTokenizer, unet: UNet2DConditionModel
) -> StableDiffusionPipeline:
    return StableDiffusionPipeline(
        vae=vae,
        text_encoder=text,
        tokenizer=vocabulary,
        unet=unet,
        scheduler=scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def prepare_for_training(module: nn.Module, device: torch.device) -> Any:
    """Move a module to the device, convolutional ones in the channels-last memory format.

    On a CPU the UNet gets the explicit attention processor, because the backward pass of fused attention is slow for small
    heads.
    """
    if device.type == "cpu" and isinstance(module, UNet2DConditionModel):
        module.set_attn_processor(AttnProcessor())
    return (
        module.to(device=device, memory_format=torch.channels_last)
        if not isinstance(module, CLIPTextModel)
        else module.to(device)
    )
