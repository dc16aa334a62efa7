"""Noun phrases: the entities with their articles, alone and joined by a preposition."""

from __future__ import annotations

from bisect import bisect_left

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
    return [Span(a, b, parsed.prompt[a:b]) for a, b in phrase_places(parsed)]


def phrase_places(parsed: Parsed) -> list[Place]:
    """Return where the noun phrases stand, see `noun_phrases`; their texts can be as long together as the prompt squared."""
    words = split(parsed.prompt, parsed.learnt)
    starts = [word.start for word in words]
    single = [_with_article(entity, words, starts) for entity in parsed.entities]
    chains: list[Place] = []
    behind: Place | None = None  # the chain that begins with the entity behind
    for number, (start, end) in reversed(list(enumerate(single))):
        after = bisect_left(starts, end)
        joints = bisect_left(starts, single[number + 1][0]) - after if behind else 0
        joined = joints == 1 and words[after].text.lower() in _JOINING
        behind = (start, behind[1] if behind and joined else end)
        chains.append(behind)
    count = {place: bisect_left(starts, place[1]) - bisect_left(starts, place[0]) for place in {*single, *chains}}
    return sorted((place for place, own in count.items() if 1 < own < len(words)), key=lambda place: (place[0], -place[1]))


def phrases_of(parsed: Parsed) -> list[str]:
    """Return what each entity of a prompt is called alone: its words with their article, in the prompt's order.

    >>> from .parse import parse
    >>> phrases_of(parse("a red cat in two boots"))
    ['a red cat', 'two boots']

    An entity whose words stand apart, as the user can name them, is called by them alone.
    """
    words = split(parsed.prompt, parsed.learnt)
    starts = [word.start for word in words]
    texts = []
    for entity in parsed.entities:
        start, end = _with_article(entity, words, starts)
        spans = (*entity.modifier_spans, entity.noun_span)
        inner = words[bisect_left(starts, min(spans).start) : bisect_left(starts, end)]
        strange = any(not any(span.start <= word.start < span.end for span in spans) for word in inner)
        texts.append(str(entity) if strange else parsed.prompt[start:end])
    return texts


def _with_article(entity: Entity, words: list[Span], starts: list[int]) -> Place:
    spans = (*entity.modifier_spans, entity.noun_span)
    start, end = min(span.start for span in spans), max(span.end for span in spans)
    before = bisect_left(starts, start) - 1
    if before >= 0 and words[before].text.lower() in _DETERMINERS:
        start = words[before].start
    return start, end
