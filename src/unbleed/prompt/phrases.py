"""Noun phrases: the entities with their articles, alone and joined by a preposition."""

from __future__ import annotations

from collections.abc import Sequence

from .entities import Entity, Parsed, Span
from .words import split

Place = tuple[int, int]
"""Characters of the prompt: the first, and the one behind the last."""

_DETERMINERS = frozenset(
    "a an the this that these those some one its his her their my your our two three four five six seven eight nine ten".split()
)
_JOINING = frozenset(
    "with of in on at by from under over above below behind beside near inside outside wearing holding".split()
)


def noun_phrases(parsed: Parsed) -> list[Span]:
    """Return the noun phrases of a prompt that have more than one word, in order of their beginning, longer ones first.

    >>> from .parse import parse
    >>> [span.text for span in noun_phrases(parse("a cat with a red hat and a dog"))]
    ['a cat with a red hat', 'a cat', 'a red hat', 'a dog']

    A phrase is an entity with its article. Entities between which there stands a preposition and nothing else make one
    more, as far as the chain of them goes. The whole prompt is not among them.
    """
    words = split(parsed.prompt)
    single = [_with_article(entity, words) for entity in parsed.entities]
    chains: list[Place] = []
    for first, (start, end) in enumerate(single):
        for after in single[first + 1 :]:
            between = [word.text.lower() for word in words if end <= word.start < after[0]]
            if len(between) != 1 or between[0] not in _JOINING:
                break
            end = after[1]
        chains.append((start, end))
    counted = {place: sum(place[0] <= word.start < place[1] for word in words) for place in (*single, *chains)}
    found = [place for place, count in counted.items() if 1 < count < len(words)]
    return [Span(a, b, parsed.prompt[a:b]) for a, b in sorted(found, key=lambda place: (place[0], -place[1]))]


def phrases_of(parsed: Parsed) -> list[str]:
    """Return what each entity of a prompt is called alone: its words with their article, in the prompt's order.

    >>> from .parse import parse
    >>> phrases_of(parse("a red cat in two boots"))
    ['a red cat', 'two boots']

    An entity whose words stand apart, as the user can name them, is called by them alone.
    """
    words = split(parsed.prompt)
    texts = []
    for entity in parsed.entities:
        start, end = _with_article(entity, words)
        spans = (*entity.modifier_spans, entity.noun_span)
        strange = any(start <= word.start < end and not _within(word, spans) for word in words[_at(words, min(spans).start) :])
        texts.append(str(entity) if strange else parsed.prompt[start:end])
    return texts


def _with_article(entity: Entity, words: list[Span]) -> Place:
    spans = (*entity.modifier_spans, entity.noun_span)
    start, end = min(span.start for span in spans), max(span.end for span in spans)
    before = _at(words, start) - 1
    if before >= 0 and words[before].text.lower() in _DETERMINERS:
        start = words[before].start
    return start, end


def _at(words: list[Span], start: int) -> int:
    """Return the number of the first word that begins at a character or behind it."""
    return next((number for number, word in enumerate(words) if word.start >= start), len(words))


def _within(word: Span, spans: Sequence[Span]) -> bool:
    return any(span.start <= word.start < span.end for span in spans)
