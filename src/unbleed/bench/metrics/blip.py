"""BLIP's answers to questions about pictures.

The decoder of transformers' BLIP attends to the padding of the questions, whatever mask it is given (5.23), so that an answer
depends on the others of its batch; here questions of one length are asked together, without any padding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor

from .asked import flat, per_image
from .models import Pretrained

BATCH = 32  # pictures, and questions, in one forward
QUESTION_LENGTH = 35  # tokens, as in BLIP's own code


@dataclass(frozen=True)
class BlipAnswers:
    pretrained: Pretrained

    @property
    def fingerprint(self) -> str:
        return self.pretrained.fingerprint

    def shares_of_yes(self, images: Sequence[Image.Image], questions: Sequence[Sequence[str]]) -> list[list[float]]:
        """Return P(yes) / (P(yes) + P(no)) at the decoder's first step, for the questions of each picture.

        Questions begin with BLIP's [ENC], as they did in training; transformers leaves BERT's [CLS] there.
        """
        yes, no = self._id("yes"), self._id("no")

        def share(questioned: Tensor) -> Tensor:
            return share_of_yes(self._next(questioned, self._start(len(questioned))), yes, no)

        # BLIP adds [DEC] and [ENC] behind BERT's vocabulary
        return self._ask(images, questions, share, first=self.pretrained.network.config.text_config.vocab_size - 1)

    def says_yes(self, images: Sequence[Image.Image], questions: Sequence[Sequence[str]]) -> list[list[float]]:
        """Return 1 where the greedy answer is "yes" and nothing else, 0 elsewhere; the question as transformers makes it."""
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
        """Return what `answer` makes of the questions as read before their pictures (question, token, channel).

        `first` is put in place of each question's first token.
        """
        network, tokenizer = self.pretrained.network, self.pretrained.tokenizer
        seen = torch.cat(
            [
                network.vision_model(**self.pretrained.pixels(images[start : start + BATCH])).last_hidden_state
                for start in range(0, len(images), BATCH)
            ]
        )  # (image, place, channel)
        places, texts = flat(questions)
        by_length: dict[int, list[int]] = {}
        tokens = [tokenizer(text, truncation=True, max_length=QUESTION_LENGTH)["input_ids"] for text in texts]
        for number, of_text in enumerate(tokens):
            by_length.setdefault(len(of_text), []).append(number)
        answers = [0.0] * len(texts)
        for numbers in by_length.values():
            for start in range(0, len(numbers), BATCH):
                part = numbers[start : start + BATCH]
                ids = torch.tensor([tokens[number] for number in part], device=seen.device)
                if first is not None:
                    ids[:, 0] = first
                before = seen[[places[number] for number in part]]
                questioned = network.text_encoder(input_ids=ids, encoder_hidden_states=before).last_hidden_state
                for number, value in zip(part, answer(questioned).float().tolist(), strict=True):
                    answers[number] = value
        return per_image(places, answers, len(images))

    def _next(self, questioned: Tensor, said: Tensor) -> Tensor:
        """Return the logits of the token after `said` (question, token)."""
        decoder = self.pretrained.network.text_decoder
        return decoder(input_ids=said, encoder_hidden_states=questioned).logits[:, -1].float()

    def _start(self, count: int) -> Tensor:
        network = self.pretrained.network
        return torch.full((count, 1), network.decoder_start_token_id, device=self.pretrained.device)

    def _id(self, word: str) -> int:
        return self.pretrained.tokenizer.convert_tokens_to_ids(word)


def share_of_yes(logits: Tensor, yes: int, no: int) -> Tensor:
    """Return P(yes) / (P(yes) + P(no)) of logits (question, token) as (question,)."""
    return logits[:, [yes, no]].softmax(dim=-1)[:, 0]
