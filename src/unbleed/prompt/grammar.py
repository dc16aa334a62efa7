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
from typing import TYPE_CHECKING, NamedTuple, Protocol

from . import lexicon, style_words
from .tree import Node, nodes_of

if TYPE_CHECKING:
    from spacy.tokens import Doc


class Said(NamedTuple):
    """The adjectives in a clause, known by its predicate."""

    of_subject: list[Node]
    of_objects: list[Node]  # of the objects, if the clause has any, else of the subject
    objects: list[Node]


class Tree(Protocol):
    """What the rules ask of a tree, whatever its relations are called."""

    MODIFIERS: frozenset[str]
    PART_OF_NAME: frozenset[str]
    SUBJECTS: frozenset[str]
    RELATIVE: frozenset[str]
    OBJECTS: frozenset[str]

    def preposition(self, noun: Node) -> Node | None: ...
    def behind(self, node: Node) -> Iterator[tuple[Node, Node]]: ...
    def said(self, clause: Node) -> Said: ...


class Universal:
    """Universal Dependencies: the noun governs its preposition, the adjective its copula."""

    MODIFIERS = frozenset(
        {"amod", "compound", "nmod:desc", "nmod:unmarked", "nmod", "acl", "nmod:npmod", "obl:npmod", "obl:unmarked"}
    )
    PART_OF_NAME = frozenset({"flat", "flat:name", "flat:foreign", "goeswith", "fixed"})
    SUBJECTS = frozenset({"nsubj", "nsubj:pass", "nsubj:outer"})
    RELATIVE = frozenset({"acl:relcl", "acl"})
    OBJECTS = frozenset({"obj", "obl", "iobj"})

    def preposition(self, noun: Node) -> Node | None:
        return next((child for child in noun.lefts if child.dep == "case" and child.pos != "PART"), None)

    def behind(self, node: Node) -> Iterator[tuple[Node, Node]]:
        """Yield (preposition, noun) of what hangs on a noun or verb by a preposition."""
        for child in node.children:
            if child.dep.split(":")[0] in ("nmod", "obl") and (preposition := self.preposition(child)) is not None:
                yield preposition, child

    def said(self, clause: Node) -> Said:
        children = clause.children
        if any(child.dep == "cop" for child in children):
            return Said([clause] if clause.pos in ("ADJ", "VERB") or clause.lower in lexicon.COLOURS else [], [], [])
        looks = [child for child in children if child.dep == "xcomp" and child.pos == "ADJ"]
        return Said([], looks, [child for child in children if child.dep == "obj"])


class ClearNLP:
    """The trees of spaCy's own English models: the preposition governs its noun, the copula the adjective."""

    MODIFIERS = frozenset({"amod", "compound", "nmod", "nn", "npadvmod"})
    PART_OF_NAME = frozenset[str]()
    SUBJECTS = frozenset({"nsubj", "nsubjpass"})
    RELATIVE = frozenset({"relcl", "acl"})
    OBJECTS = frozenset({"dobj", "attr", "dative"})

    def preposition(self, noun: Node) -> Node | None:
        return noun.head if noun.dep == "pobj" else None

    def behind(self, node: Node) -> Iterator[tuple[Node, Node]]:
        for preposition in node.children:
            if preposition.dep in ("prep", "agent"):
                yield from ((preposition, noun) for noun in preposition.children if noun.dep == "pobj")

    def said(self, clause: Node) -> Said:
        children = clause.children
        return Said(
            [child for child in children if child.dep == "acomp" or (child.dep == "attr" and child.pos == "ADJ")],
            [child for child in children if child.dep == "oprd"],
            [child for child in children if child.dep == "dobj"],
        )


def tree_of(labels: frozenset[str]) -> Tree:
    """Return how to read a parser with these labels."""
    return ClearNLP() if {"pobj", "acomp"} & labels else Universal()


_MODIFYING = frozenset(
    "amod compound nn nmod:desc nmod:unmarked nmod:npmod npadvmod obl:unmarked obl:npmod advmod case cc aux cop det nummod "
    "punct mark discourse vocative".split()
)
_DESCRIBING = frozenset({"ADJ", "NOUN", "PROPN", "VERB", "X"})
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
        _mend(nodes, tree)
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
            first, last = self._name(noun)
            if last is not noun and not last.text[:1].isupper():  # no name: "bob cut"
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
        return Read(mentions, list(self.remarks()), self.unfinished(mentions))

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
        return (
            noun.pos in ("PROPN", "NOUN")
            and node.pos in ("PROPN", "NOUN", "X")
            and node.text[:1].isupper()
            and node.end + 1 == noun.start
            and node.lower not in lexicon.COLOURS | lexicon.MEASURES
            and not node.lower.endswith(("ian", "ese", "ish", "ican"))
            and noun.lower not in _COMMON
            and (self.has_small_words or (node.pos == noun.pos == "PROPN" and len(self.nodes) < 4))
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
        if node.dep in _MODIFYING or node.dep in self.tree.PART_OF_NAME or not any(map(str.isalnum, node.text)):
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
        if child.dep not in self.tree.MODIFIERS or child.lower in lexicon.POINTING or child.pos not in _DESCRIBING:
            return False
        if child.dep in ("nmod", "acl"):  # "a hat" in "cat with a hat" is no modifier, "sliced" before an apple is one
            return child.i < head.i and self.tree.preposition(child) is None
        if any(own.lower in _NEGATIONS for own in child.children):
            return False
        if self._is_full_of(child):
            return False
        if child.i == 0 and child.lower in lexicon.ACTIONS:  # "holding sword"
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
                joined = child.dep == "conj" and child.pos in _DESCRIBING
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
        if word in lexicon.PICTURES and (of or self._shows(noun) or (_is_tag(noun) and before is None)):
            return "names the picture"
        if (word in lexicon.GROUPS and of) or (word in ("row", "line") and before is not None and not modifiers):
            return "counts what follows"
        if _YEARS.fullmatch(word):
            return "names a time"
        if word in lexicon.SIDES and before is not None and before.lower != "with" and (of or not modifiers):
            return "names a side"
        if before is not None and before.lower == "by" and noun.pos == "PROPN":
            return "names an artist"
        if word in lexicon.STAND_INS:
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
        if word in lexicon.NO_THINGS or is_abstract(word):
            return "shows nothing"
        if word in _BODY and any(own in ("full", "upper", "lower", "half") for own in how):
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


_NOT_ALONE = style_words.KINDS | style_words.QUALITY | lexicon.COLOURS


def _mend(nodes: Sequence[Node], tree: Tree) -> None:
    """Set right what the parser takes for verbs where none can be: "elf archer", "red sails in the sunset", "hiking boots"."""
    for node in nodes:
        if node.pos == "NOUN":
            _mend_noun(node, tree)
        elif node.pos in ("VERB", "ADV", "INTJ", "X", "ADJ", "AUX"):
            _mend_verb(node, nodes, tree)


def _mend_noun(node: Node, tree: Tree) -> None:
    """Turn what is called a noun into a verb where it must be one: "a castle burns"."""
    before = node.lefts[-1] if node.lefts else None
    if (
        before is not None
        and before.dep == "compound"
        and before.i == node.i - 1
        and any(child.dep == "det" and child.lower in ("a", "an") for child in (*node.lefts, *before.lefts))
        and re.search(r"[^suiao]s\Z", node.lower)
        and node.lower not in lexicon.SINGULAR_IN_S
    ):
        node.pos, before.dep = "VERB", "nsubj"
        for child in node.lefts[:-1]:
            child.head = before
            before.lefts.append(child)
        node.lefts = [before]


def _mend_verb(node: Node, nodes: Sequence[Node], tree: Tree) -> None:
    subjects = [child for child in node.lefts if child.dep in tree.SUBJECTS]
    objects = [child for child in node.children if child.dep in tree.OBJECTS and tree.preposition(child) is None]
    following = nodes[node.i + 1] if node.i + 1 < len(nodes) else None
    alone = len(nodes) == 1 and node.pos != "ADJ" and node.lower not in _NOT_ALONE
    if alone and not node.lower.endswith(("ing", "ed", "ly")):
        node.pos = "NOUN"
    if node.lower in lexicon.NOUNS_IN_ING and node.dep not in _MODIFYING:
        node.pos = "NOUN"
        if following is not None and objects[:1] == [following] and following.lower.endswith("s"):  # "lightning splits the sky"
            following.pos = "VERB"
    if node.pos != "VERB":
        return
    before = nodes[node.i - 1] if node.i else None
    if any(child.dep == "case" for child in node.lefts) and node.dep in ("nmod", "obl", "obj"):  # "with glow sticks"
        _make_noun(node)
    elif node.head is not node:
        return
    elif (
        node.i == 0
        and following is not None
        and following in objects
        and node.lower not in lexicon.ACTIONS
        and (not following.lefts or following.lefts[0].dep != "det")
    ):
        if not node.lower.endswith(("s", "ed")) and node.lower not in lexicon.ORDERS:  # "hiking boots", "cyberpunk city"
            _hang(node, following, "amod")
    elif before in subjects and not before.lefts and not objects and _is_base_form(node.lower) and _is_singular(before):
        _make_noun(node)
    elif (
        subjects
        and before in subjects
        and node.lower.endswith("s")
        and not any(child.dep in ("det", "poss", "nmod:poss") for child in before.lefts)
        and all(child.lower.endswith("ing") for child in node.rights)
        and before.pos in ("NOUN", "PROPN")
    ):  # "cherry blossom petals"
        _make_noun(node)
    elif not subjects and not objects and node.lower.endswith("s") and all(_may_describe(own) for own in nodes[: node.i]):
        _make_noun(node)


def _may_describe(node: Node) -> bool:
    return node.pos in ("ADJ", "NUM", "ADV", "NOUN", "PROPN") or node.dep == "amod"


def _make_noun(node: Node) -> None:
    node.pos = "NOUN"
    for child in node.lefts:
        if child.pos == "ADJ":
            child.dep = "amod"
        elif child.pos in ("NOUN", "PROPN") and child.dep != "conj":
            child.dep = "compound"
    for child in list(node.lefts):
        for own in [own for own in child.lefts if own.dep in ("amod", "det", "nummod")] if child.dep == "compound" else []:
            _move(own, node)


def _move(child: Node, head: Node) -> None:
    (child.head.lefts if child.i < child.head.i else child.head.rights).remove(child)
    child.head = head
    head.lefts.append(child)
    head.lefts.sort(key=lambda own: own.i)


def _hang(node: Node, noun: Node, relation: str) -> None:
    """Hang a root under the noun after it, which takes its place."""
    node.rights.remove(noun)
    noun.head, noun.dep = noun, "ROOT"
    for child in node.rights:
        child.head = noun
        noun.rights.append(child)
    node.rights.clear()
    noun.rights.sort(key=lambda own: own.i)
    node.head, node.dep, node.pos = noun, relation, "ADJ"
    noun.lefts.insert(0, node)


def _is_base_form(verb: str) -> bool:
    return not verb.endswith(("s", "ed", "ing", "en")) and verb not in lexicon.PAST


def _is_singular(noun: Node) -> bool:
    return noun.pos in ("NOUN", "PROPN") and not noun.lower.endswith("s") and noun.lower not in lexicon.PLURALS


_YEARS = re.compile(r"(?:1\d|20)\d\ds?|\d0s|\d+(?:st|nd|rd|th)")
_OF_ABSTRACT = frozenset(
    "style styles sense feeling aura air mood atmosphere touch essence spirit vibe ambiance ambience".split()
)
_AT = frozenset("at during before after until towards toward into facing by".split())
_BODY = frozenset({"body"})
_COMMON = frozenset(
    "tower bridge building street city park square castle palace church car bus train cat dog bear retriever shepherd "
    "terrier collar".split()
)


def is_abstract(word: str) -> bool:
    """Return whether a noun ends as those do that name nothing one could see.

    >>> is_abstract("tranquility"), is_abstract("city"), is_abstract("emptiness"), is_abstract("harness")
    (True, False, True, False)
    """
    single = word.removesuffix("s") if not word.endswith("ss") else word
    return (
        len(word) > 6
        and single.endswith(lexicon.ABSTRACT_ENDINGS)
        and word not in lexicon.CONCRETE
        and single not in lexicon.CONCRETE
    )


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
