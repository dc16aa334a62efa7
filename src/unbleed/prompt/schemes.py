"""Relations between the words of a tree, by the labels of Universal Dependencies or of spaCy's own English pipelines."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Protocol

from . import lexicon
from .tree import Node


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
            return Said(
                [clause]
                if clause.pos in ("ADJ", "VERB")
                or (clause.lower in lexicon.COLOURS | lexicon.MATERIALS and not any(child.dep == "det" for child in children))
                else [],
                [],
                [],
            )
        bare = all(child.dep in ("punct", "conj", "advmod", "cc") for child in clause.rights)
        if bare and clause.lower in lexicon.ADJECTIVES and any(child.dep == "aux:pass" for child in clause.lefts):
            return Said([clause], [], [])  # "the room is deserted"
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


MODIFYING = frozenset(
    "amod compound nn nmod:desc nmod:unmarked nmod:npmod npadvmod obl:unmarked obl:npmod advmod case cc aux cop det nummod "
    "punct mark discourse vocative".split()
)
DESCRIBING = frozenset({"ADJ", "NOUN", "PROPN", "VERB", "X"})
