"""The entities that a metric asks about: those of the case, or those that the parser finds in its prompt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from ...prompt import parse
from ..plan.cases import Case

T = TypeVar("T")


def entities_of(case: Case) -> list[str]:
    """Return each entity with its modifiers and without article.

    >>> entities_of(Case("a red zebra and a panda"))
    ['red zebra', 'panda']
    """
    return [str(entity) for entity in case.entities or parse(case.prompt).entities]


def absent_of(case: Case) -> list[str]:
    """Return what the prompt says shall not be there.

    >>> absent_of(Case("a red cat without a hat, no dogs"))
    ['hat', 'dogs']
    """
    return list(dict.fromkeys(span.text for span in parse(case.prompt).absent))


def counted_of(case: Case) -> list[str]:
    """Return the entities of which the prompt asks for two or more, with the number.

    >>> counted_of(Case("two red cats and a bench"))
    ['2 red cats']
    """
    return [f"{entity.count} {entity}" for entity in parse(case.prompt).entities if (entity.count or 0) > 1]


def flat(per_image: Sequence[Sequence[str]]) -> tuple[list[int], list[str]]:
    """Return, for all texts in a row, the index of each text's image, and the texts.

    >>> flat([["a", "b"], [], ["c"]])
    ([0, 0, 2], ['a', 'b', 'c'])
    """
    return [number for number, texts in enumerate(per_image) for _ in texts], [text for texts in per_image for text in texts]


def per_image(owners: Sequence[int], values: Sequence[T], count: int) -> list[list[T]]:
    """Return the values grouped by image: the inverse of `flat`."""
    grouped: list[list[T]] = [[] for _ in range(count)]
    for owner, value in zip(owners, values, strict=True):
        grouped[owner].append(value)
    return grouped
