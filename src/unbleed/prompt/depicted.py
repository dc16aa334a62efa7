"""Whether a noun is a thing of the picture: it could be seen there, it is not said to be absent, and how many are asked for."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Sequence

from . import lexicon, style_words
from .schemes import Tree
from .tree import Node
from .word_forms import is_superlative, singulars

TAG_OF_PEOPLE = re.compile(r"(\d)\+?(?:girl|boy|other|man|woman|men|women|people|person|guy|female|male)s?\Z", re.IGNORECASE)

_NONE = frozenset({"no", "neither", "zero", "not", "n't", "never"}) | lexicon.WITHOUT
_YEARS = re.compile(r"(?:1\d|20)\d\ds?|\d0s|\d+(?:st|nd|rd|th)")
_OF_ABSTRACT = frozenset(
    "style styles sense feeling aura air mood atmosphere touch essence spirit vibe ambiance ambience".split()
)
_AT = frozenset("at during before after until towards toward into facing by".split())
_BODY = frozenset({"body"})


class Depicted:
    """The nouns of one text as things of its picture."""

    def __init__(self, nodes: Sequence[Node], tree: Tree, behind: Callable[[Node], list[tuple[Node, Node]]]) -> None:
        self.tree, self.behind = tree, behind
        self.absent = functools.cache(self._absent)
        self.in_style: dict[Node, bool] = {}  # "style" or "sense of" stands above
        for node in sorted(nodes, key=lambda node: node.depth):
            above = node.head
            self.in_style[node] = above is not node and (
                above.lower in _OF_ABSTRACT or (self.in_style.get(above, False) and above.pos not in ("VERB", "AUX"))
            )

    def why_not(self, noun: Node, modifiers: Sequence[Node]) -> str | None:
        """Return why a noun is nothing that could be in the picture, None if it could."""
        word, before = noun.lower, self.tree.preposition(noun)
        how = [node.lower for node in modifiers]
        of = any(preposition.lower == "of" for preposition, _ in self.behind(noun))
        if word == "view" and how and not of:
            return None if any(own not in style_words.VIEWS for own in how) else "names the picture"
        if word in lexicon.PICTURES and before is not None and _above(noun).lower in lexicon.SIDES | {"half"}:
            return "names the picture"
        if word == "character" and of:
            return "names the picture"
        if word in lexicon.PICTURES and (of or self._shows(noun) or (_is_tag(noun) and before is None)):
            return "names the picture"
        if (word in lexicon.GROUPS and of) or (word in ("row", "line") and before is not None and not modifiers):
            return "counts what follows"
        if of and word.endswith(("er", "est")) and word in lexicon.ADJECTIVES:
            return "counts what follows"
        if _YEARS.fullmatch(word):
            return "names a time"
        own_back = word == "back" and any(child.dep in ("nmod:poss", "poss") for child in noun.lefts)
        first = of and noun.i == 1 and _is_the(noun)  # "the end of the road"
        at_side = before.lower != "with" if before is not None else first
        if word in lexicon.SIDES and not own_back and at_side and (of or not modifiers):
            return "names a side"
        if before is not None and before.lower == "by" and noun.pos == "PROPN":
            return "names an artist"
        if word in lexicon.STAND_INS or is_superlative(word):
            return "stands for another word"
        if word in lexicon.BACKGROUNDS:
            return None if any(own in lexicon.COLOURS for own in how) else "shows nothing"
        if before is not None and before.lower in _AT and (word in lexicon.TIMES or (word == "camera" and _is_the(noun))):
            return "names a time" if word in lexicon.TIMES else "shows nothing"
        if word == "light" and all(own in style_words.LIGHT or own == "window" for own in how):
            return "names the light"
        if self.in_style[noun] or word in style_words.NO_THING_HEADS or (before is not None and _above(noun).lower == "depth"):
            return "names a style"
        if word == "field" and "depth" in how:
            return "names a style"
        kind = word in ("center", "centre", "display", "area") and any(
            child.dep in ("compound", "amod") for child in noun.lefts
        )
        if (word in lexicon.NO_THINGS and not own_back and not kind) or is_abstract(word):
            return "shows nothing"
        if word in _BODY and any(own.lower in ("full", "upper", "lower", "half", "entire", "whole") for own in noun.lefts):
            return "says how much is seen"
        return None

    def _shows(self, noun: Node) -> bool:
        """Return whether a noun is said to show something: "the image shows a cat"."""
        verb = noun.head
        subject = noun.dep in self.tree.SUBJECTS and verb.lower in lexicon.SHOWING
        return subject or any(child.lower in lexicon.SHOWING for child in noun.rights)

    def count(self, noun: Node) -> int | None:
        """Return how many of it are asked for: "two", "2", "a pair of"; None where nothing is said."""
        for child in noun.children:
            if child.dep == "nummod":
                number = lexicon.NUMBERS.get(child.lower)
                return number or (int(child.text) if child.text.isdecimal() and len(child.text) < 4 else None)
        if tag := TAG_OF_PEOPLE.match(noun.text):
            return int(tag[1])
        above = _above(noun)
        if above is not noun and self.tree.preposition(noun) is not None and above.lower in ("pair", "couple"):
            return 2
        return None

    def _absent(self, noun: Node) -> bool:
        """Return whether the text says that there is none: "no dogs", "without a hat", "has no tail", "does not wear it"."""
        for _ in range(50):  # of what "or" joins, the first says it
            before = self.tree.preposition(noun)
            if before is not None and before.lower in lexicon.WITHOUT:
                return True
            if any(child.lower in _NONE and child.i < noun.i for child in noun.lefts):
                return True
            verb = noun.head
            if (
                noun.dep in self.tree.OBJECTS or (noun.dep in self.tree.SUBJECTS and verb.lower in ("is", "are"))
            ) and verb is not noun:
                objects = before is None or before.lower in ("of",)
                if objects and (
                    verb.lower in lexicon.WITHOUT or any(child.lower in lexicon.NEGATIONS for child in verb.children)
                ):
                    return True
            if (
                before is not None
                and before.lower == "of"
                and noun.head.lower in ("free", "devoid", "absence", "lack", "empty")
            ):
                return True
            if (
                noun.dep != "conj"
                or noun.head is noun
                or any(child.dep in ("det", "poss") or child.lower == "but" for child in noun.lefts)
            ):
                return False
            noun = noun.head
        return False


def is_abstract(word: str) -> bool:
    """Return whether a noun names nothing one could see, by WordNet's senses or, for other words, by its ending.

    >>> is_abstract("tranquility"), is_abstract("city"), is_abstract("emptiness"), is_abstract("workstations")
    (True, False, True, False)
    >>> is_abstract("heights"), is_abstract("fire")
    (True, False)
    """
    forms = {word, *singulars(word)}
    if forms & lexicon.CONCRETE:
        return False
    ends = any(len(form) > 5 and form.endswith(lexicon.ABSTRACT_ENDINGS) for form in forms)
    return bool(forms & lexicon.ABSTRACT) or (len(word) > 6 and ends)


def _above(noun: Node) -> Node:
    """Return the word that a noun hangs on by its preposition."""
    above = noun.head
    while above.dep in ("prep", "case") and above.head is not above:
        above = above.head
    return above


def _is_tag(noun: Node) -> bool:
    """Return whether a noun stands without an article between commas or at an end."""
    return not any(child.dep in ("det", "nsubj", "nummod") for child in noun.children)


def _is_the(noun: Node) -> bool:
    return all(child.dep != "det" or child.lower == "the" for child in noun.lefts)
