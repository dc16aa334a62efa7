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
"""Entities of one prompt: phrases separated by semicolons, `Entity` objects, or a list of both."""

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
            phrases += [phrase for part in item.split(";") if (phrase := [word.text for word in split(bare(part), learnt)])]
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


def _found(prompt: str, words: list[Span], phrases: list[list[str]]) -> list[list[Span]]:
    """Return where the words of each phrase stand: side by side if they do so somewhere, else each at its first free place."""
    lowered = [word.text.lower() for word in words]
    free: defaultdict[str, list[int]] = defaultdict(list)  # places of each word, the last first
    for place in reversed(range(len(words))):
        free[lowered[place]].append(place)
    taken: set[int] = set()
    found = []
    # longer phrases choose first: in "a red cat and a cat", the phrases "cat; red cat" mean the second cat and the first
    for phrase in sorted(phrases, key=len, reverse=True):
        target = [word.lower() for word in phrase]
        while (own := free.get(target[0])) and own[-1] in taken:
            own.pop()
        run = next(
            (list(range(p, p + len(target))) for p in reversed(free.get(target[0], ())) if _free(target, p, lowered, taken)), []
        )
        for word in target if not run else ():
            place = next((p for p in reversed(free.get(word, ())) if p not in taken and p not in run), None)
            if place is None:
                raise PromptError(_not_in_prompt(word, prompt, lowered))
            run.append(place)
        taken.update(run)
        found.append([words[place] for place in run])
    return found


def _free(target: list[str], first: int, lowered: list[str], taken: set[int]) -> bool:
    last = first + len(target)
    return lowered[first:last] == target and taken.isdisjoint(range(first, last))


def _not_in_prompt(word: str, prompt: str, lowered: list[str]) -> str:
    if word in lowered:
        return f'"{word}" is named as an entity more often than it stands in the prompt "{prompt}"'
    near = difflib.get_close_matches(word, lowered, n=1)
    hint = f'; did you mean "{near[0]}"?' if near else "; name only words of the prompt"
    return f'"{word}" is not a word of the prompt "{prompt}"{hint}'
