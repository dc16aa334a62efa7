"""From a prompt to its entities: by the parser, or as the user names them."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from typing import Any

from ..errors import PromptError, UnbleedWarning
from . import parser as parsers
from .entities import Entity, Parsed
from .named import Named, named_entities, shown


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

    `parser` reads in place of the embedded one: a spaCy pipeline, its name ("en_core_web_trf"), or a function from a prompt to
    its entities in one of the forms above, such as a language model. `learnt` are words of textual inversion, each read as
    one word that can be a noun, whatever signs are in it.

    Raises `PromptError` when `entities` or the function names a word that is not in the prompt, `ModelError` when there is
    no such parser.
    """
    learnt = tuple(learnt)
    if entities is None:
        return parse_all([prompt], parser=parser, learnt=learnt)[0]
    (read,) = _reader(parser).read([prompt], learnt)
    named, found = named_entities(prompt, entities, learnt)
    if not named and not found:
        raise PromptError(
            f'no entity in "{shown(entities)}"; write phrases separated by semicolons, as in "red cat; blue bench"'
        )
    _warn_of_modifiers(named, read)
    return Parsed(prompt, sorted([*named, *found], key=lambda entity: entity.noun_span), learnt=learnt)


def parse_all(prompts: Sequence[str], *, parser: Any = None, learnt: Iterable[str] = ()) -> list[Parsed]:
    """Return what `parse` does for each prompt; faster than one by one."""
    found = _reader(parser).read(prompts, tuple(learnt))
    if foreign := next((one for one in found if one.language), None):
        warnings.warn(
            f'"{_shortened(foreign.prompt)}" seems to be {foreign.language}, which the English parser does not read, '
            "so it has no entities; give parser= a spaCy pipeline of that language or a function, or name them with entities=",
            UnbleedWarning,
            stacklevel=2,
        )
    return found


def _reader(parser: Any) -> parsers.Parser | parsers.FunctionParser:
    return parsers.load(parser) if parser is None or isinstance(parser, str) else parsers.of(parser)


def _shortened(prompt: str, most: int = 60) -> str:
    return prompt if len(prompt) <= most else prompt[:most].rstrip() + " ..."


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
