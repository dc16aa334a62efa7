"""From a dependency tree to entities: SynGen's rules (arXiv 2306.08877, appendix A), and what prompts need beyond.

A noun is an entity unless it modifies another, or is one of the words that name the picture, a side or a style. Its
modifiers are the words that hang on it as such, theirs and those that "and" joins to them; what a clause says of it ("the
cat is red", "a cat that is red", "painted red"); and what it is made of or dressed in.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from . import lexicon
from .artists import FIRST_NAMES
from .depicted import TAG_OF_PEOPLE, Depicted
from .described import Described, is_bare_colour
from .mending import mend
from .schemes import MODIFYING, Tree
from .tree import Node, nodes_of
from .word_forms import is_full_name, is_known

if TYPE_CHECKING:
    from spacy.tokens import Doc

_PERSONAL = frozenset({"he", "she", "it", "they"})
_COMMON = frozenset(
    "tower bridge building street city park square castle palace church car bus train cat dog bear retriever shepherd "
    "terrier collar".split()
)

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
    """The rules on one text."""

    def __init__(self, nodes: Sequence[Node], tree: Tree) -> None:
        self.nodes, self.tree = nodes, tree
        mend(nodes, tree)
        content = [node for node in nodes if node.pos in ("NOUN", "VERB", "ADJ")]
        self.has_small_words = any(node.text[:1].islower() for node in content)
        behind = functools.cache(lambda node: list(tree.behind(node)))
        joined = self._compounds()
        self.swallowed = {node for before in joined.values() for node in before}
        self.described = Described(nodes, tree, behind, joined)
        self.depicted = Depicted(nodes, tree, behind)

    def read(self) -> Read:
        nouns = [node for node in self.nodes if self.is_noun(node) and node not in self.swallowed]
        modifiers = {noun: self.described.modifiers(noun) for noun in nouns}
        taken = {word for words in modifiers.values() for word in words}
        mentions = []
        for noun in nouns:
            if noun in taken:
                continue
            if noun.lower in lexicon.SHELLS and (inner := self._inside(noun)) is not None:
                modifiers[inner] = [word for word in modifiers[noun] if word is not inner]
                noun = inner
            first, last = self._name(noun)
            name = (first.text[:1].isupper() and last.text[:1].isupper()) or self._are_names(first, last)
            if last is not noun and not name:  # "bob cut", "cyberpunk Japan"
                modifiers[noun] = [*modifiers[noun], *self.nodes[first.i : last.i]]
                first = last
            words = tuple((word.start, word.end) for word in modifiers[noun] if not first.i <= word.i <= last.i)
            pointers = [child.lower for child in noun.lefts if child.dep in ("det", "nmod:poss", "poss", "det:poss")]
            mentions.append(
                Mention(
                    (first.start, last.end),
                    words,
                    self.depicted.count(noun),
                    None if self.depicted.absent(noun) else self.depicted.why_not(noun, modifiers[noun]),
                    self.depicted.absent(noun),
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
        return before if thing and before is not None and self.depicted.why_not(before, ()) is None else None

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
                said = self.described.said(node.head)
                words = [own for word in (*said.of_subject, *said.of_objects) for own in self.described.with_its_own(word)]
                if words and not said.objects:
                    yield Remark(node.lower, tuple((word.start, word.end) for word in sorted(words, key=lambda w: w.i)))

    def _name(self, noun: Node) -> tuple[Node, Node]:
        """Return the first and the last word of a name: "New York", "Darth Vader"."""
        first = last = noun
        for child in noun.rights:
            if child.i == last.i + 1 and child.dep in self.tree.PART_OF_NAME and child.text[0].isalpha():
                last = child
        before = self.nodes[noun.i - 1] if noun.i else None
        if before is not None and before.head is noun and is_full_name(before.lower, noun.lower):
            first = before  # "julia okonkwo"
        elif noun.text[:1].isupper() and noun.i and (noun.pos == "PROPN" or noun.lower not in _COMMON):
            while first.i and self._is_first_name(self.nodes[first.i - 1], first):
                first = self.nodes[first.i - 1]
        return first, last

    @staticmethod
    def _are_names(first: Node, last: Node) -> bool:
        """Return whether two words in small letters are a name: "julia okonkwo", "hatsune miku"."""
        return is_full_name(first.lower, last.lower) or not (is_known(first.lower) or is_known(last.lower))

    def _is_first_name(self, node: Node, noun: Node) -> bool:
        """Return whether a word and the next are one name, as "Darth Vader" is and "Golden Retriever" is not."""
        first_name = node.lower in FIRST_NAMES
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
        if node.head.lower in lexicon.SHINING and is_bare_colour(node):
            return False
        modifying = MODIFYING - {"advmod", "discourse", "vocative"} if node.pos in ("NOUN", "PROPN") else MODIFYING
        if node.dep in modifying or node.dep in self.tree.PART_OF_NAME or not any(map(str.isalnum, node.text)):
            return False
        if node.pos in ("NOUN", "PROPN") and not any(map(str.isalpha, node.text)):
            return False  # "the 80's"
        if node.dep == "nmod" and node.i < node.head.i and self.tree.preposition(node) is None:
            return False
        if node.pos in ("NOUN", "PROPN"):
            return True
        if node.pos == "NUM":
            return TAG_OF_PEOPLE.match(node.text) is not None
        if node.pos == "VERB" and any(child.dep in ("amod", "compound", "nummod") and child.i < node.i for child in node.lefts):
            return True
        return node.pos in ("ADJ", "VERB", "X") and any(child.dep == "det" for child in node.lefts)
