"""From a dependency tree to entities: SynGen's rules (arXiv 2306.08877, appendix A), and what prompts need beyond.

A noun is an entity unless it modifies another, or is one of the words that name the picture, a side or a style. Its
modifiers are the words that hang on it as such, theirs and those that "and" joins to them; what a clause says of it ("the
cat is red", "a cat that is red", "painted red"); and what it is made of or dressed in.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

from . import lexicon
from .entities import Entity, Parsed
from .tree import Node, nodes_of
from .words import Readable

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


def entities_of(doc: Doc, tree: Tree, text: Readable) -> Parsed:
    """Return the entities of a parsed text, in its order, and the nouns that are none, each with the reason."""
    return _Rules(nodes_of(doc), tree).entities(text)


class _Rules:
    """The rules on one text. What many nouns ask of one word, such as their common verb, is answered once."""

    def __init__(self, nodes: Sequence[Node], tree: Tree) -> None:
        self.nodes, self.tree = nodes, tree
        self.behind = functools.cache(lambda node: list(tree.behind(node)))
        self.said = functools.cache(tree.said)
        self.stuff = functools.cache(self._stuff)
        self.first: dict[Node, Node] = {}  # of what "and" joins, the first: "the cat and the dog are red"
        self.in_style: dict[Node, bool] = {}  # "style" stands above
        for node in sorted(nodes, key=lambda node: node.depth):
            above = node.head
            joined = node.dep == "conj" and above.pos in ("NOUN", "PROPN")
            self.first[node] = self.first.get(above, above) if joined else node
            self.in_style[node] = above is not node and (above.lower == "style" or self.in_style.get(above, False))

    def entities(self, text: Readable) -> Parsed:
        nouns = [node for node in self.nodes if self.is_noun(node)]
        modifiers = {noun: self.modifiers(noun) for noun in nouns}
        taken = {word for words in modifiers.values() for word in words}
        entities, left_out = [], []
        for noun in nouns:
            if noun in taken:
                continue
            if reason := self.why_not(noun, modifiers[noun]):
                left_out.append((text.span(noun.start, noun.end), reason))
            else:
                last = noun
                for child in noun.rights:  # "New York"
                    if child.i == last.i + 1 and child.dep in self.tree.PART_OF_NAME:
                        last = child
                words = tuple(text.span(word.start, word.end) for word in modifiers[noun])
                entities.append(Entity(text.span(noun.start, last.end), words, self.count(noun)))
        return Parsed(text.prompt, entities, tuple(left_out), text.learnt)

    def is_noun(self, node: Node) -> bool:
        """Return whether a word is the head of a noun phrase."""
        if node.dep in _MODIFYING or node.dep in self.tree.PART_OF_NAME or not any(map(str.isalnum, node.text)):
            return False
        if node.dep == "nmod" and node.i < node.head.i and self.tree.preposition(node) is None:
            return False
        if node.pos in ("NOUN", "PROPN"):
            return True
        return node.pos in ("ADJ", "VERB", "X") and any(child.dep == "det" for child in node.lefts)

    def modifiers(self, noun: Node) -> list[Node]:
        found: set[Node] = set()
        for child in noun.children:
            if self._modifies(child, noun):
                found.update(self._with_its_own(child))
        for clause in self._clauses_about(noun):
            said = self.said(clause)
            of_noun = said.of_objects if not said.objects or noun in said.objects else []  # "a man paints the wall red"
            for word in (*said.of_subject, *of_noun):
                if word.lower not in lexicon.POINTING:
                    found.update(self._with_its_own(word))
            found.update(self.stuff(clause))
        for preposition, colour in self.behind(noun):
            if preposition.lower == "in" and colour.lower in lexicon.COLOURS:
                found.update(self._with_its_own(colour))
        found.discard(noun)
        return sorted(found, key=lambda node: node.i)

    def _modifies(self, child: Node, head: Node) -> bool:
        if child.dep not in self.tree.MODIFIERS or child.lower in lexicon.POINTING or child.pos not in _DESCRIBING:
            return False
        if child.dep in ("nmod", "acl"):  # "a hat" in "cat with a hat" is no modifier, "sliced" before an apple is one
            return child.i < head.i and self.tree.preposition(child) is None
        return child.i < head.i or child.dep == "amod"

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
            if child.dep in self.tree.RELATIVE and not any(
                c.dep in subjects and c.pos in ("NOUN", "PROPN") for c in child.children
            ):
                yield child

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
        of = any(preposition.lower == "of" for preposition, _ in self.behind(noun))
        shows = any(child.lower in ("showing", "depicting", "featuring") for child in noun.rights)
        if word in lexicon.PICTURES and (of or shows or _is_tag(noun)):
            return "names the picture"
        if word in lexicon.GROUPS and of:
            return "counts what follows"
        if word in lexicon.SIDES and before is not None and before.lower != "with" and (of or not modifiers):
            return "names a side"
        if before is None and _is_tag(noun) and any(node.lower in lexicon.STYLE for node in (noun, *noun.children)):
            return "names a style"
        if before is not None and before.lower == "by" and noun.pos == "PROPN":
            return "names an artist"
        if word in lexicon.STAND_INS:
            return "stands for another word"
        if word in lexicon.NO_THINGS or word == "style" or (word in lexicon.BACKGROUNDS and not modifiers):
            return "shows nothing"
        if self.in_style[noun] or (before is not None and _above(noun).lower == "depth"):
            return "names a style"
        return None

    def count(self, noun: Node) -> int | None:
        """Return how many of it are asked for: "two", "2", "a pair of"; None where nothing is said."""
        for child in noun.children:
            if child.dep == "nummod":
                number = lexicon.NUMBERS.get(child.lower)
                return number or (int(child.text) if child.text.isdecimal() and len(child.text) < 4 else None)
        above = _above(noun)
        if above is not noun and self.tree.preposition(noun) is not None and above.lower in ("pair", "couple"):
            return 2
        return None


def _above(noun: Node) -> Node:
    """Return the word that a noun hangs on by its preposition."""
    above = noun.head
    while above.dep in ("prep", "case") and above.head is not above:
        above = above.head
    return above


def _is_tag(noun: Node) -> bool:
    """Return whether a noun stands without an article between commas or at an end."""
    return not any(child.dep in ("det", "nsubj", "nummod") for child in noun.children)
