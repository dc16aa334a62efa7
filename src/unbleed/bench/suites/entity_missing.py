"""Prompts of two, three and four plain objects, after "Attention Overlap Is Responsible for the Entity Missing Problem".

Marioriyad et al., TMLR 2025, arXiv 2410.20972. The paper uses the same 71 words: the names of COCO's 91 categories that are a
single word and not a plural. 51 of them are for testing, the rest for choosing settings. The prompts are all pairs of the 51,
and random triples and quadruples. The choice of the 51, the triples and the quadruples depends on seeds of our own, so these
are not the authors' lists.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from functools import partial
from itertools import combinations

from ..plan.cases import Case, Expected
from .made import Made, conjunction

WORDS = (
    "person bicycle car motorcycle airplane bus train truck boat bench bird cat dog horse sheep cow elephant bear zebra "
    "giraffe hat backpack umbrella shoe handbag tie suitcase frisbee snowboard kite skateboard surfboard bottle plate cup fork "
    "knife spoon bowl banana apple sandwich orange broccoli carrot pizza donut cake chair couch mirror bed window desk toilet "
    "door tv laptop mouse remote keyboard microwave oven toaster sink refrigerator blender book clock vase toothbrush"
).split()
SEED = 12
TEST_WORDS = sorted(random.Random(SEED).sample(WORDS, 51))


def _pairs() -> Iterator[Case]:
    for pair in combinations(TEST_WORDS, 2):
        yield _case(pair)


def _drawn(size: int, count: int) -> Iterator[Case]:
    """Yield `count` different sets of `size` words, in the order in which they were drawn; words are in alphabetical order."""
    rng = random.Random(SEED + size)
    drawn: dict[tuple[str, ...], None] = {}
    while len(drawn) < count:
        drawn[tuple(sorted(rng.sample(TEST_WORDS, size)))] = None
    for words in drawn:
        yield _case(words)


def _case(words: tuple[str, ...]) -> Case:
    return conjunction([Expected(word) for word in words])


_CITATION = "Marioriyad et al., Attention Overlap Is Responsible for the Entity Missing Problem, TMLR 2025, arXiv 2410.20972"
SUITES = {
    "entity-missing": Made("all pairs of 51 everyday things and animals", _pairs, _CITATION),
    "entity-missing-3": Made("1,000 triples of the same 51 words", partial(_drawn, 3, 1000), _CITATION),
    "entity-missing-4": Made("500 quadruples of the same 51 words", partial(_drawn, 4, 500), _CITATION),
}
