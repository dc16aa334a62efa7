"""Models that answer yes-or-no questions about images: BLIP, ViLT, or a chat vision-language model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
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

BATCH = 32  # questions per forward of ViLT
CHAT_BATCH = 4  # questions per forward of a chat model


class Answers(Protocol):
    @property
    def fingerprint(self) -> str: ...

    def yes_confidence(self, images: Sequence[Image.Image], questions: Sequence[Sequence[str]]) -> list[list[float]]:
        """Return the confidence in "yes", 0 to 1, for the questions about each image; the answer is yes above 0.5."""
        ...


def answers(model: str, revision: str | None, device: str, dtype: str) -> Answers:
    """Return the answering model `model`, chosen by the model type in its config."""
    kind = Pretrained(model, "AutoModel", revision).config.model_type
    if kind == "blip":
        return BlipAnswers(Pretrained(model, "BlipForQuestionAnswering", revision, device, dtype))
    if kind == "vilt":
        return ViltAnswers(Pretrained(model, "ViltForQuestionAnswering", revision, device, dtype))
    return ChatAnswers(Pretrained(model, "AutoModelForImageTextToText", revision, device, dtype))


@dataclass(frozen=True)
class ViltAnswers:
    """ViLT, a classifier over answers: the softmax over the logits of "yes" and "no"."""

    pretrained: Pretrained

    @property
    def fingerprint(self) -> str:
        return self.pretrained.fingerprint

    @torch.inference_mode()
    def yes_confidence(self, images: Sequence[Image.Image], questions: Sequence[Sequence[str]]) -> list[list[float]]:
        network = self.pretrained.network
        labels = network.config.label2id
        if not {"yes", "no"} <= labels.keys():
            raise BenchError(
                f'"{self.pretrained.model}" has no answers "yes" and "no"; name a ViLT that was trained to answer questions'
            )
        inputs = self.pretrained.pixels(images)  # pixel values (image, rgb, height, width) and the mask of padding
        owners, texts = flat(questions)
        confidences: list[float] = []
        for start in range(0, len(texts), BATCH):
            tokens = self.pretrained.tokens(texts[start : start + BATCH], network.config.max_position_embeddings)
            pixels = {name: value[owners[start : start + BATCH]] for name, value in inputs.items()}
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)  # ViLT shuffles its patches; their order changes only the last bits
                logits = network(**tokens, **pixels).logits
            confidences += logits[:, [labels["yes"], labels["no"]]].float().softmax(dim=-1)[:, 0].tolist()
        return per_image(owners, confidences, len(images))


@dataclass(frozen=True)
class ChatAnswers:
    """A vision-language model with a chat template: the probabilities of its first token."""

    pretrained: Pretrained

    @property
    def fingerprint(self) -> str:
        return self.pretrained.fingerprint

    def yes_confidence(self, images: Sequence[Image.Image], questions: Sequence[Sequence[str]]) -> list[list[float]]:
        """Return P(Yes) / (P(Yes) + P(No))."""
        asked = [[f"{question} Please answer yes or no." for question in texts] for texts in questions]
        both = self.probabilities(images, asked, ("Yes", "No"))
        return [[yes / (yes + no) if yes + no else 0.0 for yes, no in image] for image in both]

    @torch.inference_mode()
    def probabilities(
        self, images: Sequence[Image.Image], texts: Sequence[Sequence[str]], words: Sequence[str]
    ) -> list[list[list[float]]]:
        """Return, for the texts about each image, the probability of each word as the first token of the reply."""
        ids = [self._id(word) for word in words]
        owners, flat_texts = flat(texts)
        found = [row[ids].tolist() for row in self._first_tokens(images, owners, flat_texts)]
        return per_image(owners, found, len(images))

    @torch.inference_mode()
    def chances(
        self, images: Sequence[Image.Image], texts: Sequence[Sequence[str]], ways: Sequence[Sequence[Sequence[str]]]
    ) -> list[list[float]]:
        """Return, for the texts about each image, the probability that the first token of the reply is one of several.

        `ways` are the ways to write the answer to each text; those that are one token count.
        """
        owners, flat_texts = flat(texts)
        ids = [self._ids(own) for per_text in ways for own in per_text]
        rows = self._first_tokens(images, owners, flat_texts)
        return per_image(owners, [summed(row, own) for row, own in zip(rows, ids, strict=True)], len(images))

    def _first_tokens(self, images: Sequence[Image.Image], owners: Sequence[int], texts: Sequence[str]) -> Iterator[Tensor]:
        """Yield, for each text about the image that owns it, the probabilities of the reply's first token, (token,)."""
        network = self.pretrained.network
        for start in range(0, len(texts), CHAT_BATCH):
            part = slice(start, start + CHAT_BATCH)
            chats = [_chat(images[owner], text) for owner, text in zip(owners[part], texts[part], strict=True)]
            logits = network(**self._batch(chats), logits_to_keep=1).logits[:, -1]
            yield from logits.float().softmax(dim=-1).cpu()

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
        processor.tokenizer.padding_side = "left"  # so that the last position of every row is the end of its question
        return processor

    def _encode(self, word: str) -> list[int]:
        return self._processor.tokenizer(word, add_special_tokens=False)["input_ids"]

    def _ids(self, ways: Sequence[str]) -> tuple[int, ...]:
        ids = one_token_each(self._encode, ways)
        if not ids:
            raise BenchError(
                f'no way to write "{ways[0]}" is one token for "{self.pretrained.model}"; name a model that has one for it'
            )
        return ids

    def _id(self, word: str) -> int:
        ids = self._encode(word)
        if len(ids) != 1:
            raise BenchError(f'"{word}" is {len(ids)} tokens for "{self.pretrained.model}"; name a model with one token for it')
        return ids[0]


def one_token_each(encode: Callable[[str], Sequence[int]], ways: Sequence[str]) -> tuple[int, ...]:
    """Return the tokens of those texts that are one token each, every token once.

    >>> one_token_each({"4": [4], " 4": [32, 4], "four": [7], "Four": [7]}.get, ["4", " 4", "four", "Four"])
    (4, 7)
    """
    found = [list(encode(way)) for way in ways]
    return tuple(dict.fromkeys(ids[0] for ids in found if len(ids) == 1))


def summed(probabilities: Tensor, ids: Sequence[int]) -> float:
    """Return the sum of some of the probabilities, (token,)."""
    return float(probabilities[list(ids)].sum())


def _chat(image: Image.Image, text: str) -> list[dict[str, Any]]:
    content = [{"type": "image", "image": image.convert("RGB")}, {"type": "text", "text": text}]
    return [{"role": "user", "content": content}]
