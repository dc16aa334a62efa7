"""Where the words of one text stand in another: what a pipeline makes of a prompt, or what a second encoder is given."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict, deque
from collections.abc import Callable
from difflib import SequenceMatcher

from .entities import Entity, Parsed, Span
from .words import split

Find = Callable[[Span], Span | None]
"""From a span of the prompt to its span in the other text, None where it does not stand there."""

_MOST = 1024  # words that are compared where texts differ; no encoder reads as many


def unchanged(span: Span) -> Span:
    return span


def aligned(prompt: str, text: str, learnt: tuple[str, ...] = ()) -> Find:
    """Return where words of `prompt` stand in `text`, which is the same but for words left out, added or respelled.

    >>> find = aligned("A  cat in <b>a BOX</b>", "a cat in a box")
    >>> find(Span(15, 18, "BOX"))
    Span(start=11, end=14, text='box')
    """
    if prompt == text:
        return unchanged
    own, other = split(prompt, learnt), split(text, learnt)
    places = _pairs([_key(word) for word in own], [_key(word) for word in other])
    starts, ends = [word.start for word in own], [word.end for word in own]

    def find(span: Span) -> Span | None:
        first, last = bisect_right(ends, span.start), bisect_left(starts, span.end) - 1
        if first > last or first not in places or last not in places:
            return None
        before, behind = other[places[first]], other[places[last]]
        start, end = before.start, behind.end
        if len(before.text) == len(own[first].text):  # part of a word, such as "girl" of "girl's"
            start += max(span.start - own[first].start, 0)
        if len(behind.text) == len(own[last].text):
            end -= max(own[last].end - span.end, 0)
        return Span(start, end, text[start:end])

    return find


def _key(word: Span) -> str:
    return word.text.split()[0].lower()  # a learnt word of several vectors is written out as <it> <it>_1


def _pairs(own: list[str], other: list[str]) -> dict[int, int]:
    """Return which words of two texts are the same, in the order of both."""
    head, most = 0, min(len(own), len(other))
    while head < most and own[head] == other[head]:
        head += 1
    tail = 0
    while tail < most - head and own[-1 - tail] == other[-1 - tail]:
        tail += 1
    pairs = {i: i for i in range(head)} | {len(own) - 1 - i: len(other) - 1 - i for i in range(tail)}
    middle, others = own[head : len(own) - tail][:_MOST], other[head : len(other) - tail][:_MOST]
    for block in SequenceMatcher(None, middle, others, autojunk=False).get_matching_blocks():
        pairs |= {head + block.a + i: head + block.b + i for i in range(block.size)}
    return pairs


def counterparts(parsed: Parsed, own: Parsed) -> tuple[dict[Span, Span], list[Entity]]:
    """Return where the words of a prompt's entities stand in another text, and the entities that this text alone has.

    Entities are the same if noun and modifiers are, else if the noun is; one that the other text does not have as an entity
    may still have its noun there.
    """
    alike: defaultdict[tuple[str, ...], deque[Entity]] = defaultdict(deque)
    for entity in own.entities:
        alike[_name(entity)].append(entity)
    found = {entity: alike[_name(entity)].popleft() for entity in parsed.entities if alike[_name(entity)]}
    named: defaultdict[str, deque[Entity]] = defaultdict(deque)
    matched = set(found.values())
    for entity in own.entities:
        if entity not in matched:
            named[entity.noun.lower()].append(entity)
    for entity in parsed.entities:
        if entity not in found and named[entity.noun.lower()]:
            found[entity] = named[entity.noun.lower()].popleft()
    spans = {}
    words: dict[str, Span] = {}
    for word in split(own.prompt, own.learnt):
        words.setdefault(word.text.lower(), word)
    for entity in parsed.entities:
        if other := found.get(entity):
            spans[entity.noun_span] = other.noun_span
            own_words = {span.text.lower(): span for span in other.modifier_spans}
            spans |= {span: own_words[key] for span in entity.modifier_spans if (key := span.text.lower()) in own_words}
        elif word := words.get(entity.noun.lower()):
            spans[entity.noun_span] = word
    matched = set(found.values())
    return spans, [entity for entity in own.entities if entity not in matched]


def _name(entity: Entity) -> tuple[str, ...]:
    return (entity.noun.lower(), *sorted(modifier.lower() for modifier in entity.modifiers))
