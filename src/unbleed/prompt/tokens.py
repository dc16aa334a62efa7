"""Where each word's pieces stand in the sequence of a text encoder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..errors import PromptError
from .entities import Entity, Parsed, Span
from .parse import split
from .phrases import noun_phrases

Positions = tuple[int, ...]


@dataclass(frozen=True)
class PromptTokens:
    """Positions in the encoder's sequence; position 0 is the start token.

    `entities[i]` says where entity i's noun and its modifiers stand. An entity whose noun lies past the encoder's
    last position is in `dropped` instead, a modifier that does is left out.
    """

    pieces: tuple[str, ...]  # of the whole sequence, padding included
    entities: tuple[tuple[Positions, tuple[Positions, ...]], ...]  # (noun, its modifiers)
    kept: list[Entity]
    dropped: list[Entity]
    words: tuple[tuple[str, Positions], ...]  # every word and sign of the prompt, as far as the encoder reads
    end: int  # position of the first end token; the prompt's own pieces are 1 .. end-1
    padded_with_end: bool  # SD 1 pads with the end token, SD 2 with "!"
    phrases: tuple[tuple[str, Positions], ...] = ()  # noun phrases, see `noun_phrases`, as far as the encoder reads


def locate(parsed: Parsed, tokenizer: Any) -> PromptTokens:
    """Return where the pieces of the entities of `parsed` stand, for a fast `tokenizer` of transformers.

    The positions are found by the characters that each piece covers, so repeated words, words of several pieces,
    `&`, hyphens and capitals need no rule of their own.

    Raises `PromptError` when the tokenizer does not say which characters a piece covers.
    """
    if not getattr(tokenizer, "is_fast", False):
        raise PromptError(
            f"{type(tokenizer).__name__} gives no character offsets; load the fast form of the tokenizer, "
            "the default of transformers 5"
        )
    try:
        parsed.prompt.encode("utf-8")
    except UnicodeEncodeError as error:
        raise PromptError(f"the prompt is no valid text at character {error.start}; remove the lone surrogate there") from None
    length = tokenizer.model_max_length
    ids: list[int] = tokenizer(parsed.prompt, padding="max_length", max_length=length, truncation=True)["input_ids"]
    whole: list[tuple[int, int]] = tokenizer(parsed.prompt, return_offsets_mapping=True, verbose=False)["offset_mapping"]
    # the first end token behind the start token: some encoders use one token for start, end and padding
    end = next((i for i, token in enumerate(ids) if i > 0 and token == tokenizer.eos_token_id), len(ids))

    def positions(span: Span) -> Positions:
        """Return the positions of a word's pieces, none of them if it was cut off or cut in two."""
        found = tuple(i for i, (a, b) in enumerate(whole) if i > 0 and a < span.end and span.start < b)
        return found if not found or found[-1] < end else ()

    kept, dropped, places = [], [], []
    for entity in parsed.entities:
        noun = positions(entity.noun_span)
        if not noun:
            dropped.append(entity)
            continue
        kept.append(entity)
        places.append((noun, tuple(p for span in entity.modifier_spans if (p := positions(span)))))
    return PromptTokens(
        pieces=tuple(tokenizer.convert_ids_to_tokens(ids)),
        entities=tuple(places),
        kept=kept,
        dropped=dropped,
        words=tuple((span.text, p) for span in split(parsed.prompt) if (p := positions(span))),
        phrases=tuple((span.text, p) for span in noun_phrases(parsed) if (p := positions(span))),
        end=end,
        padded_with_end=tokenizer.pad_token_id == tokenizer.eos_token_id,
    )
