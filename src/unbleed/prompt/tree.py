"""Dependency trees as plain data: every relation is looked up in constant time, however deep or wide the tree is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spacy.tokens import Doc


@dataclass(eq=False, slots=True, repr=False)
class Node:
    """A word of a parsed text. The root of a sentence is its own head."""

    i: int
    start: int  # characters of the text
    end: int
    text: str
    lower: str
    pos: str
    dep: str
    head: Node = field(init=False)
    lefts: list[Node] = field(default_factory=list)  # dependents before it, in the order of the text
    rights: list[Node] = field(default_factory=list)
    depth: int = 0

    @property
    def children(self) -> list[Node]:
        return [*self.lefts, *self.rights]


def nodes_of(doc: Doc) -> list[Node]:
    """Return the words of a parsed document in its order, those that hyphens join as one: "t-shirt" is one thing."""
    heads = [token.head.i for token in doc]
    depths = _depths(heads)
    nodes: list[Node] = []
    group: list[int] = []  # of each token, the number of its node
    tops: list[int] = []  # of each node, its token nearest to the root
    for token in doc:
        before = doc[token.i - 1] if token.i else None
        if before is not None and not before.whitespace_ and "-" in (before.text, token.text):
            if depths[token.i] < depths[tops[-1]]:
                tops[-1] = token.i
            nodes[-1].end = token.idx + len(token)
        else:
            nodes.append(Node(len(nodes), token.idx, token.idx + len(token), "", "", "", ""))
            tops.append(token.i)
        group.append(len(nodes) - 1)
    text = doc.text
    for node, top in zip(nodes, tops, strict=True):
        node.text = text[node.start : node.end]
        node.lower, node.pos, node.dep, node.depth = node.text.lower(), doc[top].pos_, doc[top].dep_, depths[top]
        node.head = nodes[group[heads[top]]]
        if node.head is not node:
            (node.head.lefts if node.i < node.head.i else node.head.rights).append(node)
    return nodes


def _depths(heads: list[int]) -> list[int]:
    """Return how many heads are above each word."""
    depths = [-1] * len(heads)
    for start in range(len(heads)):
        path, at = [], start
        while depths[at] < 0 and heads[at] != at:
            path.append(at)
            at = heads[at]
        depths[at] = max(depths[at], 0)
        for number, below in enumerate(reversed(path), start=1):
            depths[below] = depths[at] + number
    return depths
