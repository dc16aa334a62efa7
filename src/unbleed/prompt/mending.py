"""Corrections of a tree where the parser took a noun for a verb, or a verb for a noun, that cannot be one."""

from __future__ import annotations

import re
from collections.abc import Sequence

from . import lexicon, style_words
from .compounds import mend_compounds
from .grafts import give, hang, make_noun, make_verb, swap, take_place
from .schemes import MODIFYING, Tree
from .tree import Node
from .word_forms import is_base_form, is_participle, may_be_verb

_LOOKS = lexicon.ADJECTIVES - lexicon.COLOURS
_NO_NUMBERS = lexicon.ADJECTIVES - frozenset(lexicon.NUMBERS)
_BEFORE_THINGS = frozenset("with of on under over by near beside behind from".split())
_NOT_ALONE = style_words.KINDS | style_words.QUALITY | lexicon.COLOURS


def mend(nodes: Sequence[Node], tree: Tree) -> None:
    """Set right what the parser takes for verbs where none can be: "elf archer", "red sails in the sunset", "hiking boots"."""
    alone = len(nodes) == 1
    mend_compounds(nodes)
    for node in nodes:
        _mend_kind(node, tree, alone)
    for node in nodes:
        if (
            node.pos == "ADJ"
            and node.head is node
            and not _is_known_adjective(node.lower)
            and not any(child.dep == "cop" for child in node.lefts)
        ):
            node.pos = "NOUN"  # a word that the parser never met: "clownfish", "mecha", "Ayodhya"
        elif node.pos == "NOUN" and node.lower in lexicon.ADJECTIVES and any(child.dep == "cop" for child in node.lefts):
            node.pos = "ADJ"
        elif node.pos == "NOUN" and node.lower in _LOOKS and _is_said_of_object(node):
            node.pos, node.dep = "ADJ", "xcomp"  # "a door hanging open"
        elif node.pos == "ADJ" and node.dep in ("obl", "nmod") and any(child.lower in _BEFORE_THINGS for child in node.lefts):
            if node.lower not in _LOOKS:
                node.pos = "NOUN"  # "overgrown with coral"
        elif node.pos == "ADV" and node.dep == "advmod" and node.lower in lexicon.ADJECTIVES and node.lower.endswith("ly"):
            node.pos, node.dep = "ADJ", "amod"  # "a silly happy puppy"
        elif node.pos == "VERB" and node.i and nodes[node.i - 1].lower == "to" and node.lower.endswith("s"):
            node.pos, node.dep = "NOUN", "obl"  # "tending to hives"
        if node.pos == "NOUN" and not _mend_participle(node, tree):
            _mend_noun(node, tree)
            _mend_doer(node, nodes)
            _mend_owner(node)
        elif node.pos == "VERB" and _mend_tool(node, nodes):
            continue
        elif node.pos in ("VERB", "ADV", "INTJ", "X", "ADJ", "AUX"):
            _mend_verb(node, nodes, tree)


_PRONOUNS = frozenset(
    "i you he she it we they me him her us them my your his its our their mine yours hers ours theirs myself yourself "
    "himself herself itself themselves who whom whose which that this these those what whoever whatever one ones "
    "another other others both all some any none nothing something anything everything someone anyone everyone nobody "
    "each there where many few".split()
)


def _mend_kind(node: Node, tree: Tree, alone: bool) -> None:
    """Set right the part of speech of a word that can have one alone: "teapot" is no verb, "leathery" no number."""
    if not node.text.isalpha():
        _mend_number(node)
        if "-" in node.text and node.text[-1:].isalpha() and node.pos not in ("NOUN", "PROPN", "ADJ", "VERB", "ADV", "NUM"):
            node.pos = "NOUN"
        if "-" in node.text and node.text[-1:].isalpha() and node.pos == "NOUN" and node.dep == "punct":
            node.dep = "dep"  # "t-shirt"
        return
    if node.pos == "VERB" and not may_be_verb(node.lower) and node.lower not in lexicon.NOUNS_IN_ING:
        if node.lower in lexicon.ADJECTIVES:
            node.pos = "ADJ"
        else:
            make_noun(node)
    elif node.pos == "NUM" and node.lower in _NO_NUMBERS and node.dep == "nummod":
        node.pos, node.dep = "ADJ", "amod"
    elif node.pos == "PRON" and node.lower not in _PRONOUNS:
        node.pos = "NOUN"
    elif (
        node.pos == "NOUN" and is_participle(node.lower) and not any(c.dep in ("det", "amod", "nmod:poss") for c in node.lefts)
    ):
        before = node.lefts[-1] if node.lefts else None
        if before is not None and before.dep == "compound" and before.i == node.i - 1:
            swap(before, node)  # "a conductor made of wax"
        else:
            node.pos = "VERB"
    elif node.pos == "NOUN" and alone and node.lower in _LOOKS:
        node.pos = "ADJ"  # the tag "divine"
    elif node.pos == "NOUN" and (thing := next((child for child in node.rights if child.dep == "obj"), None)):
        before = node.lefts[-1] if node.lefts else None
        doing = node.lower.endswith("s") and may_be_verb(node.lower) and thing.i > node.i
        if doing and before is not None and before.i == node.i - 1 and before.lower not in lexicon.ADJECTIVES:
            make_verb(node, before)  # "an accountant shovels snow"
    elif node.pos == "NOUN" and node.lower in _LOOKS and node.lower not in lexicon.NOUNS_IN_ING and node.lefts:
        before = node.lefts[-1]
        if before.i == node.i - 1 and before.pos in ("NOUN", "ADJ") and before.lower not in lexicon.ADJECTIVES:
            swap(before, node)  # "a cat asleep"
    elif node.pos == "NOUN" and node.head.pos == "VERB" and node.head.i == node.i + 1 and node.dep in tree.SUBJECTS:
        before = node.lefts[-1] if node.lefts else None
        verb = node.lower.endswith("s") and may_be_verb(node.lower)
        if verb and before is not None and before.dep in tree.SUBJECTS and before.i == node.i - 1:
            make_verb(node, before)  # "a mermaid sells oysters"
            _mend_object(node)


def _mend_number(node: Node) -> None:
    """Hang a number under the noun before it, of which it is the model: "a red porsche 911"."""
    before = node.lefts[-1] if node.lefts else None
    if before is None or before.i != node.i - 1 or before.pos not in ("NOUN", "PROPN") or any(map(str.isalpha, node.text)):
        return
    take_place(before, node)
    for child in (*node.lefts, *node.rights):
        give(child, before, child.dep)
    node.lefts, node.rights, node.pos = [], [], "NUM"
    give(node, before, "dep")


def _mend_object(verb: Node) -> None:
    """Turn the verb right after a verb, of which the parser takes that to be the subject, into its object."""
    thing = verb.head
    take_place(verb, thing)
    thing.pos = "NOUN"
    give(thing, verb, "obj")


def _is_said_of_object(node: Node) -> bool:
    return node.head.pos == "VERB" and node.dep in ("obj", "obl", "xcomp") and not node.lefts and node.head.i == node.i - 1


def _is_known_adjective(word: str) -> bool:
    return (
        word in lexicon.ADJECTIVES or word in _NOT_ALONE or word.endswith(("ed", "ing", "ful", "ous", "less", "able", "like"))
    )


def _mend_participle(node: Node, tree: Tree) -> bool:
    """Turn a noun in "-ing" into what the noun before it does: "a lamp emitting smoke"."""
    before = node.lefts[-1] if node.lefts else None
    if (
        before is None
        or before.dep != "compound"
        or before.i != node.i - 1
        or not node.lower.endswith("ing")
        or node.lower in lexicon.NOUNS_IN_ING
        or not any(child.dep == "obj" for child in node.rights)
    ):
        return False
    take_place(before, node)
    for child in node.lefts:
        give(child, before, child.dep)
    node.lefts = []
    node.pos = "VERB"
    give(node, before, "acl")
    return True


def _mend_doer(noun: Node, nodes: Sequence[Node]) -> None:
    """Take a noun with "a" and a participle out of the phrase of a plural: "a librarian shelving books"."""
    doing = next(
        (child for child in noun.lefts if child.lower.endswith("ing") and child.dep in ("amod", "acl", "compound")), None
    )
    if (
        doing is None
        or doing.i < 2
        or not noun.lower.endswith("s")
        or noun.lower.endswith("ss")
        or noun.lower in lexicon.SINGULAR_IN_S
        or not any(child.dep == "det" and child.lower in ("a", "an") and child.i < doing.i - 1 for child in noun.lefts)
    ):
        return
    doer = nodes[doing.i - 1]
    if doer.head not in (doing, noun):
        return
    if doer.head is doing:
        doing.lefts.remove(doer)
        give(doer, noun, "compound")
    before = [child for child in noun.lefts if child.i < doer.i]
    take_place(doer, noun)
    for child in before:
        noun.lefts.remove(child)
        give(child, doer, child.dep)
    noun.lefts.remove(doing)
    doer.pos, doing.pos = "NOUN", "VERB"
    give(doing, doer, "acl")
    give(noun, doing, "obj")


def _mend_owner(noun: Node) -> None:
    """Give an owner the words before it: "a lighthouse keeper's bedroom"."""
    owner = next((child for child in reversed(noun.lefts) if child.dep in ("nmod:poss", "poss") and child.pos != "PRON"), None)
    if owner is None or not any(child.dep == "case" for child in owner.rights):
        return
    for child in [
        child for child in noun.lefts if child.i < owner.i and child.dep in ("compound", "amod", "nmod:poss", "poss")
    ]:
        noun.lefts.remove(child)
        give(child, owner, "compound" if child.pos in ("NOUN", "PROPN") else "amod")


def _mend_tool(verb: Node, nodes: Sequence[Node]) -> bool:
    """Turn a participle without an object that could be one into a modifier: "a brass diving helmet"."""
    before, thing = verb.head, nodes[verb.i + 1] if verb.i + 1 < len(nodes) else None
    if (
        thing is None
        or verb.dep != "acl"
        or not verb.lower.endswith("ing")
        or verb.lower in lexicon.ACTIONS
        or verb.i != before.i + 1
        or thing not in verb.rights
        or thing.dep != "obj"
        or thing.pos != "NOUN"
        or thing.lefts
        or thing.lower.endswith("s")
        or before.lower not in lexicon.MATERIALS
        or not any(child.dep == "det" and child.lower in ("a", "an") for child in before.lefts)
    ):
        return False
    verb.rights.remove(thing)
    before.rights.remove(verb)
    give(thing, before, "obj")
    take_place(thing, before)
    for child in [*before.lefts, *verb.lefts]:
        give(child, thing, child.dep)
    for child in [*before.rights, *verb.rights]:
        give(child, thing, child.dep)
    before.lefts, before.rights, verb.lefts, verb.rights = [], [], [], []
    verb.pos = "ADJ"
    give(before, thing, "compound")
    give(verb, thing, "amod")
    return True


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
        if node.dep in tree.SUBJECTS and node.head.i == node.i + 1 and node.head.pos == "VERB":
            _mend_object(node)  # "a girl dabs paint on the wall"


def _mend_verb(node: Node, nodes: Sequence[Node], tree: Tree) -> None:
    subjects = [child for child in node.lefts if child.dep in tree.SUBJECTS]
    objects = [child for child in node.children if child.dep in tree.OBJECTS and tree.preposition(child) is None]
    following = nodes[node.i + 1] if node.i + 1 < len(nodes) else None
    alone = len(nodes) == 1 and node.pos != "ADJ" and node.lower not in _NOT_ALONE
    if alone and not node.lower.endswith(("ing", "ed", "ly")):
        node.pos = "NOUN"
    if node.lower in lexicon.NOUNS_IN_ING and node.dep not in MODIFYING:
        node.pos = "NOUN"
        if following is not None and objects[:1] == [following] and following.lower.endswith("s"):  # "lightning splits the sky"
            following.pos = "VERB"
    if node.pos != "VERB":
        return
    before = nodes[node.i - 1] if node.i else None
    if any(child.dep == "case" for child in node.lefts) and node.dep in ("nmod", "obl", "obj"):  # "with glow sticks"
        make_noun(node)
    elif (
        before is not None
        and node.head is before
        and (following is None or following.pos == "PUNCT")
        and not objects
        and node.lower in lexicon.VERBS
        and is_base_form(node.lower)
        and _is_singular(before)
        and any(child.lower in ("a", "an") for child in before.lefts)
    ):  # "an orange mission patch"
        take_place(node, before)
        for child in before.lefts:
            give(child, node, child.dep)
        before.lefts = []
        node.pos = "NOUN"
        give(before, node, "compound")
    elif node.head is not node:
        return
    elif (
        node.i == 0
        and following is not None
        and (thing := next(iter(objects), None)) is not None
        and node.lower not in lexicon.ACTIONS
        and all(own in thing.lefts and own.dep != "det" for own in nodes[1 : thing.i])
    ):
        if not node.lower.endswith(("s", "ed")) and node.lower not in lexicon.ORDERS:  # "hiking boots", "cyberpunk city"
            hang(node, thing, "amod")
    elif before in subjects and _is_bare_or_one(before) and not objects and is_base_form(node.lower) and _is_singular(before):
        make_noun(node)
    elif (
        subjects
        and before in subjects
        and node.lower.endswith("s")
        and not any(child.dep in ("det", "poss", "nmod:poss") for child in before.lefts)
        and all(child.lower.endswith("ing") for child in node.rights)
        and before.pos in ("NOUN", "PROPN")
    ):  # "cherry blossom petals"
        make_noun(node)
    elif not subjects and not objects and node.lower.endswith("s") and all(_may_describe(own) for own in nodes[: node.i]):
        make_noun(node)


def _is_bare_or_one(noun: Node) -> bool:
    """Return whether a noun has nothing before it, or "a", so that no verb in its base form can follow: "a tree shadow"."""
    words = {child.lower for child in noun.lefts}
    return not words or (bool(words & {"a", "an"}) and not any(child.dep == "cc" for child in noun.lefts))


def _may_describe(node: Node) -> bool:
    return node.pos in ("ADJ", "NUM", "ADV", "NOUN", "PROPN") or node.dep == "amod"


def _is_singular(noun: Node) -> bool:
    return noun.pos in ("NOUN", "PROPN") and not noun.lower.endswith("s") and noun.lower not in lexicon.PLURALS
