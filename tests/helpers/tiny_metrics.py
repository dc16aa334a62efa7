"""Tiny random models of the kinds that metrics look with, saved in the layout of the real ones: no downloads.

Weights are larger than at the beginning of a training, so that answers depend on what is asked and shown.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import (
    BertTokenizer,
    BlipConfig,
    BlipForConditionalGeneration,
    BlipForQuestionAnswering,
    BlipImageProcessorPil,
    CLIPConfig,
    CLIPImageProcessorPil,
    CLIPModel,
    CLIPTokenizer,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    Mask2FormerConfig,
    Mask2FormerForUniversalSegmentation,
    Mask2FormerImageProcessorPil,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen2VLImageProcessorPil,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    Qwen3VLProcessor,
    SwinConfig,
    ViltConfig,
    ViltForQuestionAnswering,
    ViltImageProcessorPil,
)

from helpers.tiny import LETTERS, WORDS, llm_tokenizer

SIDE = 32  # pixels
TRUNK = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
CHAT = (
    "{% for message in messages %}user:{% for part in message['content'] %}"
    "{{ '<image>' if part['type'] == 'image' else part['text'] }}{% endfor %}{% endfor %} assistant:"
)


def lively(network: nn.Module) -> Any:
    generator = torch.Generator().manual_seed(0)
    for name, parameter in network.named_parameters():
        if parameter.ndim > 1 or name.endswith("embedding"):
            nn.init.normal_(parameter, std=0.3, generator=generator)
    return network.eval()


def clip(folder: Path, tokenizer: CLIPTokenizer) -> Path:
    vision = {**TRUNK, "image_size": SIDE, "patch_size": 16}
    text = {
        **TRUNK,
        "vocab_size": len(tokenizer),
        "max_position_embeddings": tokenizer.model_max_length,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    network = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=8, logit_scale_init_value=2.0))
    lively(network).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    CLIPImageProcessorPil(size={"shortest_edge": SIDE}, crop_size=SIDE).save_pretrained(folder)
    return folder


def bert_tokenizer() -> BertTokenizer:
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "yes", "no", *WORDS, "picture", "is", "there", "any", *LETTERS]
    pieces += ["##" + letter for letter in LETTERS]
    return BertTokenizer(vocab={piece: number for number, piece in enumerate(dict.fromkeys(pieces))})


def blip(folder: Path, *, captions: bool = False) -> Path:
    tokenizer = bert_tokenizer()
    text = {
        **TRUNK,
        "vocab_size": len(tokenizer) + 2,  # [DEC] and [ENC] behind BERT's own
        "bos_token_id": len(tokenizer),
        "pad_token_id": tokenizer.pad_token_id,
        "sep_token_id": tokenizer.sep_token_id,
        "eos_token_id": tokenizer.sep_token_id,
        "encoder_hidden_size": 16,
        "max_position_embeddings": 40,
    }
    config = BlipConfig(text_config=text, vision_config={**TRUNK, "image_size": SIDE, "patch_size": 16}, projection_dim=8)
    lively((BlipForConditionalGeneration if captions else BlipForQuestionAnswering)(config)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    BlipImageProcessorPil(size={"height": SIDE, "width": SIDE}).save_pretrained(folder)
    return folder


def vilt(folder: Path) -> Path:
    tokenizer = bert_tokenizer()
    config = ViltConfig(
        **TRUNK,
        vocab_size=len(tokenizer),
        image_size=SIDE,
        patch_size=16,
        id2label={0: "cat", 1: "yes", 2: "red", 3: "no"},
        label2id={"cat": 0, "yes": 1, "red": 2, "no": 3},
    )
    lively(ViltForQuestionAnswering(config)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    ViltImageProcessorPil(size={"shortest_edge": SIDE}, size_divisor=16).save_pretrained(folder)
    return folder


def llava(folder: Path) -> Path:
    tokenizer = llm_tokenizer("<pad>", "</s>", "<image>", "Yes", "No")
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(**TRUNK, image_size=SIDE, patch_size=16),
        text_config=LlamaConfig(
            **TRUNK, vocab_size=len(tokenizer), head_dim=8, pad_token_id=0, bos_token_id=None, eos_token_id=1
        ),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        vision_feature_select_strategy="default",
        vision_feature_layer=-1,
    )
    lively(LlavaForConditionalGeneration(config)).save_pretrained(folder)
    LlavaProcessor(
        image_processor=CLIPImageProcessorPil(size={"shortest_edge": SIDE}, crop_size=SIDE),
        tokenizer=tokenizer,
        patch_size=16,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=CHAT,
    ).save_pretrained(folder)
    return folder


def qwen(folder: Path) -> Qwen2_5_VLProcessor:
    """Save the network; return its processor, which without torchvision can be made but not loaded."""
    marks = ("image_pad", "video_pad", "vision_start", "vision_end")
    specials = [f"<|{mark}|>" for mark in ("endoftext", "im_start", "im_end", *marks)]
    tokenizer = llm_tokenizer(*specials, "Yes", "No")
    image, video, start, end = (tokenizer.convert_tokens_to_ids(f"<|{mark}|>") for mark in marks)
    config = Qwen2_5_VLConfig(
        text_config={
            **TRUNK,
            "vocab_size": len(tokenizer),
            "bos_token_id": None,
            "eos_token_id": 0,
            "num_key_value_heads": 2,
            "rope_scaling": {"mrope_section": [1, 1, 2], "rope_type": "default", "type": "default"},
        },
        vision_config={"depth": 2, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2, "out_hidden_size": 16},
        image_token_id=image,
        video_token_id=video,
        vision_start_token_id=start,
        vision_end_token_id=end,
    )
    lively(Qwen2_5_VLForConditionalGeneration(config)).save_pretrained(folder)
    pictures = Qwen2VLImageProcessorPil(size={"shortest_edge": 28 * 28, "longest_edge": 56 * 56})
    template = CHAT.replace("<image>", "<|vision_start|><|image_pad|><|vision_end|>")
    return Qwen2_5_VLProcessor(pictures, tokenizer, None, chat_template=template)


def qwen3(folder: Path) -> Qwen3VLProcessor:
    """Save a tiny Qwen3-VL; return its processor, see `qwen`. It knows "yes", and "Yes" as one token."""
    marks = ("image_pad", "video_pad", "vision_start", "vision_end")
    specials = [f"<|{mark}|>" for mark in ("endoftext", "im_start", "im_end", *marks)]
    tokenizer = llm_tokenizer(*specials, "Yes", "yes")
    image, video, start, end = (tokenizer.convert_tokens_to_ids(f"<|{mark}|>") for mark in marks)
    config = Qwen3VLConfig(
        text_config={
            **TRUNK,
            "vocab_size": len(tokenizer),
            "head_dim": 8,
            "num_key_value_heads": 2,
            "rope_parameters": {"mrope_section": [1, 1, 2], "rope_type": "default", "rope_theta": 10000.0},
        },
        vision_config={
            "depth": 2,
            "hidden_size": 16,
            "intermediate_size": 16,
            "num_heads": 2,
            "out_hidden_size": 16,
            "deepstack_visual_indexes": [0],
            "num_position_embeddings": 16,
        },
        image_token_id=image,
        video_token_id=video,
        vision_start_token_id=start,
        vision_end_token_id=end,
    )
    lively(Qwen3VLForConditionalGeneration(config)).save_pretrained(folder)
    pictures = Qwen2VLImageProcessorPil(
        size={"shortest_edge": 32 * 32, "longest_edge": 64 * 64}, patch_size=16, temporal_patch_size=2, merge_size=2
    )
    template = CHAT.replace("<image>", "<|vision_start|><|image_pad|><|vision_end|>")
    return Qwen3VLProcessor(pictures, tokenizer, None, chat_template=template)


def mask2former(folder: Path) -> Path:
    labels = {0: "cat", 1: "mouse", 2: "car"}
    config = Mask2FormerConfig(
        backbone_config=SwinConfig(
            image_size=SIDE,
            patch_size=4,
            embed_dim=8,
            depths=[1, 1, 1, 1],
            num_heads=[1, 1, 1, 1],
            window_size=2,
            out_features=["stage1", "stage2", "stage3", "stage4"],
        ),
        feature_size=32,
        mask_feature_size=32,
        hidden_dim=32,
        encoder_feedforward_dim=16,
        dim_feedforward=16,
        encoder_layers=1,
        decoder_layers=2,
        num_attention_heads=2,
        num_queries=12,
        id2label=labels,
        label2id={label: number for number, label in labels.items()},
    )
    network = lively(Mask2FormerForUniversalSegmentation(config))
    with torch.no_grad():
        network.class_predictor.weight.mul_(8)  # sure of something
    network.save_pretrained(folder)
    Mask2FormerImageProcessorPil(size={"height": 2 * SIDE, "width": 2 * SIDE}, size_divisor=32).save_pretrained(folder)
    return folder
