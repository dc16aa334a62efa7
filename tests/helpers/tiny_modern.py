"""Tiny random pipelines of the families whose text encoder is a large language model, or whose denoiser takes other forms."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import torch
from diffusers import (
    AutoencoderKLFlux2,
    AutoencoderKLHunyuanImage,
    AutoencoderKLQwenImage,
    AutoencoderKLQwenImage21,
    ChromaPipeline,
    ChromaTransformer2DModel,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    Flux2KleinPipeline,
    Flux2Pipeline,
    Flux2Transformer2DModel,
    HunyuanImagePipeline,
    HunyuanImageTransformer2DModel,
    Krea2Pipeline,
    Krea2Transformer2DModel,
    Lumina2Pipeline,
    Lumina2Transformer2DModel,
    QwenImage21Pipeline,
    QwenImage21Transformer2DModel,
    UNet2DConditionModel,
    ZImagePipeline,
    ZImageTransformer2DModel,
)
from diffusers.guiders import AdaptiveProjectedMixGuidance
from transformers import (
    ByT5Tokenizer,
    CLIPTokenizer,
    Gemma2Config,
    Gemma2Model,
    MistralConfig,
    MistralForCausalLM,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    T5Config,
    T5EncoderModel,
)

from helpers.tiny import CHANNELS, WORDS, kl, llm_tokenizer, sharpened, t5_encoder, t5_tokenizer

SPECIALS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>")
CHAT = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n"
    "{% if message.content is string %}{{ message.content }}"
    "{% else %}{% for part in message.content %}{{ part.text }}{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)
SIZES: dict[str, Any] = {
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "head_dim": 8,
}


def chat_tokenizer(**changes: Any) -> Any:
    """A tokenizer with a chat template, which pads behind the text unless told otherwise."""
    made: Any = llm_tokenizer(*SPECIALS)
    made.chat_template = CHAT
    made.model_max_length = 10_000
    for name, value in changes.items():
        setattr(made, name, value)
    return made


def flow(**changes: Any) -> FlowMatchEulerDiscreteScheduler:
    return FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True, **changes)


def qwen3(tokenizer: Any) -> Qwen3ForCausalLM:
    return Qwen3ForCausalLM(Qwen3Config(vocab_size=len(tokenizer), **SIZES)).eval()


def qwen3_vl(tokenizer: Any) -> Qwen3VLForConditionalGeneration:
    rope = {"rope_type": "default", "rope_theta": 10_000.0, "mrope_section": [2, 1, 1], "mrope_interleaved": True}
    config = Qwen3VLConfig(
        text_config={"vocab_size": len(tokenizer), "rope_parameters": rope, **SIZES},
        vision_config={
            "depth": 1,
            "hidden_size": 16,
            "intermediate_size": 16,
            "num_heads": 2,
            "out_hidden_size": 16,
            "deepstack_visual_indexes": [0],
            "num_position_embeddings": 16,
        },
        image_token_id=tokenizer.convert_tokens_to_ids("<|image_pad|>"),
    )
    return Qwen3VLForConditionalGeneration(config).eval()


def z_image(tokenizer: CLIPTokenizer) -> ZImagePipeline:
    own = chat_tokenizer()
    transformer = ZImageTransformer2DModel(
        in_channels=CHANNELS,
        dim=32,
        n_layers=2,
        n_refiner_layers=1,
        n_heads=2,
        n_kv_heads=2,
        cap_feat_dim=16,
        axes_dims=[4, 6, 6],
        axes_lens=[256, 64, 64],
    )
    for name, weight in transformer.named_parameters():
        if "pad_token" in name:  # as a trained one's: not 0
            torch.nn.init.normal_(weight)
    return ZImagePipeline(
        scheduler=flow(), vae=kl(), text_encoder=qwen3(own), tokenizer=own, transformer=sharpened(transformer)
    )


def _flux2(**changes: Any) -> Any:
    sizes: dict[str, Any] = {
        "in_channels": CHANNELS * 4,
        "num_layers": 1,
        "num_single_layers": 2,
        "attention_head_dim": 16,
        "num_attention_heads": 2,
        "joint_attention_dim": 48,
        "timestep_guidance_channels": 16,
        "axes_dims_rope": (4, 4, 4, 4),
    }
    transformer: Any = Flux2Transformer2DModel(**(sizes | changes))
    for block in transformer.single_transformer_blocks:  # queries, keys and more in one matrix
        torch.nn.init.normal_(block.attn.to_qkv_mlp_proj.weight, std=0.5)
    return sharpened(transformer)


def _flux2_vae() -> AutoencoderKLFlux2:
    return AutoencoderKLFlux2(
        block_out_channels=(8,) * 4, layers_per_block=1, latent_channels=CHANNELS, norm_num_groups=4
    ).eval()


def flux2(tokenizer: CLIPTokenizer) -> Flux2Pipeline:
    own = chat_tokenizer(padding_side="left")  # as Mistral's tokenizers pad
    text: Any = MistralForCausalLM(MistralConfig(vocab_size=len(own), **SIZES)).eval()
    pipe = Flux2Pipeline(scheduler=flow(), vae=_flux2_vae(), text_encoder=text, tokenizer=own, transformer=_flux2())
    pipe.system_message = "You see a picture."
    return pipe


def klein(tokenizer: CLIPTokenizer) -> Flux2KleinPipeline:
    own = chat_tokenizer()
    transformer = _flux2(guidance_embeds=False)
    return Flux2KleinPipeline(
        scheduler=flow(), vae=_flux2_vae(), text_encoder=qwen3(own), tokenizer=own, transformer=transformer
    )


def chroma(tokenizer: CLIPTokenizer) -> ChromaPipeline:
    t5 = t5_tokenizer()
    with warnings.catch_warnings():  # of diffusers about diffusers
        warnings.simplefilter("ignore", FutureWarning)
        transformer = ChromaTransformer2DModel(
            in_channels=CHANNELS * 4,
            num_layers=2,
            num_single_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=32,
            axes_dims_rope=(4, 4, 8),
            approximator_num_channels=16,
            approximator_hidden_dim=16,
            approximator_layers=1,
        )
    return ChromaPipeline(
        scheduler=flow(), vae=kl(), text_encoder=t5_encoder(t5), tokenizer=t5, transformer=sharpened(transformer)
    )


def qwen21(tokenizer: CLIPTokenizer) -> QwenImage21Pipeline:
    own = chat_tokenizer()
    transformer = QwenImage21Transformer2DModel(
        in_channels=CHANNELS,
        out_channels=CHANNELS,
        num_layers=4,
        attention_head_dim=16,
        num_attention_heads=2,
        context_in_dim=16,
        axes_dims_rope=(4, 6, 6),
    )
    processor: Any = Processor(own)
    vae = AutoencoderKLQwenImage21(
        base_dim=8,
        decoder_base_dim=8,
        z_dim=CHANNELS,
        dim_mult=[1, 1, 1, 1],
        num_res_blocks=1,
        temperal_downsample=[False, True, True],
        latents_mean=[0.0] * CHANNELS,
        latents_std=[1.0] * CHANNELS,
    )

    return QwenImage21Pipeline(
        scheduler=flow(),
        vae=vae.eval(),
        text_encoder=qwen3_vl(own),
        processor=processor,
        transformer=sharpened(transformer),
    )


class Processor:
    """As much of a processor of text and pictures as a pipeline uses for text alone."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer

    def apply_chat_template(self, messages: Any, **options: Any) -> list[list[int]]:
        return [self.tokenizer.apply_chat_template(messages, **options)]

    def __call__(self, text: list[str], **options: Any) -> Any:
        return self.tokenizer(text, **options)


def krea(tokenizer: CLIPTokenizer) -> Krea2Pipeline:
    own = chat_tokenizer()
    transformer = Krea2Transformer2DModel(
        in_channels=CHANNELS * 4,
        num_layers=4,
        attention_head_dim=16,
        num_attention_heads=2,
        num_key_value_heads=1,
        intermediate_size=32,
        timestep_embed_dim=16,
        text_hidden_dim=16,
        num_text_layers=2,
        text_num_attention_heads=2,
        text_num_key_value_heads=2,
        text_intermediate_size=16,
        num_layerwise_text_blocks=1,
        num_refiner_text_blocks=1,
        axes_dims_rope=(4, 6, 6),
    )
    for name, weight in transformer.named_parameters():
        if "scale_shift_table" in name:  # 0 in a new one: the gates would let nothing through
            torch.nn.init.normal_(weight, std=0.5)
    vae = AutoencoderKLQwenImage(
        base_dim=24,
        z_dim=CHANNELS,
        dim_mult=[1, 2, 4, 4],
        num_res_blocks=1,
        temperal_downsample=[False, True, True],
        latents_mean=[0.0] * CHANNELS,
        latents_std=[1.0] * CHANNELS,
    )
    pipe = Krea2Pipeline(
        scheduler=flow(),
        vae=vae.eval(),
        text_encoder=qwen3_vl(own).model,
        tokenizer=own,
        transformer=sharpened(transformer),
        text_encoder_select_layers=(1, 2),
    )
    # its own counts are of a vocabulary that is not this one
    pipe.prompt_template_encode_prefix = "<|im_start|>the picture of"
    pipe.prompt_template_encode_start_idx = len(own(pipe.prompt_template_encode_prefix)["input_ids"])
    pipe.prompt_template_encode_suffix = "<|im_end|>\n"
    pipe.prompt_template_encode_num_suffix_tokens = len(own(pipe.prompt_template_encode_suffix)["input_ids"])
    return pipe


def lumina2(tokenizer: CLIPTokenizer) -> Lumina2Pipeline:
    gemma = llm_tokenizer("<pad>", "<eos>", "<bos>", start="<bos>")
    sizes: dict[str, Any] = SIZES | {"num_key_value_heads": 1}
    transformer = Lumina2Transformer2DModel(
        sample_size=16,
        in_channels=CHANNELS,
        hidden_size=32,
        num_layers=4,
        num_refiner_layers=1,
        num_attention_heads=2,
        num_kv_heads=1,
        multiple_of=16,
        axes_dim_rope=(4, 6, 6),
        axes_lens=(128, 64, 64),
        cap_feat_dim=16,
    )
    pipe = Lumina2Pipeline(
        transformer=sharpened(transformer),
        scheduler=flow(),
        vae=kl(),
        text_encoder=Gemma2Model(Gemma2Config(vocab_size=len(gemma), **sizes)).eval(),
        tokenizer=gemma,
    )
    pipe.system_prompt = "You draw pictures."
    return pipe


def hunyuan(tokenizer: CLIPTokenizer) -> HunyuanImagePipeline:
    own, letters = chat_tokenizer(), ByT5Tokenizer()
    config = Qwen2_5_VLConfig(
        text_config={
            "vocab_size": len(own),
            "bos_token_id": None,
            "eos_token_id": 0,
            "rope_scaling": {"mrope_section": [1, 1, 2], "rope_type": "default", "type": "default"},
            **{key: value for key, value in SIZES.items() if key != "head_dim"},
            "num_hidden_layers": 3,
        },
        vision_config={"depth": 1, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2, "out_hidden_size": 16},
    )
    glyphs = T5EncoderModel(T5Config(vocab_size=len(letters), d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2)).eval()
    transformer = HunyuanImageTransformer2DModel(
        in_channels=CHANNELS,
        out_channels=CHANNELS,
        num_attention_heads=2,
        attention_head_dim=16,
        num_layers=2,
        num_single_layers=1,
        num_refiner_layers=1,
        text_embed_dim=16,
        text_embed_2_dim=16,
        rope_axes_dim=(8, 8),
    )
    for name, weight in transformer.named_parameters():
        if re.search(r"norm(_added)?_[qk]\.weight", name):  # queries and keys have the length that these give them
            torch.nn.init.constant_(weight, 3.0)
    vae = AutoencoderKLHunyuanImage(
        in_channels=3,
        out_channels=3,
        latent_channels=CHANNELS,
        block_out_channels=(32, 32, 32, 32),
        layers_per_block=1,
        spatial_compression_ratio=8,
        sample_size=128,
        scaling_factor=1.0,
    )
    pipe = HunyuanImagePipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=5.0),
        vae=vae.eval(),
        text_encoder=Qwen2_5_VLForConditionalGeneration(config).eval(),
        tokenizer=own,
        text_encoder_2=glyphs,
        tokenizer_2=letters,
        transformer=sharpened(transformer),
        guider=AdaptiveProjectedMixGuidance(guidance_scale=3.0),
    )
    pipe.prompt_template_encode = "<|im_start|>the picture of{}<|im_end|>"
    pipe.prompt_template_encode_start_idx = len(own("<|im_start|>the picture of")["input_ids"])
    pipe.tokenizer_max_length, pipe.tokenizer_2_max_length = 24, 16
    return pipe


class Pieces:
    """In place of the sentencepiece model of ChatGLM's tokenizer, with the names of diffusers' own wrapper."""

    def __init__(self, model_path: str) -> None:
        del model_path
        self.pieces = ["<unk>", "<s>", "</s>", *("▁" + word for word in WORDS), *map(chr, range(33, 127)), "▁"]
        self.bos_id, self.eos_id, self.pad_id = 1, 2, 0
        self.special_tokens = {"[gMASK]": len(self.pieces), "sop": len(self.pieces) + 1}
        self.index_special_tokens = {number: token for token, number in self.special_tokens.items()}
        self.n_words = len(self.pieces) + 2

    def tokenize(self, s: str, encode_special_tokens: bool = False) -> list[str]:
        del encode_special_tokens
        found = []
        for word in s.split():
            found += ["▁" + word] if "▁" + word in self.pieces else ["▁", *word]
        return found

    def convert_token_to_id(self, token: str) -> int:
        return self.special_tokens.get(token, self.pieces.index(token) if token in self.pieces else 0)

    def convert_id_to_token(self, index: int) -> str:
        return self.index_special_tokens.get(index) or ("" if index < 3 else self.pieces[index])


def kolors(tokenizer: CLIPTokenizer) -> Any:
    with warnings.catch_warnings():  # its text encoder has a function of torch.jit
        warnings.simplefilter("ignore", DeprecationWarning)
        from diffusers.pipelines.kolors.pipeline_kolors import KolorsPipeline
        from diffusers.pipelines.kolors.text_encoder import ChatGLMConfig, ChatGLMModel
        from diffusers.pipelines.kolors.tokenizer import ChatGLMTokenizer
    with patch("diffusers.pipelines.kolors.tokenizer.SPTokenizer", Pieces):
        own = ChatGLMTokenizer("none")
    config = ChatGLMConfig(
        num_layers=2,
        padded_vocab_size=own.vocab_size,
        hidden_size=16,
        ffn_hidden_size=16,
        kv_channels=8,
        num_attention_heads=2,
        seq_length=64,
        add_qkv_bias=True,
        original_rope=True,
    )
    text = ChatGLMModel(config).eval()
    for name, weight in text.named_parameters():  # of a new one they are whatever was in memory
        torch.nn.init.normal_(weight, mean=float("layernorm" in name), std=0.2)
    unet = UNet2DConditionModel(
        sample_size=32,
        in_channels=CHANNELS,
        out_channels=CHANNELS,
        block_out_channels=(8, 16),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        attention_head_dim=2,
        cross_attention_dim=16,
        norm_num_groups=4,
        encoder_hid_dim=16,
        encoder_hid_dim_type="text_proj",
        addition_embed_type="text_time",
        addition_time_embed_dim=4,
        projection_class_embeddings_input_dim=16 + 6 * 4,
        use_linear_projection=True,
    )
    scheduler: Any = EulerDiscreteScheduler(beta_start=0.00085, beta_end=0.014, beta_schedule="scaled_linear")
    return KolorsPipeline(
        vae=kl(),
        text_encoder=text,
        tokenizer=own,
        unet=sharpened(unet),
        scheduler=scheduler,
    )


MODERN: dict[str, Callable[..., Any]] = {
    "z-image": z_image,
    "flux2": flux2,
    "klein": klein,
    "chroma": chroma,
    "qwen21": qwen21,
    "krea": krea,
    "lumina2": lumina2,
    "hunyuan": hunyuan,
    "kolors": kolors,
}


class PictureProcessor(Processor):
    """A processor that puts four tokens in the place of each picture, as Qwen2.5-VL's does for one of 56x56 pixels."""

    def __call__(self, text: list[str], images: Any = None, **options: Any) -> Any:
        count = len(images) if isinstance(images, (list, tuple)) else 1
        found = self.tokenizer([one.replace("<|image_pad|>", "<|image_pad|>" * 4) for one in text], **options)
        found["pixel_values"] = torch.linspace(-1, 1, 16 * 1176).reshape(16, 1176).repeat(count, 1)
        found["image_grid_thw"] = torch.tensor([[1, 4, 4]] * count)
        return found


def qwen_edit(kind: Any, base: Any) -> Any:
    """Return an edit pipeline of Qwen-Image, with the models of the tiny text-to-image pipeline."""
    own = chat_tokenizer()
    config = Qwen2_5_VLConfig(
        text_config={
            "vocab_size": len(own),
            "bos_token_id": None,
            "eos_token_id": 0,
            "rope_scaling": {"mrope_section": [1, 1, 2], "rope_type": "default", "type": "default"},
            **{key: value for key, value in SIZES.items() if key != "head_dim"},
        },
        vision_config={"depth": 2, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2, "out_hidden_size": 16},
        image_token_id=own.convert_tokens_to_ids("<|image_pad|>"),
        vision_start_token_id=own.convert_tokens_to_ids("<|vision_start|>"),
        vision_end_token_id=own.convert_tokens_to_ids("<|vision_end|>"),
    )
    pipe = kind(
        scheduler=base.scheduler,
        vae=base.vae,
        text_encoder=Qwen2_5_VLForConditionalGeneration(config).eval(),
        tokenizer=own,
        processor=PictureProcessor(own),
        transformer=base.transformer,
    )
    begin = "<|im_start|>the picture of"
    vision = "<|vision_start|><|image_pad|><|vision_end|>" if "image_pad" in pipe.prompt_template_encode else ""
    pipe.prompt_template_encode = begin + vision + "{}<|im_end|>"
    pipe.prompt_template_encode_start_idx = len(own(begin)["input_ids"])
    return pipe
