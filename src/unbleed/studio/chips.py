"""A prompt as words to click on: what the parser found, what it left out and why, and what the user says instead.

The page sends back groups of words, one per entity. They become the text that a recipe holds ("red cat; blue bench"), and the
prompt is read again with it, so the page shows what a run will use.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..errors import PromptError, UnbleedWarning
from ..prompt import Entity, Parsed, parse
from ..prompt.entities import Span
from ..prompt.named import marked
from ..prompt.words import split

_ALONE = threading.Lock()  # Python's list of warning filters is shared by all threads


@dataclass(frozen=True)
class Word:
    """A word of the prompt as the page shows it.

    Args:
        text: The word.
        before: The characters between it and the word before.
        entity: Index of its entity; -1 without one.
        noun: Whether it is the noun of its entity.
        why: Why it is not used, where the parser says so.
    """

    text: str
    before: str
    entity: int = -1
    noun: bool = False
    why: str = ""


@dataclass(frozen=True)
class Chips:
    """A prompt as it is read.

    Args:
        prompt: The prompt.
        words: Its words.
        labels: Its entities.
        entities: The text that overrules the parser; None if the parser's own reading is used.
        note: One line to the user.
    """

    prompt: str
    words: tuple[Word, ...] = ()
    labels: tuple[str, ...] = ()
    entities: str | None = None
    note: str = ""


def read(prompt: str, entities: str | None = None) -> Chips:
    """Return a prompt as words with their entities.

    >>> chips = read("a red cat and a blue bench, 35mm")
    >>> chips.labels
    ('red cat', 'blue bench')
    >>> [(word.text, word.why) for word in chips.words if word.why]
    [('35mm', 'names a style')]

    Raises:
        PromptError: `entities` names a word that is not in the prompt.
    """
    if not prompt.strip():
        return Chips(prompt)
    with _ALONE, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UnbleedWarning)
        parsed = parse(prompt, entities)
        own = parsed if entities is None else parse(prompt)
    note = next((f"{one.message}." for one in caught if issubclass(one.category, UnbleedWarning)), "")
    # the parser's reasons are still of use for words that the user left out
    reasons = {} if entities is None else {word.text: word.why for word in _words(own)}
    return Chips(prompt, _words(parsed, reasons), tuple(map(str, parsed.entities)), entities, note)


def carried(prompt: str, entities: str | None) -> Chips:
    """Return a changed prompt as it is read: with the user's entities if its words still allow them, else with the parser's."""
    try:
        return read(prompt, entities)
    except PromptError as error:
        plain = read(prompt)
        return Chips(plain.prompt, plain.words, plain.labels, None, f"Back to the parser: {error}.")


def overruled(prompt: str, groups: Sequence[Sequence[int]]) -> Chips:
    """Return a prompt with the entities that the user put together.

    >>> overruled("the cat that met a dog is red", [[7, 1]]).labels
    ('red cat',)

    Args:
        prompt: The prompt.
        groups: For each entity the indices of its words, the noun last.

    Raises:
        PromptError: no entity is left, or an index is not of a word.
    """
    words = split(prompt)
    groups = [list(group) for group in groups if group]
    flat = [index for group in groups for index in group]
    if not all(0 <= index < len(words) for index in flat) or len(set(flat)) != len(flat):
        raise PromptError("the entities are of another prompt; click once more")
    if not groups:
        raise PromptError("no entity is left; a run needs one, so click a word to bring it back")
    ordered = sorted(groups, key=lambda group: group[-1])
    wanted = [([words[i] for i in sorted(group[:-1])], words[group[-1]]) for group in ordered]
    phrases = [[*modifiers, noun] for modifiers, noun in wanted]
    text = "; ".join(" ".join(span.text for span in phrase) for phrase in phrases)
    if _spans(prompt, text) != wanted:  # a word of the same spelling stands before one that is meant
        text = "; ".join(marked(prompt, words, phrase) for phrase in phrases)
    own = [(sorted(_split_spans(prompt, one)), one.noun_span) for one in parse(prompt).entities]
    return read(prompt, None if own == wanted else text)


def _spans(prompt: str, text: str) -> list[tuple[list[Span], Span]]:
    """Return modifiers and noun of the entities that a text names, without the parser's remarks."""
    with _ALONE, warnings.catch_warnings():
        warnings.simplefilter("ignore", UnbleedWarning)
        return [(sorted(one.modifier_spans), one.noun_span) for one in parse(prompt, text).entities]


def _split_spans(prompt: str, entity: Entity) -> list[Span]:
    """Return the modifiers of an entity word by word, as `entities` texts name them."""
    inside = [(span.start, span.end) for span in entity.modifier_spans]
    return [word for word in split(prompt) if any(start <= word.start and word.end <= end for start, end in inside)]


def _words(parsed: Parsed, reasons: Mapping[str, str] | None = None) -> tuple[Word, ...]:
    """Return the words of a parsed prompt; `reasons` by word are used where it gives none itself."""
    parts = [
        (span.start, span.end, number, span == entity.noun_span)
        for number, entity in enumerate(parsed.entities)
        for span in (entity.noun_span, *entity.modifier_spans)
    ]
    unused = [(span.start, span.end, why) for span, why in parsed.left_out]
    unused += [(span.start, span.end, "is to be written") for span in parsed.written]
    found: list[Word] = []
    end = 0
    for span in split(parsed.prompt):
        before, end = parsed.prompt[end : span.start], span.end
        index, noun = next(((n, is_noun) for a, b, n, is_noun in parts if a <= span.start and span.end <= b), (-1, False))
        why = next((why for a, b, why in unused if a <= span.start and span.end <= b), "") if index < 0 else ""
        found.append(Word(span.text, before, index, noun, why or (reasons or {}).get(span.text, "") if index < 0 else ""))
    return tuple(found)
