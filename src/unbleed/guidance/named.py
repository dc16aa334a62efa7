"""Entities that the user names for a pipeline call, for all prompts or per prompt: by phrase, object or token position."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from typing import Any

from ..errors import PromptError
from ..prompt import Encoder, Entity, Parsed, PromptTokens, locate, parse, parse_all
from ..prompt.words import split

Named = str | Entity | int | tuple[int, ...]
"""An entity: a phrase, the noun last; an `Entity`; the position of its noun; or the positions of its words, the noun's last."""

Entities = Named | Sequence[Named | Sequence[Named] | None] | None

_FORMS = 'expected phrases as in ["red cat", "blue bench"], Entity objects or positions, for one prompt or in a list per prompt'


def entities_per_prompt(entities: Any, count: int) -> list[Any]:
    """Return the named entities of each of `count` prompts; None leaves a prompt to the parser.

    A phrase, an `Entity` or a position is for all prompts. A list is for the only prompt, or has one item per prompt.

    Raises `PromptError` for anything else.
    """
    if entities is None or isinstance(entities, str | Entity | Integral):
        return [entities] * count
    if not isinstance(entities, Sequence):
        raise PromptError(f"entities were given as a {type(entities).__name__}, {entities!r}; {_FORMS}")
    if count == 1 and not any(item is None or _is_list(item) for item in entities):
        return [list(entities)]
    if len(entities) != count:
        raise PromptError(
            f"entities were named for {len(entities)} prompts, but the pipeline was called with {count}; {_FORMS}"
        )
    return list(entities)


def parse_named(prompt: str, named: Any, encoders: Sequence[Encoder], *, parser: Any, learnt: tuple[str, ...]) -> Parsed:
    """Return the entities of a prompt: those the user named, or the parser's if `named` is None."""
    if named is None:
        return parse_all([prompt], parser=parser, learnt=learnt)[0]
    items = list(named) if _is_list(named) else [named]
    if any(_positions(item) for item in items):
        words = [Entity(word) for word in split(prompt, learnt)]
        tokens = locate(Parsed(prompt, words, learnt=learnt), *encoders)
        at = {own: _entity_at(own, tokens, prompt) for item in items if (own := _positions(item))}
        once = {entity.noun_span: entity for entity in at.values()}  # positions of one word are one entity
        items = [*(item for item in items if not _positions(item)), *once.values()]
    return parse(prompt, items, parser=parser, learnt=learnt)


def _is_list(item: Any) -> bool:
    return isinstance(item, Sequence) and not isinstance(item, str) and not _positions(item)


def _positions(item: Any) -> tuple[int, ...]:
    """Return the token positions that an item holds; none if it is something else."""
    one = (item,) if isinstance(item, Integral) else item if isinstance(item, tuple) else ()
    return tuple(map(int, one)) if all(isinstance(at, Integral) and not isinstance(at, bool) for at in one) else ()


def _entity_at(positions: tuple[int, ...], tokens: PromptTokens, prompt: str) -> Entity:
    """Return the words at these token positions as an entity, the last one as its noun."""
    words = {p: word.noun_span for word, (own, _) in zip(tokens.kept, tokens.entities, strict=True) for p in own}
    for position in positions:
        if position not in words:
            first = ", ".join(f"{own[0]} ({word})" for word, own in tokens.words[:8])
            raise PromptError(
                f'no word of the prompt "{prompt}" is at position {position} of its tokens; its words are at {first}'
            )
    *modifiers, noun = dict.fromkeys(words[position] for position in positions)
    return Entity(noun, tuple(modifiers))
