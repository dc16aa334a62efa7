"""Alternatives in a prompt, of which the first is read: [cat|dog], [cat:dog:0.5], {red|blue}, cat.swap(dog)."""

from __future__ import annotations

import re

from .edited import Edited, Piece, Range
from .emphasis import NUMBER

_CHOICE = re.compile(r"(?<!\\)[\[{](?P<all>[^\[\]{}\n|:]*(?:[|:][^\[\]{}\n|:]*)+)[\]}]")
_PICKED = re.compile(r"\s*(?:[\d.-]+\s*\$\$\s*)?(?:\d*\.?\d+::)?\s*")
_SWAP = re.compile(r'\(?"?(?P<own>\w[\w -]{0,60})"?\)?\.swap\(\s*"?(?P<other>[^"(),\n]{0,60})"?[^()\n]{0,80}\)')
_JOINED = re.compile(r"\)\s*\.(?:and|or|blend)\([^()\n]{0,80}\)")
_JOINED_QUOTES = re.compile(r'"\s*,\s*"|(?<=\()\s*"|"\s*(?=\)\s*\.(?:and|or|blend)\()')


def take_alternatives(edited: Edited) -> list[tuple[Range, tuple[Range, ...]]]:
    """Keep the first of alternatives: [cat|dog], [cat:dog:0.5], {red|blue}, cat.swap(dog)."""
    found: list[tuple[Range, tuple[Range, ...]]] = []

    def choose(match: re.Match[str]) -> list[Piece]:
        text, start = match["all"], match.start("all")
        sign = "|" if "|" in text else ":"
        options = []
        at = start
        for option in text.split(sign):
            begin = at + (skipped.end() if (skipped := _PICKED.match(option)) else 0)
            end = at + len(option.rstrip())
            options.append((begin, max(begin, end)))
            at += len(option) + 1
        if sign == ":":
            when = edited.text[slice(*options.pop())]
            if match.group()[0] == "{" or not re.fullmatch(NUMBER, when) or len(options) > 2:
                return [match.span()]
        given = [option for option in options if option[0] < option[1]]
        if len(given) > 1:
            found.append((edited.range(*given[0]), tuple(edited.range(*option) for option in given[1:])))
        return [" ", *given[:1], " "]

    def swap(match: re.Match[str]) -> list[Piece]:
        if match["other"].strip():
            found.append((edited.range(*match.span("own")), (edited.range(*match.span("other")),)))
        return [match.span("own")]

    for _ in range(4):  # alternatives can stand in alternatives
        if not edited.sub(_CHOICE, choose):
            break
    if ".swap(" in edited.text:
        edited.sub(_SWAP, swap)
    if _JOINED.search(edited.text):
        edited.sub(_JOINED_QUOTES, lambda match: "\n")
        edited.sub(_JOINED, lambda match: ")\n")
    return found
