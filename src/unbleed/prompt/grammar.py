"""From a dependency tree to entities: SynGen's rules (arXiv 2306.08877, appendix A), and what prompts need beyond.

A noun is an entity unless it modifies another, or is one of the words that name the picture, a side or a style. Its
modifiers are the words that hang on it as such, theirs and those that "and" joins to them; what a clause says of it ("the
cat is red", "a cat that is red", "painted red"); and what it is made of or dressed in.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Protocol

from . import lexicon
from .entities import Entity, Parsed, Span
from .words import Readable

if TYPE_CHECKING:
    from spacy.tokens import Doc, Token


class Tree(Protocol):
    """What the rules ask of a tree, whatever its relations are called."""

    MODIFIERS: frozenset[str]
    PART_OF_NAME: frozenset[str]
    SUBJECTS: frozenset[str]
    RELATIVE: frozenset[str]

    def preposition(self, noun: Token) -> Token | None: ...
    def behind(self, token: Token) -> Iterator[tuple[Token, Token]]: ...
    def said_of(self, clause: Token, noun: Token) -> Iterator[Token]: ...


class Universal:
    """Universal Dependencies: the noun governs its preposition, the adjective its copula."""

    MODIFIERS = frozenset(
        {"amod", "compound", "nmod:desc", "nmod:unmarked", "nmod", "acl", "nmod:npmod", "obl:npmod", "obl:unmarked"}
    )
    PART_OF_NAME = frozenset({"flat", "flat:name", "flat:foreign", "goeswith", "fixed"})
    SUBJECTS = frozenset({"nsubj", "nsubj:pass", "nsubj:outer"})
    RELATIVE = frozenset({"acl:relcl", "acl"})

    def preposition(self, noun: Token) -> Token | None:
        return next((child for child in noun.lefts if child.dep_ == "case" and child.pos_ != "PART"), None)

    def behind(self, token: Token) -> Iterator[tuple[Token, Token]]:
        """Yield (preposition, noun) of what hangs on a noun or verb by a preposition."""
        for child in token.children:
            if child.dep_.split(":")[0] in ("nmod", "obl") and (preposition := self.preposition(child)) is not None:
                yield preposition, child

    def said_of(self, clause: Token, noun: Token) -> Iterator[Token]:
        """Yield the adjectives that a clause, known by its predicate, says of its subject or of what was made so."""
        if any(child.dep_ == "cop" for child in clause.children):
            if clause.pos_ in ("ADJ", "VERB") or clause.lower_ in lexicon.COLOURS:
                yield clause
        else:
            made = [child for child in clause.children if child.dep_ == "obj"]
            if not made or noun in made:  # "the cat looks red", "a man paints the wall red"
                yield from (child for child in clause.children if child.dep_ == "xcomp" and child.pos_ == "ADJ")


class ClearNLP:
    """The trees of spaCy's own English models: the preposition governs its noun, the copula the adjective."""

    MODIFIERS = frozenset({"amod", "compound", "nmod", "nn", "npadvmod"})
    PART_OF_NAME = frozenset[str]()
    SUBJECTS = frozenset({"nsubj", "nsubjpass"})
    RELATIVE = frozenset({"relcl", "acl"})

    def preposition(self, noun: Token) -> Token | None:
        return noun.head if noun.dep_ == "pobj" else None

    def behind(self, token: Token) -> Iterator[tuple[Token, Token]]:
        for preposition in token.children:
            if preposition.dep_ in ("prep", "agent"):
                yield from ((preposition, noun) for noun in preposition.children if noun.dep_ == "pobj")

    def said_of(self, clause: Token, noun: Token) -> Iterator[Token]:
        made = [child for child in clause.children if child.dep_ == "dobj"]
        for child in clause.children:
            if (
                child.dep_ == "acomp"
                or (child.dep_ == "attr" and child.pos_ == "ADJ")
                or (child.dep_ == "oprd" and (not made or noun in made))
            ):
                yield child


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
    nouns = [token for token in doc if is_noun(token, tree)]
    modifiers = {noun: modifiers_of(noun, tree) for noun in nouns}
    taken = {word for words in modifiers.values() for word in words}

    def span(first: Token, last: Token) -> Span:
        return text.span(first.idx, last.idx + len(last))

    entities, left_out = [], []
    for noun in nouns:
        if noun in taken:
            continue
        if reason := why_not(noun, modifiers[noun], tree):
            left_out.append((span(noun, noun), reason))
        else:
            last = noun
            for child in noun.rights:  # "New York"
                if child.i == last.i + 1 and child.dep_ in tree.PART_OF_NAME:
                    last = child
            words = tuple(span(word, word) for word in modifiers[noun])
            entities.append(Entity(span(noun, last), words, count_of(noun, tree)))
    return Parsed(text.prompt, entities, tuple(left_out))


def is_noun(token: Token, tree: Tree) -> bool:
    """Return whether a word is the head of a noun phrase."""
    if token.dep_ in _MODIFYING or token.dep_ in tree.PART_OF_NAME or not any(map(str.isalnum, token.text)):
        return False
    if token.dep_ == "nmod" and token.i < token.head.i and tree.preposition(token) is None:
        return False
    if token.pos_ in ("NOUN", "PROPN"):
        return True
    return token.pos_ in ("ADJ", "VERB", "X") and any(child.dep_ == "det" for child in token.lefts)


def modifiers_of(noun: Token, tree: Tree) -> list[Token]:
    found: set[Token] = set()
    for child in noun.children:
        if _modifies(child, noun, tree):
            found.update(_with_its_own(child, tree))
    for clause in _clauses_about(noun, tree):
        for word in tree.said_of(clause, noun):
            if word.lower_ not in lexicon.POINTING:
                found.update(_with_its_own(word, tree))
    found.update(_stuff_of(noun, tree))
    found.discard(noun)
    return sorted(found, key=lambda token: token.i)


def _modifies(child: Token, head: Token, tree: Tree) -> bool:
    if child.dep_ not in tree.MODIFIERS or child.lower_ in lexicon.POINTING or child.pos_ not in _DESCRIBING:
        return False
    if child.dep_ in ("nmod", "acl"):  # "a hat" in "cat with a hat" is no modifier, "sliced" before an apple is one
        return child.i < head.i and tree.preposition(child) is None
    return child.i < head.i or child.dep_ == "amod"


def _with_its_own(word: Token, tree: Tree) -> Iterator[Token]:
    """Yield a modifier, those before it that are its own ("dark" of green) and what "and" joins to it."""
    waiting = [word]  # no recursion: chains can be as long as a prompt
    while waiting:
        word = waiting.pop()
        yield word
        for child in word.children:
            shade = child.dep_ == "advmod" and child.lower_ in lexicon.SHADES
            own = child.i < word.i and (shade or _modifies(child, word, tree))
            joined = child.dep_ == "conj" and child.pos_ in _DESCRIBING
            if own or (joined and not any(c.dep_ in tree.SUBJECTS or c.dep_ == "det" for c in child.children)):
                waiting.append(child)


def _clauses_about(noun: Token, tree: Tree) -> Iterator[Token]:
    """Yield the heads of the clauses that say how a noun is: it is their subject, or they hang on it."""
    first = noun
    while first.dep_ == "conj" and first.head.pos_ in ("NOUN", "PROPN"):  # "the cat and the dog are red"
        first = first.head
    if first.dep_ in tree.SUBJECTS or noun.dep_ in ("obj", "dobj"):
        yield first.head if first.dep_ in tree.SUBJECTS else noun.head
    for child in noun.rights:
        if child.dep_ in tree.RELATIVE and not any(
            c.dep_ in tree.SUBJECTS and c.pos_ in ("NOUN", "PROPN") for c in child.children
        ):
            yield child


def _stuff_of(noun: Token, tree: Tree) -> Iterator[Token]:
    """Yield what a noun is made of, and the colours it is dressed in."""
    for verb in _clauses_about(noun, tree):
        for preposition, stuff in tree.behind(verb):
            made = verb.lower_ in lexicon.MAKING and preposition.lower_ in ("of", "from", "out")
            dressed = verb.lower_ in lexicon.DRESSING and stuff.lower_ in lexicon.COLOURS
            if (made or dressed) and not any(_modifies(child, stuff, tree) for child in stuff.children):
                yield from _with_its_own(stuff, tree)
    for preposition, colour in tree.behind(noun):
        if preposition.lower_ == "in" and colour.lower_ in lexicon.COLOURS:
            yield from _with_its_own(colour, tree)


def why_not(noun: Token, modifiers: Sequence[Token], tree: Tree) -> str | None:
    """Return why a noun is nothing that could be in the picture, None if it could."""
    word = noun.lower_
    of = [below for preposition, below in tree.behind(noun) if preposition.lower_ == "of"]
    shows = any(child.lower_ in ("showing", "depicting", "featuring") for child in noun.rights)
    before = tree.preposition(noun)
    if word in lexicon.PICTURES and (of or shows or _is_tag(noun)):
        return "names the picture"
    if word in lexicon.GROUPS and of:
        return "counts what follows"
    if word in lexicon.SIDES and before is not None and before.lower_ != "with" and (of or not modifiers):
        return "names a side"
    if before is None and _is_tag(noun) and any(token.lower_ in lexicon.STYLE for token in (noun, *noun.children)):
        return "names a style"
    if before is not None and before.lower_ == "by" and noun.pos_ == "PROPN":
        return "names an artist"
    if word in lexicon.STAND_INS:
        return "stands for another word"
    if word in lexicon.NO_THINGS or word == "style" or (word in lexicon.BACKGROUNDS and not modifiers):
        return "shows nothing"
    if any(token.lower_ == "style" for token in noun.ancestors) or (before is not None and _above(noun, tree) == "depth"):
        return "names a style"
    return None


def _above(noun: Token, tree: Tree) -> str:
    """Return the word that a noun hangs on by its preposition."""
    above = noun.head
    while above.dep_ in ("prep", "case"):
        above = above.head
    return above.lower_


def _is_tag(noun: Token) -> bool:
    """Return whether a noun stands without an article between commas or at an end."""
    return not any(child.dep_ in ("det", "nsubj", "nummod") for child in noun.children)


def count_of(noun: Token, tree: Tree) -> int | None:
    """Return how many of it are asked for: "two", "2", "a pair of"; None where nothing is said."""
    for child in noun.children:
        if child.dep_ == "nummod":
            number = lexicon.NUMBERS.get(child.lower_)
            return number or (int(child.text) if child.text.isdecimal() and len(child) < 4 else None)
    above = noun.head
    if above.lower_ in ("pair", "couple") and any(below == noun for _, below in tree.behind(above)):
        return 2
    return None
