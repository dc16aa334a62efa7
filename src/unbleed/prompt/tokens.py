"""Where each word's pieces stand in the sequence of the text encoders."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from ..errors import PromptError
from .alignment import Find, aligned, counterparts
from .entities import Entity, Parsed, Span
from .phrases import phrase_places
from .words import split

Positions = tuple[int, ...]
LONGEST = 512  # of a tokenizer that does not say how much its encoder reads (T5)


def as_it_is(text: str) -> str:
    return text


@dataclass(frozen=True)
class Encoder:
    """How a text encoder is given a prompt."""

    tokenizer: Any  # of transformers
    length: int | None = None  # tokens that it is given; without it, what the tokenizer says
    template: str = "{}"  # what stands around the prompt
    cut: tuple[int, int] = (0, 0)  # positions of its sequence that the denoiser does not get to see
    chunks: int = 1  # sequences of `length` tokens, one after another, each with a start and an end of its own
    written: Callable[[str], str] = as_it_is  # from the prompt to the text that the tokenizer is given
    special: bool = True  # the tokenizer adds its start and end; without it they are in the template, if anywhere
    compact: bool = False  # pads before the text are taken out, or moved behind it
    argument: str = "prompt"  # of encode_prompt: where a text of its own would be
    own: Parsed | None = None  # that text, where it is another than the prompt

    @property
    def tokens(self) -> int:
        """Tokens of one sequence."""
        return self.length or min(self.tokenizer.model_max_length, LONGEST)


@dataclass(frozen=True)
class PromptTokens:
    """Positions in the sequence that the denoiser attends to: that of one encoder, or of several one after another.

    `entities[i]` says where entity i's noun and its modifiers stand. An entity whose noun lies past the last position of
    every encoder is in `dropped` instead, a modifier that does is in `cut`; so are those that no encoder is given.
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
    chunks: int = 1  # of equal length, each with a start at its first position and an end of its own
    removed: tuple[Span, ...] = ()  # words of entities that are not in the text that the encoders are given
    padded_before: bool = False  # pads stand before the text, so a shorter text begins later

    @property
    def ends(self) -> Positions:
        """The position of the first end token of each chunk."""
        side = len(self.pieces) // self.chunks
        last = {p // side: p for p in self.own}
        return (self.end, *(last.get(chunk, chunk * side) + 1 for chunk in range(1, self.chunks)))


@dataclass(frozen=True)
class _Segment:
    """What the denoiser gets of one encoder's sequence."""

    pieces: tuple[str, ...]
    places: tuple[tuple[int, int], ...]  # characters of each of the prompt's pieces, also of those that were cut off
    own: Sequence[int]  # the positions of those that were not
    end: int  # position of the first end token
    padded_with_end: bool
    padded_before: bool
    find: Find  # from spans of the prompt to those of the text that was given
    find_own: Find  # the same from spans of the encoder's own text

    def positions(self, span: Span | None) -> Positions:
        """Return the positions of a word's pieces, none of them if it is not given, was cut off or cut in two."""
        if span is None:
            return ()
        last = bisect_left(self.places, (span.end, 0))
        first = last
        while first and self.places[first - 1][1] > span.start:
            first -= 1
        return tuple(self.own[first:last]) if last <= len(self.own) else ()


def locate(parsed: Parsed, *encoders: Any) -> PromptTokens:
    """Return where the pieces of the entities of `parsed` stand, for one text encoder or several.

    An encoder is an `Encoder`, or a tokenizer of transformers. The sequences of several are taken as joined one after the
    other in this order (SD3: CLIP, then T5); a word then stands in each of them. Where an encoder has a text of its own,
    entities are looked up in it by their names, and those that it alone has are added.

    The positions are found by the characters that each piece covers, so repeated words, words of several pieces,
    `&`, hyphens and capitals need no rule of their own.

    Raises `PromptError` when a tokenizer does not say which characters a piece covers and they cannot be told from its
    spelling.
    """
    try:
        parsed.prompt.encode("utf-8")
    except UnicodeEncodeError as error:
        raise PromptError(f"the prompt is no valid text at character {error.start}; remove the lone surrogate there") from None
    found = [_segment(parsed, e if isinstance(e, Encoder) else Encoder(e)) for e in encoders]
    segments = [segment for segment, _ in found]
    starts = [sum(len(s.pieces) for s in segments[:number]) for number in range(len(segments))]

    chunks = max((e.chunks for e in encoders if isinstance(e, Encoder)), default=1)

    def positions(span: Span) -> Positions:
        return tuple(start + p for start, s in zip(starts, segments, strict=True) for p in s.positions(s.find(span)))

    kept, dropped, cut, places, removed = [], [], [], [], []
    for entity in parsed.entities:
        spans = (entity.noun_span, *entity.modifier_spans)
        removed += [span for span in spans if not any(segment.find(span) for segment in segments)]
        noun = positions(entity.noun_span)
        if not noun:
            dropped.append(entity)
            continue
        kept.append(entity)
        cut += [span for span in entity.modifier_spans if not positions(span)]
        places.append((noun, tuple(p for span in entity.modifier_spans if (p := positions(span)))))
    for start, (segment, others) in zip(starts, found, strict=True):
        for entity in others:
            noun, *modifiers = (
                tuple(start + p for p in segment.positions(segment.find_own(span)))
                for span in (entity.noun_span, *entity.modifier_spans)
            )
            (kept if noun else dropped).append(entity)
            places += [(noun, tuple(filter(None, modifiers)))] if noun else []
    return PromptTokens(
        pieces=tuple(chain.from_iterable(s.pieces for s in segments)),
        entities=tuple(places),
        kept=kept,
        dropped=dropped,
        words=tuple((span.text, p) for span in split(parsed.prompt, parsed.learnt) if (p := positions(span))),
        own=tuple(start + p for start, s in zip(starts, segments, strict=True) for p in s.own),
        end=segments[0].end,
        padded_with_end=all(s.padded_with_end for s in segments),
        cut=tuple(cut),
        phrases=tuple(
            (parsed.prompt[a:b], p)
            for a, b in phrase_places(parsed)
            if (p := positions(Span(a, b, ""))) and len(p) < len(segments[0].pieces) // chunks - 1  # can be encoded alone
        ),
        chunks=chunks,
        removed=tuple(sorted(removed)),
        padded_before=any(s.padded_before for s in segments),
    )


def _segment(parsed: Parsed, encoder: Encoder) -> tuple[_Segment, list[Entity]]:
    """Return what the denoiser gets of an encoder, and the entities that its own text alone has."""
    own = encoder.own or parsed
    text = encoder.written(own.prompt)
    find_own = aligned(own.prompt, text, parsed.learnt)
    if encoder.own is None:
        return _read(text, encoder, find_own, find_own), []
    spans, others = counterparts(parsed, own)
    return _read(text, encoder, lambda span: find_own(spans[span]) if span in spans else None, find_own), others


def _read(prompt: str, encoder: Encoder, find: Find, find_own: Find) -> _Segment:
    tokenizer, start, length = encoder.tokenizer, encoder.template.index("{}"), encoder.tokens
    text = encoder.template.replace("{}", prompt, 1)
    options = {"add_special_tokens": encoder.special}
    whole = tokenizer(text, return_special_tokens_mask=True, return_offsets_mapping=tokenizer.is_fast, verbose=False, **options)
    special: list[int] = whole["special_tokens_mask"]
    if missing := len(whole["input_ids"]) - len(special):  # ChatGLM's own prefix has no marks
        special = [1] * missing + special
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
    pads = 0  # before the text
    if encoder.chunks > 1:
        ids, read = _in_chunks(whole["input_ids"], head, behind, encoder)
        end = min(head + len(own), length - tail)
    else:
        ids = tokenizer(text, padding="max_length", max_length=length, truncation=True, **options)["input_ids"]
        pads = max(length - len(special), 0) if getattr(tokenizer, "padding_side", "right") == "left" else 0
        if encoder.compact:
            ids, pads = [*ids[pads:], *ids[:pads]], 0
        first = pads + head + (own[0] if own else 0)
        end = max(first, min(first + len(own), length - tail))
        read = range(first, end)
    skipped = encoder.cut[1] - encoder.cut[0]
    pieces = tokenizer.convert_ids_to_tokens(ids)
    return _Segment(
        pieces=(*pieces[: encoder.cut[0]], *pieces[encoder.cut[1] :]),
        places=tuple((places[number][0] - start, places[number][1] - start) for number in own),
        own=[position - skipped for position in read],
        end=end - skipped,
        padded_with_end=tokenizer.pad_token_id == tokenizer.eos_token_id,
        padded_before=pads > 0,
        find=find,
        find_own=find_own,
    )


def _in_chunks(ids: list[int], head: int, behind: int, encoder: Encoder) -> tuple[list[int], list[int]]:
    """Return the tokens of all chunks, and the positions of the text's pieces among them: each chunk takes what fits."""
    start, pieces, end, length = ids[:head], ids[head:behind], ids[behind:], encoder.tokens
    room = length - len(start) - len(end)
    chunked: list[int] = []
    for chunk in range(encoder.chunks):
        filled = [*start, *pieces[chunk * room : (chunk + 1) * room], *end]
        chunked += [*filled, *[encoder.tokenizer.pad_token_id] * (length - len(filled))]
    read = [piece // room * length + head + piece % room for piece in range(min(len(pieces), room * encoder.chunks))]
    return chunked, read


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
