"""The words that describe a noun: its own, those of clauses about it, and what it is made of or dressed in."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence

from . import lexicon, style_words
from .schemes import DESCRIBING, Said, Tree
from .tree import Node
from .word_forms import is_superlative

_DECADE = re.compile(r"\d{4}s")


class Described:
    """The nouns of one text with their modifiers. What many nouns ask of one word, such as their common verb, is answered once.

    `joined`: of a noun, the nouns right before it that the tree does not hang on it.
    """

    def __init__(
        self,
        nodes: Sequence[Node],
        tree: Tree,
        behind: Callable[[Node], list[tuple[Node, Node]]],
        joined: Mapping[Node, list[Node]],
    ) -> None:
        self.nodes, self.tree, self.behind, self.joined = nodes, tree, behind, joined
        self.said = functools.cache(self._said)
        self.stuff = functools.cache(self._stuff)
        self.first: dict[Node, Node] = {}  # of what "and" joins, the first: "the cat and the dog are red"
        for node in sorted(nodes, key=lambda node: node.depth):
            above = node.head
            joined_to = node.dep == "conj" and above.pos in ("NOUN", "PROPN")
            self.first[node] = self.first.get(above, above) if joined_to else node

    def modifiers(self, noun: Node) -> list[Node]:
        found: set[Node] = set()
        for owner in (noun, *self.joined.get(noun, ())):
            if owner is not noun:
                found.add(owner)
            for child in owner.children:
                if child is not noun and self._modifies(child, owner):
                    found.update(self.with_its_own(child))
        for clause in self._clauses_about(noun):
            said = self.said(clause)
            of_noun = said.of_objects if not said.objects or noun in said.objects else []  # "a man paints the wall red"
            for word in (*said.of_subject, *of_noun):
                if word.lower not in lexicon.POINTING and not self._is_full_of(word):
                    found.update(self.with_its_own(word))
            found.update(self.stuff(clause))
        for preposition, colour in self.behind(noun):
            if preposition.lower == "in" and colour.lower in lexicon.COLOURS:
                found.update(self.with_its_own(colour))
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
        return [own for word in words for own in self.with_its_own(word) if own.i < first.i]

    def _modifies(self, child: Node, head: Node) -> bool:
        if child.dep not in self.tree.MODIFIERS or child.lower in lexicon.POINTING or child.pos not in DESCRIBING:
            return False
        if child.dep in ("nmod", "acl"):  # "a hat" in "cat with a hat" is no modifier, "sliced" before an apple is one
            return child.i < head.i and self.tree.preposition(child) is None
        if any(own.lower in lexicon.NEGATIONS for own in child.children):
            return False
        if child.lower.endswith("ly") and child.lower not in lexicon.ADJECTIVES and child.lower[:-2] in lexicon.ADJECTIVES:
            return False  # "finely detailed"
        if is_superlative(child.lower):
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

    def with_its_own(self, word: Node) -> Iterator[Node]:
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
                found += self.with_its_own(stuff)
        return found

    def _said(self, clause: Node) -> Said:
        if any(child.lower in lexicon.NEGATIONS for child in clause.children):
            return Said([], [], [])
        said = self.tree.said(clause)
        if clause.lower in lexicon.SHINING and (colours := [child for child in clause.rights if is_bare_colour(child)]):
            return Said(
                [*said.of_subject, *colours], said.of_objects, [child for child in said.objects if child not in colours]
            )
        return said


def is_bare_colour(node: Node) -> bool:
    return node.lower in lexicon.COLOURS and not node.lefts
