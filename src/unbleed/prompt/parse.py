"""From a prompt to its entities: by the parser, or as the user names them."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any

from ..errors import PromptError
from . import parser as parsers
from .entities import Entity, Parsed, Span
from .words import WORD, split


def parse(prompt: str, entities: str | None = None, *, parser: Any = None) -> Parsed:
    """Return the entities of `prompt` with their modifiers.

    >>> [str(e) for e in parse("a red cat and a blue bench").entities]
    ['red cat', 'blue bench']
    >>> parse("a cat with a shiny golden crown").entities[1].modifiers
    ['shiny', 'golden']

    `entities` overrules the parser: phrases separated by semicolons, the noun last, every word taken from the
    prompt ("red cat; blue bench"). A word that stands in the prompt several times is taken in order.

    `parser` is a spaCy pipeline, or its name ("en_core_web_trf"), in place of the embedded one.

    Raises `PromptError` when `entities` names a word that is not in the prompt, `ModelError` when there is no such parser.
    """
    if entities is None:
        return parse_all([prompt], parser=parser)[0]
    phrases = _named_phrases(prompt, split(prompt), entities)
    found = (Entity(phrase[-1], tuple(phrase[:-1])) for phrase in phrases)
    return Parsed(prompt, sorted(found, key=lambda e: e.noun_span))


def parse_all(prompts: Sequence[str], *, parser: Any = None) -> list[Parsed]:
    """Return what `parse` does for each prompt; faster than one by one."""
    reader = parsers.load(parser) if parser is None or isinstance(parser, str) else parsers.of(parser)
    return list(reader.read(prompts))


def _named_phrases(prompt: str, words: list[Span], entities: str) -> list[list[Span]]:
    """Return the spans of the phrases that the user named."""
    taken: set[Span] = set()
    wanted = [[m.group() for m in WORD.finditer(phrase)] for phrase in entities.split(";")]
    # longer phrases choose first: in "a red cat and a cat", the phrases "cat; red cat" mean the second cat and the first
    phrases = [_find_phrase(prompt, words, phrase, taken) for phrase in sorted(wanted, key=len, reverse=True) if phrase]
    if not phrases:
        raise PromptError(f'no entity in "{entities}"; write phrases separated by semicolons, as in "red cat; blue bench"')
    return phrases


def _find_phrase(prompt: str, words: list[Span], wanted: list[str], taken: set[Span]) -> list[Span]:
    """Return the words of one phrase: where they stand side by side if they do, else each at its first free place."""
    lowered = [w.text.lower() for w in words]
    target = [w.lower() for w in wanted]
    for start in range(len(words) - len(target) + 1):
        run = words[start : start + len(target)]
        if lowered[start : start + len(target)] == target and not taken.intersection(run):
            taken.update(run)
            return run
    found = []
    for word in target:
        place = next((w for w in words if w.text.lower() == word and w not in taken), None)
        if place is None:
            raise PromptError(_not_in_prompt(word, prompt, lowered))
        taken.add(place)
        found.append(place)
    return found


def _not_in_prompt(word: str, prompt: str, lowered: list[str]) -> str:
    if word in lowered:
        return f'"{word}" is named as an entity more often than it stands in the prompt "{prompt}"'
    near = difflib.get_close_matches(word, lowered, n=1)
    hint = f'; did you mean "{near[0]}"?' if near else "; name only words of the prompt"
    return f'"{word}" is not a word of the prompt "{prompt}"{hint}'
