"""Commas between the adjectives of one noun, which part nothing: "a haunted, whispering forest"."""

from __future__ import annotations

import re

from .lexicon import ACTIONS, ADJECTIVES, COLOURS, SIDES
from .style import style_of

_WORD = re.compile(r"[\w'-]+")
_STOP = re.compile(r"[,.;:!?\n]")
_WINDOW = 100  # characters on either side that are looked at
_ARTICLES = frozenset("a an his her its their".split())  # after these and adjectives, a noun must follow
_OPENING = _ARTICLES | frozenset(
    "the this that one two three four five of with in on at by from under over above below near beside behind between through "
    "across against into onto for as like and or has have had wears holds sells".split()
)


_OPENING_OR_DOING = _OPENING | ACTIONS


def between_adjectives(text: str) -> list[int]:
    """Return the places of commas between adjectives of one noun.

    >>> text = "a haunted, whispering forest, in a dark, misty night, fresh, ripe fruit"
    >>> [text[at - 7 : at + 7] for at in between_adjectives(text)]
    ['haunted, whisp', ' a dark, misty']
    """
    found: list[int] = []
    begin = 0
    for stop in _STOP.finditer(text):
        at = stop.start()
        if stop.group() == ",":
            after = _STOP.split(text[at + 1 : at + _WINDOW], maxsplit=1)[0]
            opening = _opening(text[max(begin, at - _WINDOW) : at])
            if opening and _goes_on(after, opening):
                found.append(at)
                continue
        begin = at + 1
    return found


def _opening(clause: str) -> str | None:
    """Return the word before the adjectives that a clause ends in, None if it does not end so."""
    words = [word.lower() for word in _WORD.findall(clause)]
    at = len(words)
    while at and is_adjective(words[at - 1]):
        at -= 1
    if at in (0, len(words)) or words[-1] in SIDES or (words[at - 1] == "in" and words[-1] in COLOURS):
        return None
    return words[at - 1] if words[at - 1] in _OPENING_OR_DOING else None


def _goes_on(piece: str, opening: str) -> bool:
    """Return whether a noun follows to the adjectives after `opening`."""
    words = [word.lower() for word in _WORD.findall(piece)]
    if not words or words[0] in _OPENING_OR_DOING or style_of(piece):
        return False
    return is_adjective(words[0]) or opening in _ARTICLES or (words[0].endswith("ing") and len(words) > 1)


def is_adjective(word: str) -> bool:
    return word in ADJECTIVES or ("-" in word and word.endswith("ed")) or (word.endswith("ly") and len(word) > 4)
