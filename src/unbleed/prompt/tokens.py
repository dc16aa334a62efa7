"""Where each word's pieces stand in the sequence of the text encoders."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from ..errors import PromptError
from .entities import Entity, Parsed, Span
from .phrases import noun_phrases
from .words import split

Positions = tuple[int, ...]
LONGEST = 512  # of a tokenizer that does not say how much its encoder reads (T5)


@dataclass(frozen=True)
class Encoder:
    """How a text encoder is given a prompt."""

    tokenizer: Any  # of transformers
    length: int | None = None  # tokens that it is given; without it, what the tokenizer says
    template: str = "{}"  # what stands around the prompt
    cut: tuple[int, int] = (0, 0)  # positions of its sequence that the denoiser does not get to see
    lower: bool = False  # the prompt is given in lower case


@dataclass(frozen=True)
class PromptTokens:
    """Positions in the sequence that the denoiser attends to: that of one encoder, or of several one behind the other.

    `entities[i]` says where entity i's noun and its modifiers stand. An entity whose noun lies past the last position of
    every encoder is in `dropped` instead, a modifier that does is in `cut`.
    """

    pieces: tuple[str, ...]  # of the whole sequence, padding included
    entities: tuple[tuple[Positions, tuple[Positions, ...]], ...]  # (noun, its modifiers)
    kept: list[Entity]
    dropped: list[Entity]
    words: tuple[tuple[str, Positions], ...]  # every word and sign of the prompt, as far as an encoder reads
    own: Positions  # the prompt's own pieces, without start, end and padding
    end: int  # position of the first end token
    padded_with_end: bool  # SD 1 pads with the end token, SD 2 with "!"
    cut: tuple[Span, ...] = ()
    phrases: tuple[tuple[str, Positions], ...] = ()  # noun phrases, see `noun_phrases`, as far as an encoder reads


@dataclass(frozen=True)
class _Segment:
    """What the denoiser gets of one encoder's sequence."""

    pieces: tuple[str, ...]
    places: tuple[tuple[int, int], ...]  # characters of each of the prompt's pieces, also of those that were cut off
    first: int  # position of the first piece
    end: int  # position behind the last piece that is read
    padded_with_end: bool

    def positions(self, span: Span) -> Positions:
        """Return the positions of a word's pieces, none of them if it was cut off or cut in two."""
        last = bisect_left(self.places, (span.end, 0))
        first = last
        while first and self.places[first - 1][1] > span.start:
            first -= 1
        found = tuple(range(self.first + first, self.first + last))
        return found if not found or found[-1] < self.end else ()


def locate(parsed: Parsed, *encoders: Any) -> PromptTokens:
    """Return where the pieces of the entities of `parsed` stand, for one text encoder or several.

    An encoder is an `Encoder`, or a tokenizer of transformers. The sequences of several are taken as joined one behind the
    other in this order (SD3: CLIP, then T5); a word then stands in each of them.

    The positions are found by the characters that each piece covers, so repeated words, words of several pieces,
    `&`, hyphens and capitals need no rule of their own.

    Raises `PromptError` when a tokenizer does not say which characters a piece covers and they cannot be told from its
    spelling.
    """
    try:
        parsed.prompt.encode("utf-8")
    except UnicodeEncodeError as error:
        raise PromptError(f"the prompt is no valid text at character {error.start}; remove the lone surrogate there") from None
    segments = [_segment(parsed.prompt, e if isinstance(e, Encoder) else Encoder(e)) for e in encoders]
    starts = [sum(len(s.pieces) for s in segments[:number]) for number in range(len(segments))]

    def positions(span: Span) -> Positions:
        return tuple(start + p for start, segment in zip(starts, segments, strict=True) for p in segment.positions(span))

    kept, dropped, cut, places = [], [], [], []
    for entity in parsed.entities:
        noun = positions(entity.noun_span)
        if not noun:
            dropped.append(entity)
            continue
        kept.append(entity)
        cut += [span for span in entity.modifier_spans if not positions(span)]
        places.append((noun, tuple(p for span in entity.modifier_spans if (p := positions(span)))))
    return PromptTokens(
        pieces=tuple(chain.from_iterable(s.pieces for s in segments)),
        entities=tuple(places),
        kept=kept,
        dropped=dropped,
        words=tuple((span.text, p) for span in split(parsed.prompt) if (p := positions(span))),
        own=tuple(start + p for start, s in zip(starts, segments, strict=True) for p in range(s.first, s.end)),
        end=segments[0].end,
        padded_with_end=all(s.padded_with_end for s in segments),
        cut=tuple(cut),
        phrases=tuple((span.text, p) for span in noun_phrases(parsed) if (p := positions(span))),
    )


def _segment(prompt: str, encoder: Encoder) -> _Segment:
    tokenizer, start = encoder.tokenizer, encoder.template.index("{}")
    length = encoder.length or min(tokenizer.model_max_length, LONGEST)
    text = encoder.template.replace("{}", _lowered(prompt) if encoder.lower else prompt, 1)
    ids: list[int] = tokenizer(text, padding="max_length", max_length=length, truncation=True)["input_ids"]
    whole = tokenizer(text, return_special_tokens_mask=True, return_offsets_mapping=tokenizer.is_fast, verbose=False)
    special: list[int] = whole["special_tokens_mask"]
    head = next((i for i, mark in enumerate(special) if not mark), len(special) - 1)  # T5 has no start token
    behind = next((i for i, mark in enumerate(special) if mark and i >= head), len(special))
    tail = len(special) - behind  # tokens that a cut prompt has behind its pieces too
    if tokenizer.is_fast:
        places = whole["offset_mapping"][head:behind]
    else:
        places = _spelled(text, tokenizer.convert_ids_to_tokens(whole["input_ids"][head:behind]))
    own = (
        [number for number, (a, b) in enumerate(places) if a < start + len(prompt) and start < b]
        if start
        else range(len(places))
    )
    first = head + (own[0] if own else 0)
    skipped = encoder.cut[1] - encoder.cut[0]
    pieces = tokenizer.convert_ids_to_tokens(ids)
    return _Segment(
        pieces=(*pieces[: encoder.cut[0]], *pieces[encoder.cut[1] :]),
        places=tuple((places[number][0] - start, places[number][1] - start) for number in own),
        first=first - skipped,
        end=max(first, min(first + len(own), length - tail)) - skipped,
        padded_with_end=tokenizer.pad_token_id == tokenizer.eos_token_id,
    )


def _lowered(text: str) -> str:
    """Return the text in lower case, every letter in its place."""
    return "".join(low if len(low := letter.lower()) == 1 else letter for letter in text)


def _spelled(prompt: str, pieces: Sequence[str]) -> list[tuple[int, int]]:
    """Return the characters of each piece by its letters, for a tokenizer that keeps no account of them."""
    lowered = prompt.lower()
    places, at = [], 0
    for piece in pieces:
        letters = piece.removeprefix("##").removesuffix("</w>").strip("▁Ġ").lower()
        start = lowered.find(letters, at)
        if len(lowered) != len(prompt) or start < 0 or lowered[at:start].strip():
            raise PromptError(
                f'the tokenizer gives no character offsets, and its piece "{piece}" is not found in the prompt behind '
                f'"{prompt[:at][-20:]}"; load the fast form of the tokenizer, the default of transformers 5'
            )
        at = start + len(letters)
        places.append((start, at))
    return places
