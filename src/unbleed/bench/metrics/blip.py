"""BLIP's answers to questions about pictures.

`BlipForQuestionAnswering.generate` attends to the padding of the questions, so that an answer depends on the others of its
batch; here the decoder is called with the questions' mask.
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
        yes, no = self._ids("yes"), self._ids("no")

        def share(questioned: Tensor, mask: Tensor) -> list[float]:
            return share_of_yes(self._next(questioned, mask, self._start(len(mask))), yes, no).tolist()

        return self._ask(images, questions, share, encoder_token=True)

    def says_yes(self, images: Sequence[Image.Image], questions: Sequence[Sequence[str]]) -> list[list[float]]:
        """Return 1 where the greedy answer is "yes" and nothing else, 0 elsewhere; the question as transformers makes it."""
        yes, end = self._ids("yes"), self.pretrained.network.config.text_config.sep_token_id

        def says(questioned: Tensor, mask: Tensor) -> list[float]:
            start = self._start(len(mask))
            first = self._next(questioned, mask, start).argmax(dim=-1)
            then = self._next(questioned, mask, torch.cat([start, first[:, None]], dim=1)).argmax(dim=-1)
            return ((first == yes) & (then == end)).float().tolist()

        return self._ask(images, questions, says, encoder_token=False)

    @torch.inference_mode()
    def _ask(
        self,
        images: Sequence[Image.Image],
        questions: Sequence[Sequence[str]],
        answer: Callable[[Tensor, Tensor], list[float]],
        *,
        encoder_token: bool,
    ) -> list[list[float]]:
        """Return what `answer` makes of the questions as read before the picture (question, token, channel), and their mask."""
        network = self.pretrained.network
        seen = torch.cat(
            [
                network.vision_model(**self.pretrained.pixels(images[start : start + BATCH])).last_hidden_state
                for start in range(0, len(images), BATCH)
            ]
        )  # (image, place, channel)
        places, texts = flat(questions)
        answers: list[float] = []
        for start in range(0, len(texts), BATCH):
            tokens = self.pretrained.tokens(texts[start : start + BATCH], QUESTION_LENGTH)
            if encoder_token:  # BLIP adds [DEC] and [ENC] behind BERT's vocabulary
                tokens["input_ids"][:, 0] = network.config.text_config.vocab_size - 1
            questioned = network.text_encoder(
                **tokens, encoder_hidden_states=seen[places[start : start + BATCH]]
            ).last_hidden_state
            answers += answer(questioned, tokens["attention_mask"])
        return per_image(places, answers, len(images))

    def _next(self, questioned: Tensor, mask: Tensor, said: Tensor) -> Tensor:
        """Return the logits of the token after `said` (question, token)."""
        decoder = self.pretrained.network.text_decoder
        return decoder(input_ids=said, encoder_hidden_states=questioned, encoder_attention_mask=mask).logits[:, -1].float()

    def _start(self, count: int) -> Tensor:
        network = self.pretrained.network
        return torch.full((count, 1), network.decoder_start_token_id, device=self.pretrained.device)

    def _ids(self, word: str) -> int:
        return self.pretrained.tokenizer.convert_tokens_to_ids(word)


def share_of_yes(logits: Tensor, yes: int, no: int) -> Tensor:
    """Return P(yes) / (P(yes) + P(no)) of logits (question, token) as (question,)."""
    return logits[:, [yes, no]].softmax(dim=-1)[:, 0]
