"""Whoever answers questions about pictures with yes or no: BLIP, ViLT, or a vision-language model that is chatted with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import torch
from PIL import Image
from torch import Tensor

from ...errors import BenchError
from .asked import flat, per_image
from .blip import BlipAnswers
from .models import Pretrained

BATCH = 32  # questions in one forward of ViLT
CHAT_BATCH = 4  # and of a model of gigabytes


class Answers(Protocol):
    @property
    def fingerprint(self) -> str: ...

    def says_yes(self, images: Sequence[Image.Image], questions: Sequence[Sequence[str]]) -> list[list[float]]:
        """Return how sure "yes" is, 0 to 1, for the questions of each picture; "yes" is said above a half."""
        ...


def answers(model: str, revision: str | None, device: str, dtype: str) -> Answers:
    """Return who answers with `model`, by the kind of model that its config names."""
    kind = Pretrained(model, "AutoModel", revision).config.model_type
    if kind == "blip":
        return BlipAnswers(Pretrained(model, "BlipForQuestionAnswering", revision, device, dtype))
    if kind == "vilt":
        return ViltAnswers(Pretrained(model, "ViltForQuestionAnswering", revision, device, dtype))
    return ChatAnswers(Pretrained(model, "AutoModelForImageTextToText", revision, device, dtype))


@dataclass(frozen=True)
class ViltAnswers:
    """A classifier over answers: exp(yes) / (exp(yes) + exp(no)) of their two logits."""

    pretrained: Pretrained

    @property
    def fingerprint(self) -> str:
        return self.pretrained.fingerprint

    @torch.inference_mode()
    def says_yes(self, images: Sequence[Image.Image], questions: Sequence[Sequence[str]]) -> list[list[float]]:
        network = self.pretrained.network
        labels = network.config.label2id
        if not {"yes", "no"} <= labels.keys():
            raise BenchError(
                f'"{self.pretrained.model}" has no answers "yes" and "no"; name a ViLT that was trained to answer questions'
            )
        seen = self.pretrained.pixels(images)  # (image, rgb, height, width), and which pixels are no padding
        places, texts = flat(questions)
        sure: list[float] = []
        for start in range(0, len(texts), BATCH):
            tokens = self.pretrained.tokens(texts[start : start + BATCH], network.config.max_position_embeddings)
            pixels = {name: value[places[start : start + BATCH]] for name, value in seen.items()}
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)  # ViLT shuffles its patches: their order changes nothing but the last bits
                logits = network(**tokens, **pixels).logits
            sure += logits[:, [labels["yes"], labels["no"]]].float().softmax(dim=-1)[:, 0].tolist()
        return per_image(places, sure, len(images))


@dataclass(frozen=True)
class ChatAnswers:
    """A vision-language model with a chat template; what it would say first."""

    pretrained: Pretrained

    @property
    def fingerprint(self) -> str:
        return self.pretrained.fingerprint

    def says_yes(self, images: Sequence[Image.Image], questions: Sequence[Sequence[str]]) -> list[list[float]]:
        """Return P(Yes) / (P(Yes) + P(No))."""
        asked = [[f"{question} Please answer yes or no." for question in texts] for texts in questions]
        both = self.probabilities(images, asked, ("Yes", "No"))
        return [[yes / (yes + no) if yes + no else 0.0 for yes, no in of_image] for of_image in both]

    @torch.inference_mode()
    def probabilities(
        self, images: Sequence[Image.Image], texts: Sequence[Sequence[str]], words: Sequence[str]
    ) -> list[list[list[float]]]:
        """Return, for the texts of each picture, the probability of each word as the first token of the reply."""
        network, ids = self.pretrained.network, [self._id(word) for word in words]
        places, flat_texts = flat(texts)
        found: list[list[float]] = []
        for start in range(0, len(flat_texts), CHAT_BATCH):
            part = slice(start, start + CHAT_BATCH)
            chats = [_chat(images[place], text) for place, text in zip(places[part], flat_texts[part], strict=True)]
            logits = network(**self._batch(chats), logits_to_keep=1).logits[:, -1]
            found += logits.float().softmax(dim=-1)[:, ids].tolist()
        return per_image(places, found, len(images))

    def _batch(self, chats: list[list[dict[str, Any]]]) -> dict[str, Tensor]:
        made = self._processor.apply_chat_template(
            chats,
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
            processor_kwargs={"padding": True},
        )
        return made.to(self.pretrained.device, dtype=next(self.pretrained.network.parameters()).dtype)

    @cached_property
    def _processor(self) -> Any:
        processor = self.pretrained.processor
        processor.tokenizer.padding_side = "left"  # so that the last place of every row is the end of its question
        return processor

    def _id(self, word: str) -> int:
        ids = self._processor.tokenizer(word, add_special_tokens=False)["input_ids"]
        if len(ids) != 1:
            raise BenchError(f'"{word}" is {len(ids)} tokens to "{self.pretrained.model}"; name a model to which it is one')
        return ids[0]


def _chat(image: Image.Image, text: str) -> list[dict[str, Any]]:
    content = [{"type": "image", "image": image.convert("RGB")}, {"type": "text", "text": text}]
    return [{"role": "user", "content": content}]
