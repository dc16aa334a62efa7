"""Suites for the embedded model: its 24 nouns in 11 colours, alone, in pairs and in triples."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from itertools import combinations, permutations

from ...emoji.scenes import held_out_pairs
from ...emoji.sprites import ANIMALS, COLOURS, NOUNS, OBJECTS
from ..plan.cases import Case, Expected
from .made import Made

LOOK_ALIKES = (("bear", "monkey"), ("rabbit", "mouse"), ("dog", "cat"))


def _expected(noun: str, colour: str | None = None) -> Expected:
    return Expected(noun, () if colour is None else (colour,))


def _case(*entities: Expected, groups: Sequence[str] = ()) -> Case:
    """Return the case "a X and a Y" or "a X, a Y and a Z"; its group says whether training ever combined its nouns."""
    words = [f"a {entity}" for entity in entities]
    prompt = " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else words[0]
    nouns = [entity.noun for entity in entities]
    seen = not any(frozenset(pair) in held_out_pairs() for pair in combinations(nouns, 2))
    mark = [] if len(nouns) == 1 else ["seen" if seen else "held-out"]
    return Case(prompt, entities, (*groups, *mark))


def _pattern(first: str, second: str, rng: random.Random) -> Case:
    """Return a pair in the pattern of the Attend-and-Excite benchmark: animals plain, objects coloured."""
    colours = iter(rng.sample(COLOURS, 2))
    kinds = ["animal" if noun in ANIMALS else "object" for noun in (first, second)]
    group = {"animal animal": "animals", "object object": "objects"}.get(" ".join(kinds), "animal and object")
    entities = [_expected(n, None if k == "animal" else next(colours)) for n, k in zip((first, second), kinds, strict=True)]
    return _case(*entities, groups=[group])


def _singles() -> Iterator[Case]:
    for noun in NOUNS:
        for colour in (None, *COLOURS):
            yield _case(_expected(noun, colour), groups=["natural" if colour is None else "coloured"])


def _pairs() -> Iterator[Case]:
    rng = random.Random(1)
    for first, second in combinations(NOUNS, 2):  # animals come first
        yield _pattern(first, second, rng)


def _validation() -> Iterator[Case]:
    """Yield 96 pairs in the same patterns and in reverse order, without look-alikes; none is a prompt of another suite."""
    rng = random.Random(2)
    for first, second in rng.sample([pair for pair in combinations(NOUNS, 2) if set(pair) not in map(set, LOOK_ALIKES)], 96):
        yield _pattern(second, first, rng)


def _both_orders() -> Iterator[Case]:
    """Yield 96 pairs in the same patterns, half of them in reverse order of the word lists; none is a test prompt.

    Two plain animals are always in reverse order, because the other order is a test prompt.
    """
    rng = random.Random(5)
    tested = {case.prompt for cases in (_pairs(), _bind(), _similar()) for case in cases}
    pairs = rng.sample([pair for pair in combinations(NOUNS, 2) if set(pair) not in map(set, LOOK_ALIKES)], 96)
    for number, (first, second) in enumerate(pairs):
        reverse = number % 2 == 0 or (first in ANIMALS and second in ANIMALS)
        order = (second, first) if reverse else (first, second)
        yield next(case for _ in iter(int, 1) if (case := _pattern(*order, rng)).prompt not in tested)


def _triples() -> Iterator[Case]:
    rng = random.Random(3)
    for _ in range(96):
        nouns = rng.sample(NOUNS, 3)
        colours = rng.sample(COLOURS, 3)
        coloured = [colour if noun in OBJECTS else None for noun, colour in zip(nouns, colours, strict=True)]
        yield _case(*(_expected(n, c) for n, c in zip(nouns, coloured, strict=True)))


def _bind() -> Iterator[Case]:
    """Yield twins: the same two nouns and two colours, with the colours swapped in the second."""
    rng = random.Random(4)
    for first, second in rng.sample(list(combinations(NOUNS, 2)), 48):
        one, two = rng.sample(COLOURS, 2)
        yield _case(_expected(first, one), _expected(second, two))
        yield _case(_expected(first, two), _expected(second, one))


def _similar() -> Iterator[Case]:
    """Yield pairs of look-alikes: plain and in seven pairs of colours, each in both orders."""
    rng = random.Random(6)
    for nouns in LOOK_ALIKES:
        for colours in [(None, None), *rng.sample(list(permutations(COLOURS, 2)), 7)]:
            for order in (nouns, nouns[::-1]):
                yield _case(_expected(order[0], colours[0]), _expected(order[1], colours[1]), groups=["/".join(nouns)])


SUITES = {
    "emoji-single": Made("24 nouns, natural and in 11 colours", _singles),
    "emoji-pairs": Made("all 276 pairs of nouns in the three patterns of the Attend-and-Excite benchmark", _pairs),
    "emoji-triples": Made("96 triples, objects coloured", _triples),
    "emoji-bind": Made("48 pairs of coloured entities, each followed by the same pair with swapped colours", _bind),
    "emoji-similar": Made("look-alikes: bear and monkey, rabbit and mouse, dog and cat", _similar),
    "emoji-validation": Made(
        "96 pairs in the other order, for choosing settings, with seeds of its own", _validation, first_seed=100_000
    ),
    "emoji-validation-orders": Made(
        "96 pairs in both orders, for choosing settings, with seeds of its own", _both_orders, first_seed=200_000
    ),
}
