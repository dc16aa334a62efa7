"""BLIP's answers to questions about images.

The decoder of transformers' BLIP ignores the attention mask and attends to padding (5.23), so that an answer would depend on
the rest of its batch. Here only questions of equal length share a batch, without padding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor

from .asked import flat, per_image
from .models import Pretrained

BATCH = 32  # images, or questions, per forward
QUESTION_LENGTH = 35  # tokens, as in BLIP's own code


@dataclass(frozen=True)
class BlipAnswers:
    """BLIP for visual question answering."""

    pretrained: Pretrained

    @property
    def fingerprint(self) -> str:
        return self.pretrained.fingerprint

    def yes_probabilities(self, images: Sequence[Image.Image], questions: Sequence[Sequence[str]]) -> list[list[float]]:
        """Return P(yes) / (P(yes) + P(no)) at the decoder's first step, for the questions about each image.

        Questions begin with BLIP's [ENC], as in training; transformers would leave BERT's [CLS] there.
        """
        yes, no = self._id("yes"), self._id("no")

        def probability(questioned: Tensor) -> Tensor:
            return yes_probability(self._next(questioned, self._start(len(questioned))), yes, no)

        # BLIP appends [DEC] and [ENC] to BERT's vocabulary
        return self._ask(images, questions, probability, first=self.pretrained.network.config.text_config.vocab_size - 1)

    def yes_confidence(self, images: Sequence[Image.Image], questions: Sequence[Sequence[str]]) -> list[list[float]]:
        """Return 1 where the greedy answer is exactly "yes", else 0. Questions are tokenized as transformers does."""
        yes, end = self._id("yes"), self.pretrained.network.config.text_config.sep_token_id

        def says(questioned: Tensor) -> Tensor:
            start = self._start(len(questioned))
            first = self._next(questioned, start).argmax(dim=-1)
            then = self._next(questioned, torch.cat([start, first[:, None]], dim=1)).argmax(dim=-1)
            return (first == yes) & (then == end)

        return self._ask(images, questions, says)

    @torch.inference_mode()
    def _ask(
        self,
        images: Sequence[Image.Image],
        questions: Sequence[Sequence[str]],
        answer: Callable[[Tensor], Tensor],
        *,
        first: int | None = None,
    ) -> list[list[float]]:
        """Return `answer` of the encoded questions (question, token, channel), grouped by image.

        `first` replaces each question's first token.
        """
        network, tokenizer = self.pretrained.network, self.pretrained.tokenizer
        encoded = torch.cat(
            [
                network.vision_model(**self.pretrained.pixels(images[start : start + BATCH])).last_hidden_state
                for start in range(0, len(images), BATCH)
            ]
        )  # (image, patch, channel)
        owners, texts = flat(questions)
        by_length: dict[int, list[int]] = {}
        tokens = [tokenizer(text, truncation=True, max_length=QUESTION_LENGTH)["input_ids"] for text in texts]
        for number, ids in enumerate(tokens):
            by_length.setdefault(len(ids), []).append(number)
        answers = [0.0] * len(texts)
        for numbers in by_length.values():
            for start in range(0, len(numbers), BATCH):
                part = numbers[start : start + BATCH]
                ids = torch.tensor([tokens[number] for number in part], device=encoded.device)
                if first is not None:
                    ids[:, 0] = first
                patches = encoded[[owners[number] for number in part]]
                questioned = network.text_encoder(input_ids=ids, encoder_hidden_states=patches).last_hidden_state
                for number, value in zip(part, answer(questioned).float().tolist(), strict=True):
                    answers[number] = value
        return per_image(owners, answers, len(images))

    def _next(self, questioned: Tensor, prefix: Tensor) -> Tensor:
        """Return the logits of the token after `prefix` (question, token)."""
        decoder = self.pretrained.network.text_decoder
        return decoder(input_ids=prefix, encoder_hidden_states=questioned).logits[:, -1].float()

    def _start(self, count: int) -> Tensor:
        network = self.pretrained.network
        return torch.full((count, 1), network.decoder_start_token_id, device=self.pretrained.device)

    def _id(self, word: str) -> int:
        return self.pretrained.tokenizer.convert_tokens_to_ids(word)


def yes_probability(logits: Tensor, yes: int, no: int) -> Tensor:
    """Return P(yes) / (P(yes) + P(no)), shape (question,), from logits (question, token)."""
    return logits[:, [yes, no]].softmax(dim=-1)[:, 0]
