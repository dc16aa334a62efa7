"""Corrections of a tree where the parser leaves a word out of a compound, or apart from the noun that it describes."""

from __future__ import annotations

from collections.abc import Sequence

from . import lexicon
from .grafts import give, take_place
from .tree import Node
from .word_forms import is_known, is_participle

# Participles with a noun before them: "rain soaked", "fur lined".
AFTER_NOUNS = frozenset(
    "covered soaked capped kissed lined trimmed plated bleached drenched filled stained studded dappled encrusted coated "
    "dusted flecked tipped topped crusted streaked splattered spattered infested swept beaten worn lit clad carved painted "
    "woven wrapped inspired powered scented themed shaped sized".split()
)
_LINKED = frozenset("conj appos list dep parataxis obj nmod nsubj obl".split())
_NOUNS = ("NOUN", "PROPN")


def mend_compounds(nodes: Sequence[Node]) -> None:
    """Set right where words hang: "rain soaked alley", "a stone well", "its tail curled", "connected by rope bridges"."""
    for node in nodes:
        before = nodes[node.i - 1] if node.i else None
        following = nodes[node.i + 1] if node.i + 1 < len(nodes) else None
        if node.pos == "NUM" and node.dep == "nummod" and _is_shape(node.lower):
            node.pos, node.dep = "ADJ", "amod"
        elif before is None:
            if node.dep == "amod" and is_participle(node.lower) and following is not None and following.pos == "ADP":
                node.dep = "parataxis"
        elif node.lower in AFTER_NOUNS:
            _mend_joined(before, node)
        elif node.pos == "VERB" and node.head is node and node.lower.endswith("ing"):
            _mend_purpose(node, following)
        elif following is None and before.lower in lexicon.DRESSING and before.head is node and node.head is nodes[node.i - 2]:
            _mend_painted(node.head, before, node)
        elif len(nodes) == 2 and node.lower in lexicon.COLOURS and node.head is node and _is_thing(before.lower):
            _become_described(before, node)  # "collar yellow"
        elif following is None or following.pos in ("PUNCT", "ADP"):
            if following is None and (is_participle(node.lower) or node.lower in lexicon.COLOURS):
                _mend_said_after(before, node)
            elif node.lower in lexicon.NOUNS_IN_ING and node.dep == "acl" and node.head is before and not node.children:
                node.pos = "NOUN"  # "ear piercing"
                _become_compound(before, node, "compound")
            elif node.pos == "ADV" and node.head is before:
                _mend_adverb(before, node)


def _is_shape(word: str) -> bool:
    """Return whether a word is no number although a letter or a number begins it: "v-shaped", "2-story"."""
    last = word.rpartition("-")[2]
    return "-" in word and last.isalpha() and last not in lexicon.NUMBERS


def _mend_joined(noun: Node, participle: Node) -> None:
    """Hang a noun and the participle after it under the next noun: "rain soaked alley"."""
    thing = participle.head
    nouns = noun.pos in _NOUNS and thing.pos in _NOUNS
    if nouns and participle.dep == "amod" and thing.i > participle.i and thing.head is noun and thing.dep in _LINKED:
        _become_compound(noun, thing, "compound")


def _mend_said_after(noun: Node, participle: Node) -> None:
    """Make a participle or a colour that ends the text a modifier of the noun before it."""
    if noun.pos not in _NOUNS or participle.rights:
        return
    colour = participle.lower in lexicon.COLOURS
    with_it = noun.dep == "nmod" and any(child.lower == "with" for child in noun.lefts)
    beside = participle.head is noun.head and participle.head is not participle and (colour or with_it)
    if participle.lefts == [noun] and noun.dep.startswith("nsubj"):
        _become_described(noun, participle)  # "its tail curled"
    elif colour and with_it and participle.lefts == [noun.head]:
        take_place(noun.head, participle)
        participle.lefts = []
        give(participle, noun, "amod")  # "a girl with hair blue"
    elif not participle.lefts and (participle.head is noun or beside) and (colour or participle.dep == "acl"):
        participle.head.rights.remove(participle)
        participle.pos = "ADJ"
        give(participle, noun, "amod")  # "arms crossed", "a man with his arms crossed", "left eye red"


def _become_described(noun: Node, word: Node) -> None:
    """Hang a word under its dependent before it, a noun, which takes its place."""
    take_place(noun, word)
    word.lefts, noun.pos = [], "NOUN"
    give(word, noun, "amod")


def _is_thing(word: str) -> bool:
    """Return whether a word is a noun that is no shade of a colour."""
    noun = is_known(word) and word not in lexicon.ADJECTIVES and word not in lexicon.SHADES
    return noun and word not in lexicon.SHADES_OF and word not in lexicon.THINGS_OF_COLOUR


def _mend_painted(noun: Node, participle: Node, colour: Node) -> None:
    """Hang the colour that ends the text under the noun that is painted so: "a wall painted red"."""
    colour.lefts.remove(participle)
    give(participle, noun, "parataxis")
    if noun.pos in _NOUNS and colour.lower in lexicon.COLOURS:
        colour.dep = "amod"


def _mend_purpose(participle: Node, thing: Node | None) -> None:
    """Turn what adjectives stand before into a modifier of the next noun: "a cozy reading nook by a window"."""
    before = participle.lefts
    if (
        before
        and all(child.dep in ("amod", "det") for child in before)
        and thing is not None
        and thing.dep == "obj"
        and thing.head is participle
        and not thing.lefts
    ):
        _become_compound(participle, thing, "amod")


def _mend_adverb(before: Node, adverb: Node) -> None:
    """Turn an adverb that is a noun into the thing that the word before says more of: "a stone well", "orc blacksmith"."""
    leading = before.i == 0 and before.lower.endswith("ing")
    describes = before.pos in (*_NOUNS, "ADJ") and not before.lower.endswith("s") and not is_participle(before.lower)
    if (adverb.lower in lexicon.NOUNS or adverb.lower == "well") and (leading or describes):
        adverb.pos = "NOUN"
        _become_compound(before, adverb, "compound" if before.pos in _NOUNS else "amod")


def _become_compound(noun: Node, thing: Node, relation: str) -> None:
    """Hang a noun under its dependent, which takes its place and gets all else that hangs on it."""
    take_place(thing, noun)
    for child in noun.children:
        give(child, thing, child.dep)
    noun.lefts, noun.rights = [], []
    give(noun, thing, relation)
