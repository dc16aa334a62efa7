"""Prompts after the benchmark of Attend-and-Excite: every pair of its 12 animals and 12 objects, in its patterns.

Groups, words and patterns are the paper's, the list is not: colours are chosen here from a fixed seed, and two objects always
get different colours (in the authors' list 7 of 66 pairs share one). The authors' list is the suite `attend-and-excite-276`. As
there, the article is always "a" ("a elephant", "a glasses").
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import combinations, product

from ...emoji.sprites import ANIMALS, COLOURS, OBJECTS
from ..plan.cases import Case, Expected
from .made import Made

WORN = ("crown", "bow", "glasses")
SEED = 10


def _cases() -> Iterator[Case]:
    rng = random.Random(SEED)
    for first, second in combinations(ANIMALS, 2):
        yield _pair(Expected(first), "and", Expected(second), "animals")
    for animal, thing in product(ANIMALS, OBJECTS):
        if thing in WORN:
            yield _pair(Expected(animal), "with", Expected(thing), "animal and object")
        else:
            yield _pair(Expected(animal), "and", Expected(thing, (rng.choice(COLOURS),)), "animal and object")
    for first, second in combinations(OBJECTS, 2):
        one, two = rng.sample(COLOURS, 2)
        yield _pair(Expected(first, (one,)), "and", Expected(second, (two,)), "objects")


def _pair(first: Expected, joint: str, second: Expected, group: str) -> Case:
    return Case(f"a {first} {joint} a {second}", (first, second), (group,))


SUITES = {
    "attend-and-excite": Made(
        "all pairs of 12 animals and 12 objects in the benchmark's patterns, with colours of our own",
        _cases,
        "Chefer et al., Attend-and-Excite, SIGGRAPH 2023, arXiv 2301.13826",
    )
}
