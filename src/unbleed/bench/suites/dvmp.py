"""Prompts by the rule of DVMP, the "Diverse Multiple Modifiers Prompts" of SynGen.

Rassin et al., "Linguistic Binding in Diffusion Models", NeurIPS 2023, arXiv 2306.08877. One to three phrases are joined by
"and". A phrase is an animal, a fruit or an object with up to two modifiers of its class (one for a fruit), and with probability
1/3 a colour before them. A phrase without modifiers is chosen again; no phrase repeats within a prompt.

Rule and words are the paper's; code and seed are ours, because the authors' prompts were not published.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from ..plan.cases import Case, Expected
from .made import Made, conjunction

SEED = 11
PROMPTS = 200
MOST_PHRASES = 3
COLOURS = "red orange yellow green blue purple pink brown gray black white beige teal".split()


@dataclass(frozen=True)
class Kind:
    """A class of things: its nouns and their possible modifiers, of which a phrase has at most `most`."""

    nouns: Sequence[str]
    modifiers: Sequence[str]
    most: int = 2


KINDS = (
    Kind(
        "cat dog bird bear lion horse elephant monkey frog turtle rabbit mouse panda zebra gorilla penguin".split(),
        "furry baby spotted sleepy".split(),
    ),
    Kind("apple tomato banana strawberry".split(), "sliced skewered".split(), most=1),
    Kind(
        "backpack crown suitcase chair balloon bow car bowl bench clock camera umbrella guitar shoe hat surfboard skateboard "
        "bicycle".split(),
        "modern spotted wooden metal curved spiky checkered".split(),
    ),
)


def dvmp(count: int = PROMPTS) -> list[Case]:
    """Return the first `count` cases of the rule."""
    rng = random.Random(SEED)
    cases: dict[str, Case] = {}
    while len(cases) < count:
        phrases: dict[Expected, None] = {}  # an ordered set
        size = rng.randint(1, MOST_PHRASES)
        while len(phrases) < size:
            phrases[_phrase(rng)] = None
        case = conjunction(list(phrases), [f"{size} {'entity' if size == 1 else 'entities'}"])
        cases.setdefault(case.prompt, case)
    return list(cases.values())


def _phrase(rng: random.Random) -> Expected:
    kind = rng.choice(KINDS)
    modifiers: list[str] = []
    while not modifiers:
        modifiers = rng.sample(kind.modifiers, rng.randint(0, kind.most))
        if rng.randrange(3) == 0:
            modifiers.insert(0, rng.choice(COLOURS))
    return Expected(rng.choice(kind.nouns), tuple(modifiers))


SUITES = {
    "dvmp": Made(
        "one to three things with up to three modifiers each, by SynGen's rule and a seed of our own",
        dvmp,
        "Rassin et al., Linguistic Binding in Diffusion Models, NeurIPS 2023, arXiv 2306.08877",
    )
}
