"""Entities as they are named by words of the prompt: by the user, or by a function that stands in for the parser."""

from __future__ import annotations

import difflib
import re
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from ..errors import PromptError
from .entities import Entity, Span
from .words import split

Named = str | Entity | Sequence[str | Entity]
"""Entities of one prompt: phrases separated by semicolons, `Entity` objects, or a list of both.

`#N` after a word means its N-th occurrence: in "a cat and a dog and a cat", the second cat is "cat#2".
"""

_MARK = re.compile(r"(?<=\S)#(\d{1,4})(?!\S)")
_ARTICLE = re.compile(r"^\s*(?:an?|the)\s+(?=\S)", re.IGNORECASE)
_EXPECTED = 'expected phrases, the noun last, or Entity objects, as in ["red cat", "blue bench"]'


def named_entities(prompt: str, entities: Named, learnt: tuple[str, ...] = ()) -> tuple[list[Entity], list[Entity]]:
    """Return the entities that phrases name, and those that were given as objects.

    Raises `PromptError` where a word is not in the prompt, or an object is of another prompt.
    """
    phrases, found = [], []
    for item in [entities] if isinstance(entities, str | Entity) else _listed(entities):
        if isinstance(item, Entity):
            found.append(_checked(item, prompt))
        elif isinstance(item, str):
            phrases += [phrase for part in item.split(";") if (phrase := _marked(bare(part), prompt, learnt))]
        else:
            raise PromptError(f"{item!r} cannot name an entity; {_EXPECTED}")
    places = _found(prompt, split(prompt, learnt), phrases) if phrases else []
    return [Entity(words[-1], tuple(words[:-1])) for words in places], found


def bare(phrase: str) -> str:
    """Return a phrase without the article before it.

    >>> bare("the red cat")
    'red cat'
    """
    return _ARTICLE.sub("", phrase)


def shown(entities: Named) -> str:
    return entities if isinstance(entities, str) else "; ".join(map(str, _listed(entities)))


def marked(prompt: str, words: Sequence[Span], phrase: Sequence[Span]) -> str:
    """Return a phrase of a prompt's words as a text that means these words and no others of the same spelling.

    >>> words = split("a cat and a dog and a cat")
    >>> marked("a cat and a dog and a cat", words, [words[7]]), marked("a cat and a dog and a cat", words, [words[4]])
    ('cat#2', 'dog')
    """
    texts = []
    for span in phrase:
        same = [word.start for word in words if word.text.lower() == span.text.lower()]
        texts.append(span.text if len(same) == 1 else f"{span.text}#{same.index(span.start) + 1}")
    return " ".join(texts)


def _marked(phrase: str, prompt: str, learnt: tuple[str, ...]) -> list[tuple[str, int]]:
    """Return the words of a phrase in lower case, each with its occurrence from 1; 0 where the phrase does not say which."""
    found: list[tuple[str, int]] = []
    pieces = _MARK.split(phrase)  # text, number, text, number, ..., text
    for text, number in zip(pieces[::2], [*pieces[1::2], "0"], strict=True):
        found += [(word.text.lower(), 0) for word in split(text, learnt)]
        if not int(number):
            continue
        if found and f"{found[-1][0]}#{number}" not in prompt.lower():
            found[-1] = (found[-1][0], int(number))
        else:  # the prompt itself has this sign
            found += [(word.text.lower(), 0) for word in split(f"#{number}", learnt)]
    return found


def _listed(entities: Any) -> Sequence[Any]:
    if not isinstance(entities, Sequence):
        raise PromptError(f"entities were given as a {type(entities).__name__}, {entities!r}; {_EXPECTED}")
    return entities


def _checked(entity: Entity, prompt: str) -> Entity:
    """Return an entity that the user made; raise `PromptError` where its words do not stand where it says."""
    for span in (*entity.modifier_spans, entity.noun_span):
        if prompt[span.start : span.end] != span.text or not span.text:
            raise PromptError(
                f'the Entity "{entity}" is of another prompt: characters {span.start} to {span.end} of "{prompt}" are '
                f'"{prompt[span.start : span.end]}", not "{span.text}"; take it from parse() of this prompt, or name the phrase'
            )
    return entity


def _found(prompt: str, words: list[Span], phrases: list[list[tuple[str, int]]]) -> list[list[Span]]:
    """Return where the words of each phrase stand: side by side if they do so somewhere, else each at its first free place."""
    lowered = [word.text.lower() for word in words]
    free: defaultdict[str, list[int]] = defaultdict(list)  # places of each word, the last first
    for place in reversed(range(len(words))):
        free[lowered[place]].append(place)
    fixed = [{at: _place(mark, free, prompt, lowered) for at, mark in enumerate(phrase) if mark[1]} for phrase in phrases]
    taken = {place for places in fixed for place in places.values()}
    if len(taken) < sum(map(len, fixed)):
        raise PromptError(f'one occurrence of a word is named twice as an entity of the prompt "{prompt}"; name each once')
    found = []
    # longer phrases choose first: in "a red cat and a cat", the phrases "cat; red cat" mean the second cat and the first
    for phrase, places in sorted(zip(phrases, fixed, strict=True), key=lambda one: len(one[0]), reverse=True):
        target = [word for word, _ in phrase]
        while (own := free.get(target[0])) and own[-1] in taken:
            own.pop()
        begins = () if places else reversed(free.get(target[0], ()))
        run = next((list(range(p, p + len(target))) for p in begins if _free(target, p, lowered, taken)), [])
        for at, word in enumerate(target) if not run else ():
            place = places.get(at)
            if place is None:
                place = next((p for p in reversed(free.get(word, ())) if p not in taken and p not in run), None)
            if place is None:
                raise PromptError(_not_in_prompt(word, prompt, lowered))
            run.append(place)
        taken.update(run)
        found.append([words[place] for place in run])
    return found


def _place(mark: tuple[str, int], free: dict[str, list[int]], prompt: str, lowered: list[str]) -> int:
    """Return the place of a word's N-th occurrence."""
    word, number = mark
    own = free.get(word, [])
    if not own:
        raise PromptError(_not_in_prompt(word, prompt, lowered))
    if number > len(own):
        times = "once" if len(own) == 1 else f"{len(own)} times"
        raise PromptError(f'"{word}#{number}" is not in the prompt "{prompt}": "{word}" stands there {times}')
    return own[-number]


def _free(target: list[str], first: int, lowered: list[str], taken: set[int]) -> bool:
    last = first + len(target)
    return lowered[first:last] == target and taken.isdisjoint(range(first, last))


def _not_in_prompt(word: str, prompt: str, lowered: list[str]) -> str:
    if word in lowered:
        return f'"{word}" is named as an entity more often than it stands in the prompt "{prompt}"'
    near = difflib.get_close_matches(word, lowered, n=1)
    hint = f'; did you mean "{near[0]}"?' if near else "; name only words of the prompt"
    return f'"{word}" is not a word of the prompt "{prompt}"{hint}'
