"""Noun phrases: the entities with their articles, alone and joined by a preposition."""

from __future__ import annotations

from .entities import Entity, Parsed, Span
from .parse import is_determiner, split

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
    place = {word: at for at, word in enumerate(words)}
    single = [_with_article(entity, words, place) for entity in parsed.entities]  # (first word, last word)
    chains: list[tuple[int, int]] = []
    for first, (start, end) in enumerate(single):
        for after in single[first + 1 :]:
            between = words[end + 1 : after[0]]
            if len(between) != 1 or between[0].text.lower() not in _JOINING:
                break
            end = after[1]
        chains.append((start, end))
    found = {(start, end) for start, end in (*single, *chains) if start < end and end - start + 1 < len(words)}
    return [_joined(parsed.prompt, words[a], words[b]) for a, b in sorted(found, key=lambda span: (span[0], -span[1]))]


def phrases_of(parsed: Parsed) -> list[str]:
    """Return what each entity of a prompt is called alone: its words with their article, in the prompt's order.

    >>> from .parse import parse
    >>> phrases_of(parse("a red cat in two boots"))
    ['a red cat', 'two boots']

    An entity whose words stand apart, as the user can name them, is called by them alone.
    """
    words = split(parsed.prompt)
    place = {word: at for at, word in enumerate(words)}
    texts = []
    for entity in parsed.entities:
        own = sorted(place[span] for span in (*entity.modifier_spans, entity.noun_span))
        together = own[-1] - own[0] + 1 == len(own)
        first, last = _with_article(entity, words, place)
        texts.append(_joined(parsed.prompt, words[first], words[last]).text if together else str(entity))
    return texts


def _with_article(entity: Entity, words: list[Span], place: dict[Span, int]) -> tuple[int, int]:
    own = [place[span] for span in (*entity.modifier_spans, entity.noun_span)]
    first = min(own)
    return (first - 1 if first and is_determiner(words[first - 1]) else first), max(own)


def _joined(prompt: str, first: Span, last: Span) -> Span:
    return Span(first.start, last.end, prompt[first.start : last.end])
