"""Changes of a dependency tree: words that take another's place, hang elsewhere or turn into another part of speech."""

from __future__ import annotations

import bisect

from .tree import Node


def make_verb(node: Node, subject: Node) -> None:
    """Turn a noun into the verb of the noun before it, which gets the words before that."""
    for child in node.lefts:
        if child is not subject:
            give(child, subject, child.dep)
    node.lefts = [subject]
    node.pos, subject.pos, subject.dep = "VERB", "NOUN" if subject.pos == "ADJ" else subject.pos, "nsubj"


def swap(noun: Node, word: Node) -> None:
    """Hang a word under the noun before it, which takes its place."""
    take_place(noun, word)
    for child in word.lefts:
        give(child, noun, child.dep)
    word.lefts = []
    noun.pos, word.pos = "NOUN", "ADJ"
    give(word, noun, "amod")


def take_place(new: Node, old: Node) -> None:
    """Put a node in the place of its head, which loses it; what the head has besides stays with the head."""
    (old.lefts if new in old.lefts else old.rights).remove(new)
    new.dep = old.dep
    if old.head is old:
        new.head = new
    else:
        side = old.head.lefts if old in old.head.lefts else old.head.rights
        side[side.index(old)] = new
        new.head = old.head


def give(node: Node, head: Node, relation: str) -> None:
    """Hang a node that hangs nowhere under a head."""
    node.head, node.dep = head, relation
    side = head.lefts if node.i < head.i else head.rights
    bisect.insort(side, node, key=lambda own: own.i)


def make_noun(node: Node) -> None:
    node.pos = "NOUN"
    for child in node.lefts:
        if child.pos == "ADJ":
            child.dep = "amod"
        elif child.pos in ("NOUN", "PROPN") and child.dep != "conj":
            child.dep = "compound"
    for child in list(node.lefts):
        for own in [own for own in child.lefts if own.dep in ("amod", "det", "nummod")] if child.dep == "compound" else []:
            move(own, node)


def move(child: Node, head: Node) -> None:
    (child.head.lefts if child.i < child.head.i else child.head.rights).remove(child)
    child.head = head
    head.lefts.append(child)
    head.lefts.sort(key=lambda own: own.i)


def hang(node: Node, noun: Node, relation: str) -> None:
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
