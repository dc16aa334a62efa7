"""Entities encoded apart: the embeddings of an entity's tokens are mixed with those of its noun phrase alone.

In a text encoder that mixes words, the embedding of "bench" in "a red cat and a blue bench" depends on the cat. That of "a blue
bench" alone does not. With W the embedding of the prompt and W_e that of entity e's phrase, aligned token by token, the tokens
of e become

    (1 - share) W + share W_e

in the text-conditioned rows. All other tokens keep the prompt's embedding, and so does an entity whose words are not adjacent.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ..guidance.edit import ActiveEdit, BatchRows, CallContext, Edit
from ..prompt import Parsed, PromptTokens
from ..prompt.phrases import phrases_of
from ..prompt.words import split
from ..settings import Share, setting


def aligned(parsed: Parsed, tokens: PromptTokens) -> Iterator[tuple[str, list[int], list[int]]]:
    """Yield each entity's phrase, the positions of its tokens in the prompt's sequence, and their positions in the phrase's."""
    positions = dict(zip(split(parsed.prompt), (where for _, where in tokens.words), strict=False))
    starts = _starts(tokens.own)
    for entity, phrase in zip(parsed.entities, phrases_of(parsed), strict=True):
        spans = sorted((*entity.modifier_spans, entity.noun_span))
        begin = parsed.prompt.rfind(phrase, 0, spans[-1].end)
        if entity not in tokens.kept or begin < 0 or begin > spans[0].start:
            continue
        inside = [p for span, where in positions.items() if begin <= span.start < begin + len(phrase) for p in where]
        own = [p for span in spans for p in positions.get(span, ())]
        if tokens.padded_before and inside:  # the phrase alone ends where the prompt does
            yield phrase, own, [p + max(tokens.own) - max(inside) for p in own]
            continue
        first = {start: min(p for p in inside if starts[p] == start) for start in {starts[p] for p in inside}}
        yield phrase, own, [starts[p] + p - first[starts[p]] for p in own]


def _starts(own: Sequence[int]) -> dict[int, int]:
    """Return, for each position of the prompt's tokens, the first such position in the same text encoder's sequence."""
    starts: dict[int, int] = {}
    for position in sorted(own):
        starts[position] = starts.get(position - 1, position)
    return starts


@dataclass(frozen=True)
class ApartEdit(Edit):
    """Mix the embeddings of each entity's tokens with those of its phrase encoded alone.

    This project, 2026.

    >>> ApartEdit(share=0.25).share
    0.25
    """

    share: Share = setting(0.5, help="weight of the phrase's own embedding, from 0 to 1")

    families: ClassVar[tuple[str, ...] | None] = None
    needs = "two entities"

    def open(self, context: CallContext) -> ActiveEdit:
        entities = [list(aligned(parsed, tokens)) for parsed, tokens in zip(context.parsed, context.tokens, strict=True)]
        entities = [found if len(found) > 1 else [] for found in entities]  # a single entity has no other to be kept apart from
        texts = sorted({phrase for found in entities for phrase, _, _ in found})
        encoded = dict(zip(texts, context.encode(texts), strict=True)) if texts else {}
        return _Apart([[(own, encoded[phrase], alone) for phrase, own, alone in found] for found in entities], self.share)


class _Apart(ActiveEdit):
    def __init__(self, entities: list[list[tuple[list[int], Tensor, list[int]]]], share: float) -> None:
        self.entities, self.share = entities, share

    def applies_to(self, image: int) -> bool:
        return bool(self.entities[image])

    def text(self, embeddings: Tensor, rows: BatchRows) -> Tensor:
        if not any(self.entities[image] for image in rows.images):
            return embeddings
        mixed = embeddings.clone()
        for row, image in enumerate(rows.images, start=rows.first):
            for own, phrase, alone in self.entities[image]:
                there = [(p, q) for p, q in zip(own, alone, strict=True) if p < embeddings.shape[1] and q < len(phrase)]
                if there:
                    at, of = map(list, zip(*there, strict=True))
                    mixed[row, at] = (1 - self.share) * embeddings[row, at] + self.share * phrase[of].to(embeddings)
        return mixed
