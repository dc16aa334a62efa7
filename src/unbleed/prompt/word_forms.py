"""What a word can be a form of, by its letters and the word lists: a verb, a participle, a plural, a superlative."""

from __future__ import annotations

import re
from collections.abc import Iterator

from . import lexicon
from .artists import FIRST_NAMES

_AUXILIARIES = frozenset("is are was were am be been has had have does did do".split())
_MAY_BE_VERBS = lexicon.VERBS | lexicon.ADJECTIVES | _AUXILIARIES
_ENDINGS = (("s", ""), ("es", ""), ("ies", "y"), ("ed", ""), ("d", ""), ("ied", "y"), ("ing", ""), ("ing", "e"))
_PARTICIPLES = frozenset(
    "made ridden overgrown worn torn held drawn written driven hidden broken frozen woven stuck shown seen taken given built "
    "sworn thrown blown grown carved".split()
)
_NOUNS_IN_ED = frozenset("sled shed seed weed reed breed steed creed bleed feed speed hundred kindred naked wicked".split())


def is_participle(word: str) -> bool:
    """Return whether a word is a past participle: "highlighted", "made"."""
    regular = word.endswith("ed") and len(word) > 4 and word not in _NOUNS_IN_ED
    return word in _PARTICIPLES or (regular and (word[:-2] in lexicon.VERBS or word[:-1] in lexicon.VERBS))


def may_be_verb(word: str) -> bool:
    """Return whether a word may be a form of a verb."""
    if len(word) > 11 or word in _MAY_BE_VERBS:
        return True
    if any(word.endswith(end) and word[: -len(end)] + instead in lexicon.VERBS for end, instead in _ENDINGS):
        return True
    double = re.fullmatch(r"(\w+)(\w)\2(?:ed|ing)", word)
    return double is not None and double[1] + double[2] in lexicon.VERBS


def is_known(word: str) -> bool:
    """Return whether a word is a form of one that is no proper name.

    >>> is_known("turbans"), is_known("glowing"), is_known("rutkowski")
    (True, True, False)
    """
    if not word.isalpha() or not lexicon.WORDS.isdisjoint((word, *singulars(word))):
        return True
    return any(word.endswith(end) and word[: -len(end)] + instead in lexicon.WORDS for end, instead in _ENDINGS)


def is_full_name(first: str, last: str) -> bool:
    """Return whether two words are a first name and a family name, both in small letters.

    >>> is_full_name("julia", "okonkwo"), is_full_name("julia", "child"), is_full_name("stone", "okonkwo")
    (True, False, False)
    """
    return first in FIRST_NAMES and not is_known(last)


def is_base_form(verb: str) -> bool:
    return not verb.endswith(("s", "ed", "ing", "en")) and verb not in lexicon.PAST


def is_superlative(word: str) -> bool:
    stem = word.removesuffix("est")
    return stem != word and not lexicon.ADJECTIVES.isdisjoint((stem, f"{stem}e", stem[:-1], f"{stem[:-1]}y"))


def singulars(word: str) -> Iterator[str]:
    """Yield what a word in "-s" may be the plural of."""
    if word.endswith("s") and not word.endswith("ss"):
        yield word[:-1]
        if word.endswith("ies"):
            yield f"{word[:-3]}y"
        elif word.endswith(("ses", "xes", "zes", "ches", "shes", "oes")):
            yield word[:-2]
