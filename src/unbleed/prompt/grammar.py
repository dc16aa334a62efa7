"""From a dependency tree to entities: SynGen's rules (arXiv 2306.08877, appendix A), and what prompts need beyond.

A noun is an entity unless it modifies another, or is one of the words that name the picture, a side or a style. Its
modifiers are the words that hang on it as such, theirs and those that "and" joins to them; what a clause says of it ("the
cat is red", "a cat that is red", "painted red"); and what it is made of or dressed in.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from . import lexicon, style_words
from .mending import mend
from .schemes import DESCRIBING, MODIFYING, Said, Tree
from .tree import Node, nodes_of

if TYPE_CHECKING:
    from spacy.tokens import Doc


_NONE = frozenset({"no", "neither", "zero", "not", "n't", "never"}) | lexicon.WITHOUT
_NEGATIONS = frozenset({"not", "n't", "n’t", "never", "cannot", "nt"})
_PERSONAL = frozenset({"he", "she", "it", "they"})
_TAG_OF_PEOPLE = re.compile(r"(\d)\+?(?:girl|boy|other|man|woman|men|women|people|person|guy|female|male)s?\Z", re.IGNORECASE)

Place = tuple[int, int]
"""Characters of the text that was read: the first, and the one after the last."""


@dataclass(frozen=True)
class Mention:
    """A noun of a text and what is said of it there."""

    noun: Place
    words: tuple[Place, ...]
    count: int | None
    why_not: str | None  # the reason why it is no thing of the picture
    absent: bool  # the picture is not to show it
    lower: str
    pointer: str  # the article or owner before it, in small letters: "the", "her"
    subject: bool


@dataclass(frozen=True)
class Remark:
    """What is said of a pronoun: "it is red"."""

    pronoun: str
    words: tuple[Place, ...]


@dataclass(frozen=True)
class Read:
    """What a text says."""

    mentions: list[Mention]
    remarks: list[Remark]
    unfinished: bool  # it ends in the middle of a noun phrase, as "a big" does


NOTHING = Read([], [], False)


def read(doc: Doc, tree: Tree) -> Read:
    """Return the nouns of a parsed text, in its order, and what is said of them and of pronouns."""
    return _Rules(nodes_of(doc), tree).read()


class _Rules:
    """The rules on one text. What many nouns ask of one word, such as their common verb, is answered once."""

    def __init__(self, nodes: Sequence[Node], tree: Tree) -> None:
        self.nodes, self.tree = nodes, tree
        mend(nodes, tree)
        content = [node for node in nodes if node.pos in ("NOUN", "VERB", "ADJ")]
        self.has_small_words = any(node.text[:1].islower() for node in content)
        self.behind = functools.cache(lambda node: list(tree.behind(node)))
        self.said = functools.cache(self._said)
        self.stuff = functools.cache(self._stuff)
        self.absent = functools.cache(self._absent)
        self.first: dict[Node, Node] = {}  # of what "and" joins, the first: "the cat and the dog are red"
        self.in_style: dict[Node, bool] = {}  # "style" or "sense of" stands above
        for node in sorted(nodes, key=lambda node: node.depth):
            above = node.head
            joined = node.dep == "conj" and above.pos in ("NOUN", "PROPN")
            self.first[node] = self.first.get(above, above) if joined else node
            self.in_style[node] = above is not node and (
                above.lower in _OF_ABSTRACT or (self.in_style.get(above, False) and above.pos not in ("VERB", "AUX"))
            )
        self.joined = self._compounds()  # of a noun, the nouns right before it that the tree does not hang on it
        self.swallowed = {node for before in self.joined.values() for node in before}

    def read(self) -> Read:
        nouns = [node for node in self.nodes if self.is_noun(node) and node not in self.swallowed]
        modifiers = {noun: self.modifiers(noun) for noun in nouns}
        taken = {word for words in modifiers.values() for word in words}
        mentions = []
        for noun in nouns:
            if noun in taken:
                continue
            if noun.lower in lexicon.SHELLS and (inner := self._inside(noun)) is not None:
                modifiers[inner] = [word for word in modifiers[noun] if word is not inner]
                noun = inner
            first, last = self._name(noun)
            name = first.text[:1].isupper() and last.text[:1].isupper()
            if last is not noun and not name:  # "bob cut", "cyberpunk Japan"
                modifiers[noun] = [*modifiers[noun], *self.nodes[first.i : last.i]]
                first = last
            words = tuple((word.start, word.end) for word in modifiers[noun] if not first.i <= word.i <= last.i)
            pointers = [child.lower for child in noun.lefts if child.dep in ("det", "nmod:poss", "poss", "det:poss")]
            mentions.append(
                Mention(
                    (first.start, last.end),
                    words,
                    self.count(noun),
                    None if self.absent(noun) else self.why_not(noun, modifiers[noun]),
                    self.absent(noun),
                    noun.lower,
                    pointers[0] if pointers else "",
                    noun.dep in self.tree.SUBJECTS or noun.head is noun,
                )
            )
        everything = sorted([*mentions, *self._unused(mentions)], key=lambda own: own.noun)
        return Read(everything, list(self.remarks()), self.unfinished(mentions))

    def _inside(self, noun: Node) -> Node | None:
        """Return the thing that a word such as "setup" is about: "desk" in "a desk setup"."""
        before = noun.lefts[-1] if noun.lefts else None
        thing = before is not None and before.i == noun.i - 1 and before.pos in ("NOUN", "PROPN") and before.dep == "compound"
        return before if thing and before is not None and self.why_not(before, ()) is None else None

    def _unused(self, mentions: Sequence[Mention]) -> Iterator[Mention]:
        """Yield nouns that are neither an entity nor a part of one, so that none is left out in silence."""
        places = [place for own in mentions for place in (own.noun, *(() if own.why_not else own.words))]
        used = {at for start, end in places for at in range(start, end)}
        for node in self.nodes:
            noun = node.pos in ("NOUN", "PROPN") and node.dep not in ("case", "det", "punct", "nummod", "cc", "mark")
            if noun and node.start not in used and node.lower not in lexicon.POINTING and any(map(str.isalpha, node.text)):
                place = (node.start, node.end)
                yield Mention(place, (), None, "describes nothing that was found", False, node.lower, "", False)

    def unfinished(self, mentions: Sequence[Mention]) -> bool:
        """Return whether the text is the beginning of a noun phrase: "a big"."""
        words = [node for node in self.nodes if node.pos != "PUNCT"]
        if not words or len(words) > 4:
            return False
        looks = lexicon.COLOURS | lexicon.SHADES | lexicon.MEASURES
        if words[0].lower in ("a", "an", "the") and len(words) > 1 and all(node.lower in looks for node in words[1:]):
            return True
        if mentions:
            return False
        return all(node.lower in looks for node in words) or words[0].lower in ("a", "an", "the", "two", "three")

    def remarks(self) -> Iterator[Remark]:
        for node in self.nodes:
            if node.pos == "PRON" and node.lower in _PERSONAL and node.dep in self.tree.SUBJECTS and node.head is not node:
                said = self.said(node.head)
                words = [own for word in (*said.of_subject, *said.of_objects) for own in self._with_its_own(word)]
                if words and not said.objects:
                    yield Remark(node.lower, tuple((word.start, word.end) for word in sorted(words, key=lambda w: w.i)))

    def _said(self, clause: Node) -> Said:
        if any(child.lower in _NEGATIONS for child in clause.children):
            return Said([], [], [])
        said = self.tree.said(clause)
        if clause.lower in lexicon.SHINING and (colours := [child for child in clause.rights if _is_bare_colour(child)]):
            return Said(
                [*said.of_subject, *colours], said.of_objects, [child for child in said.objects if child not in colours]
            )
        return said

    def _name(self, noun: Node) -> tuple[Node, Node]:
        """Return the first and the last word of a name: "New York", "Darth Vader"."""
        first = last = noun
        for child in noun.rights:
            if child.i == last.i + 1 and child.dep in self.tree.PART_OF_NAME:
                last = child
        if noun.text[:1].isupper() and noun.i and (noun.pos == "PROPN" or noun.lower not in _COMMON):
            while first.i and self._is_first_name(self.nodes[first.i - 1], first):
                first = self.nodes[first.i - 1]
        return first, last

    def _is_first_name(self, node: Node, noun: Node) -> bool:
        """Return whether a word and the next are one name, as "Darth Vader" is and "Golden Retriever" is not."""
        first_name = node.lower in style_words.FIRST_NAMES
        names = first_name or self.has_small_words or (node.pos == noun.pos == "PROPN" and len(self.nodes) < 4)
        return (
            names
            and noun.pos in ("PROPN", "NOUN")
            and (node.pos in ("PROPN", "NOUN", "X") or first_name)
            and node.text[:1].isupper()
            and node.end + 1 == noun.start
            and node.lower not in lexicon.COLOURS | lexicon.MEASURES
            and not node.lower.endswith(("ian", "ese", "ish", "ican"))
            and noun.lower not in _COMMON
        )

    def _compounds(self) -> dict[Node, list[Node]]:
        """Return nouns that stand right before a noun without hanging on it: they say what kind it is."""
        found: dict[Node, list[Node]] = {}
        for before, node in pairwise(self.nodes):
            if (
                before.pos in ("NOUN", "PROPN")
                and node.pos in ("NOUN", "PROPN")
                and before.end + 1 == node.start
                and node.dep in ("conj", "appos", "list", "dep", "parataxis", "root", "ROOT", "obj", "nmod", "nsubj", "obl")
                and (before.head is node or node.head is before)
                and not any(
                    child.dep in ("det", "case", "cop", "aux", "nsubj", "amod", "nummod")
                    for child in node.lefts
                    if child is not before
                )
                and before.dep not in ("compound", "nmod:poss", "poss", "amod")
                and node.dep not in self.tree.PART_OF_NAME
                and node.lower not in lexicon.NO_THINGS
                and self.is_noun(before)
                and self.is_noun(node)
            ):
                found[node] = [*found.pop(before, []), before]
        return found

    def is_noun(self, node: Node) -> bool:
        """Return whether a word is the head of a noun phrase."""
        if node.head.lower in lexicon.SHINING and _is_bare_colour(node):
            return False
        modifying = MODIFYING - {"advmod", "discourse", "vocative"} if node.pos in ("NOUN", "PROPN") else MODIFYING
        if node.dep in modifying or node.dep in self.tree.PART_OF_NAME or not any(map(str.isalnum, node.text)):
            return False
        if node.dep == "nmod" and node.i < node.head.i and self.tree.preposition(node) is None:
            return False
        if node.pos in ("NOUN", "PROPN"):
            return True
        if node.pos == "NUM":
            return _TAG_OF_PEOPLE.match(node.text) is not None
        if node.pos == "VERB" and any(child.dep in ("amod", "compound", "nummod") and child.i < node.i for child in node.lefts):
            return True
        return node.pos in ("ADJ", "VERB", "X") and any(child.dep == "det" for child in node.lefts)

    def modifiers(self, noun: Node) -> list[Node]:
        found: set[Node] = set()
        for owner in (noun, *self.joined.get(noun, ())):
            if owner is not noun:
                found.add(owner)
            for child in owner.children:
                if child is not noun and self._modifies(child, owner):
                    found.update(self._with_its_own(child))
        for clause in self._clauses_about(noun):
            said = self.said(clause)
            of_noun = said.of_objects if not said.objects or noun in said.objects else []  # "a man paints the wall red"
            for word in (*said.of_subject, *of_noun):
                if word.lower not in lexicon.POINTING and not self._is_full_of(word):
                    found.update(self._with_its_own(word))
            found.update(self.stuff(clause))
        for preposition, colour in self.behind(noun):
            if preposition.lower == "in" and colour.lower in lexicon.COLOURS:
                found.update(self._with_its_own(colour))
        found.discard(noun)
        return sorted(found or self._shared(noun), key=lambda node: node.i)

    def _shared(self, noun: Node) -> list[Node]:
        """Return the adjectives of a noun before "and" that are said of the next one too: "blue walls and floor"."""
        first = noun.head
        if (
            noun.dep != "conj"
            or first.pos != "NOUN"
            or not any(first.lower in kind and noun.lower in kind for kind in lexicon.KINDRED)
            or [child.dep for child in noun.lefts] != ["cc"]
            or noun.i != first.i + 2
        ):
            return []
        words = [
            child
            for child in first.lefts
            if (child.dep == "amod" or child.lower in lexicon.MATERIALS) and self._modifies(child, first)
        ]
        return [own for word in words for own in self._with_its_own(word) if own.i < first.i]

    def _modifies(self, child: Node, head: Node) -> bool:
        if child.dep not in self.tree.MODIFIERS or child.lower in lexicon.POINTING or child.pos not in DESCRIBING:
            return False
        if child.dep in ("nmod", "acl"):  # "a hat" in "cat with a hat" is no modifier, "sliced" before an apple is one
            return child.i < head.i and self.tree.preposition(child) is None
        if any(own.lower in _NEGATIONS for own in child.children):
            return False
        if child.lower.endswith("ly") and child.lower not in lexicon.ADJECTIVES and child.lower[:-2] in lexicon.ADJECTIVES:
            return False  # "finely detailed"
        if _is_superlative(child.lower):
            return False
        if child.lower in style_words.NO_LOOKS or _DECADE.fullmatch(child.lower):
            return False
        if self._is_full_of(child):
            return False
        if child.i == 0 and child.lower in lexicon.ACTIONS:  # "holding sword"
            return False
        if child.i > head.i and child.lower.endswith("ed") and any(True for _ in self.behind(child)):  # "docked at the port"
            return False
        return child.i < head.i or child.dep == "amod"

    def _is_full_of(self, word: Node) -> bool:
        return word.lower == "full" and word.i + 1 < len(self.nodes) and self.nodes[word.i + 1].lower == "of"

    def _absent(self, noun: Node) -> bool:
        """Return whether the text says that there is none: "no dogs", "without a hat", "has no tail", "does not wear it"."""
        found = False
        seen = 0
        while seen < 50:  # of what "or" joins, the first says it
            seen += 1
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
                if objects and (verb.lower in lexicon.WITHOUT or any(child.lower in _NEGATIONS for child in verb.children)):
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
                return found
            noun = noun.head
        return found

    def _with_its_own(self, word: Node) -> Iterator[Node]:
        """Yield a modifier, those before it that are its own ("dark" of green) and what "and" joins to it."""
        waiting = [word]  # no recursion: chains can be as long as a prompt
        while waiting:
            word = waiting.pop()
            yield word
            for child in word.children:
                shade = child.dep == "advmod" and child.lower in lexicon.SHADES
                own = child.i < word.i and (shade or self._modifies(child, word))
                joined = child.dep == "conj" and child.pos in DESCRIBING
                if own or (joined and not any(c.dep in self.tree.SUBJECTS or c.dep == "det" for c in child.children)):
                    waiting.append(child)

    def _clauses_about(self, noun: Node) -> Iterator[Node]:
        """Yield the heads of the clauses that say how a noun is: it is their subject, or they hang on it."""
        first, subjects = self.first[noun], self.tree.SUBJECTS
        if first.dep in subjects or noun.dep in ("obj", "dobj"):
            yield first.head if first.dep in subjects else noun.head
        for child in noun.rights:
            if child.dep == "conj" and self._is_of_both(child, noun):
                yield child
            if child.dep in self.tree.RELATIVE and not any(
                c.dep in subjects and c.pos in ("NOUN", "PROPN") for c in child.children
            ):
                yield child

    def _is_of_both(self, clause: Node, noun: Node) -> bool:
        """Return whether a clause says something of a noun that "and" joins to its subject: "the cat and the dog are red"."""
        joint = clause.lefts[0] if clause.lefts else None
        several = any(child.dep == "cop" and child.lower == "are" for child in clause.lefts)
        return several and joint is not None and joint.dep == "cc" and joint.i == noun.i + 1

    def _stuff(self, verb: Node) -> list[Node]:
        """Return what a verb says that its nouns are made of, and the colours they are dressed in."""
        found: list[Node] = []
        for preposition, stuff in self.behind(verb):
            made = verb.lower in lexicon.MAKING and preposition.lower in ("of", "from", "out")
            dressed = verb.lower in lexicon.DRESSING and stuff.lower in lexicon.COLOURS
            if (made or dressed) and not any(self._modifies(child, stuff) for child in stuff.children):
                found += self._with_its_own(stuff)
        return found

    def why_not(self, noun: Node, modifiers: Sequence[Node]) -> str | None:
        """Return why a noun is nothing that could be in the picture, None if it could."""
        word, before = noun.lower, self.tree.preposition(noun)
        how = [node.lower for node in modifiers]
        of = any(preposition.lower == "of" for preposition, _ in self.behind(noun))
        if word == "view" and how and not of:
            return None if any(own not in style_words.VIEWS for own in how) else "names the picture"
        if word in lexicon.PICTURES and before is not None and _above(noun).lower in lexicon.SIDES | {"half"}:
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
        if word in lexicon.SIDES and not own_back and before is not None and before.lower != "with" and (of or not modifiers):
            return "names a side"
        if before is not None and before.lower == "by" and noun.pos == "PROPN":
            return "names an artist"
        if word in lexicon.STAND_INS or _is_superlative(word):
            return "stands for another word"
        if word in lexicon.BACKGROUNDS:
            return None if any(own in lexicon.COLOURS for own in how) else "shows nothing"
        if before is not None and before.lower in _AT and (word in lexicon.TIMES or (word == "camera" and _is_the(noun))):
            return "names a time" if word in lexicon.TIMES else "shows nothing"
        if word == "light" and all(own in style_words.LIGHT for own in how):
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
        if tag := _TAG_OF_PEOPLE.match(noun.text):
            return int(tag[1])
        above = _above(noun)
        if above is not noun and self.tree.preposition(noun) is not None and above.lower in ("pair", "couple"):
            return 2
        return None


_YEARS = re.compile(r"(?:1\d|20)\d\ds?|\d0s|\d+(?:st|nd|rd|th)")
_OF_ABSTRACT = frozenset(
    "style styles sense feeling aura air mood atmosphere touch essence spirit vibe ambiance ambience".split()
)
_AT = frozenset("at during before after until towards toward into facing by".split())
_DECADE = re.compile(r"\d{4}s")
_BODY = frozenset({"body"})
_COMMON = frozenset(
    "tower bridge building street city park square castle palace church car bus train cat dog bear retriever shepherd "
    "terrier collar".split()
)


def is_abstract(word: str) -> bool:
    """Return whether a noun names nothing one could see, by WordNet's senses or, for other words, by its ending.

    >>> is_abstract("tranquility"), is_abstract("city"), is_abstract("emptiness"), is_abstract("workstations")
    (True, False, True, False)
    >>> is_abstract("heights"), is_abstract("fire")
    (True, False)
    """
    forms = {word, *_singulars(word)}
    if forms & lexicon.CONCRETE:
        return False
    ends = any(len(form) > 5 and form.endswith(lexicon.ABSTRACT_ENDINGS) for form in forms)
    return bool(forms & lexicon.ABSTRACT) or (len(word) > 6 and ends)


def _is_superlative(word: str) -> bool:
    stem = word.removesuffix("est")
    return stem != word and not lexicon.ADJECTIVES.isdisjoint((stem, f"{stem}e", stem[:-1], f"{stem[:-1]}y"))


def _singulars(word: str) -> Iterator[str]:
    """Yield what a word in "-s" may be the plural of."""
    if word.endswith("s") and not word.endswith("ss"):
        yield word[:-1]
        if word.endswith("ies"):
            yield f"{word[:-3]}y"
        elif word.endswith(("ses", "xes", "zes", "ches", "shes", "oes")):
            yield word[:-2]


def _is_bare_colour(node: Node) -> bool:
    return node.lower in lexicon.COLOURS and not node.lefts


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
