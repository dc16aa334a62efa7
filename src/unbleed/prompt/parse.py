"""From a prompt to its entities: by the parser, or as the user names them."""

from __future__ import annotations

import difflib
import warnings
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from ..errors import PromptError, UnbleedWarning
from . import parser as parsers
from .entities import Entity, Parsed, Span
from .words import split

Named = str | Entity | Sequence[str | Entity]
"""Entities of one prompt as the user names them: phrases separated by semicolons, `Entity` objects, or a list of both."""

_EXPECTED = 'expected phrases, the noun last, or Entity objects, as in ["red cat", "blue bench"]'


def parse(prompt: str, entities: Named | None = None, *, parser: Any = None, learnt: Iterable[str] = ()) -> Parsed:
    """Return the entities of `prompt` with their modifiers.

    >>> [str(e) for e in parse("a red cat and a blue bench").entities]
    ['red cat', 'blue bench']
    >>> parse("a cat with a shiny golden crown").entities[1].modifiers
    ['shiny', 'golden']
    >>> [str(e) for e in parse("the cat that met a dog is red", ["red cat", "dog"]).entities]
    ['red cat', 'dog']

    `entities` overrules the parser: phrases separated by semicolons or in a list, the noun last, every word taken from the
    prompt ("red cat; blue bench"). A word that stands in the prompt several times is taken in order. `Entity` objects say
    the places themselves. A phrase whose noun the parser reads as a modifier raises an `UnbleedWarning`.

    `parser` is a spaCy pipeline, or its name ("en_core_web_trf"), in place of the embedded one. `learnt` are words of
    textual inversion, each read as one word that can be a noun, whatever signs are in it.

    Raises `PromptError` when `entities` names a word that is not in the prompt, `ModelError` when there is no such parser.
    """
    learnt = tuple(learnt)
    (read,) = parse_all([prompt], parser=parser, learnt=learnt)
    if entities is None:
        return read
    phrases, found = [], []
    for item in [entities] if isinstance(entities, str | Entity) else _listed(entities):
        if isinstance(item, Entity):
            found.append(_checked(item, prompt))
        elif isinstance(item, str):
            phrases += [phrase for part in item.split(";") if (phrase := [word.text for word in split(part, learnt)])]
        else:
            raise PromptError(f"{item!r} cannot name an entity; {_EXPECTED}")
    if not phrases and not found:
        raise PromptError(
            f'no entity in "{_shown(entities)}"; write phrases separated by semicolons, as in "red cat; blue bench"'
        )
    named = [Entity(words[-1], tuple(words[:-1])) for words in _found(prompt, split(prompt, learnt), phrases)]
    _warn_of_modifiers(named, read)
    return Parsed(prompt, sorted([*named, *found], key=lambda entity: entity.noun_span), learnt=learnt)


def parse_all(prompts: Sequence[str], *, parser: Any = None, learnt: Iterable[str] = ()) -> list[Parsed]:
    """Return what `parse` does for each prompt; faster than one by one."""
    reader = parsers.load(parser) if parser is None or isinstance(parser, str) else parsers.of(parser)
    return reader.read(prompts, tuple(learnt))


def _listed(entities: Any) -> Sequence[Any]:
    if not isinstance(entities, Sequence):
        raise PromptError(f"entities were given as a {type(entities).__name__}, {entities!r}; {_EXPECTED}")
    return entities


def _shown(entities: Named) -> str:
    return entities if isinstance(entities, str) else "; ".join(map(str, _listed(entities)))


def _checked(entity: Entity, prompt: str) -> Entity:
    """Return an entity that the user made; raise `PromptError` where its words do not stand where it says."""
    for span in (*entity.modifier_spans, entity.noun_span):
        if prompt[span.start : span.end] != span.text or not span.text:
            raise PromptError(
                f'the Entity "{entity}" is of another prompt: characters {span.start} to {span.end} of "{prompt}" are '
                f'"{prompt[span.start : span.end]}", not "{span.text}"; take it from parse() of this prompt, or name the phrase'
            )
    return entity


def _warn_of_modifiers(named: Sequence[Entity], read: Parsed) -> None:
    """Warn of nouns that the parser reads as modifiers: "cat red" for "red cat"."""
    owners = {span: entity for entity in read.entities for span in entity.modifier_spans}
    for entity in named:
        if owner := owners.get(entity.noun_span):
            warnings.warn(
                f'the entity "{entity}" takes its last word, "{entity.noun}", for the noun, but in "{read.prompt}" that says '
                f'how "{owner.noun}" looks; write the noun last: "{owner}"',
                UnbleedWarning,
                stacklevel=3,
            )


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
