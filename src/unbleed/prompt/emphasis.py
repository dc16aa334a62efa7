"""Emphasis in a prompt, which is taken out of it: (red:1.2), (red)1.2, red++, 1.2::red::, red::2 blue::1."""

from __future__ import annotations

import re

from .edited import Edited, Piece, Range

NUMBER = r"[-+]?(?:\d+(?:\.\d*)?|\.\d+)"
_END = r"(?=[\s,.;:!?)\]|]|$)"
_BRACKET = re.compile(
    rf"(?<!\\)(?P<open>[(\[{{])|(?<!\\)(?::\s*(?P<inner>{NUMBER})\s*)?(?P<close>[)\]}}])(?:(?P<outer>{NUMBER}){_END}|"
    rf"[+-]+{_END})?"
)
_ESCAPED = re.compile(r"\\(?=[()\[\]{}:])[()\[\]{}]?")
_BARE_WEIGHT = re.compile(rf"(?<=[^\W\d])(?<!\\):({NUMBER}){_END}|\s:\s?({NUMBER})(?=\s*(?:\n|\Z))")
_SIGNED = re.compile(rf"(?<=\w)(?:\+\++|--+|\+){_END}")
_NOVELAI = re.compile(rf"(?<![\w.:])({NUMBER})::(?P<inner>[^:\n]+?)::(?=[\s,]|\Z)")
_PART = re.compile(rf"(?:::|(?<=\s): :)\s*({NUMBER}(?=[\s,]|\Z))?")


def take_weights(edited: Edited) -> list[tuple[Range, float]]:
    """Remove the signs of emphasis, and return what a number stands for."""
    found: list[tuple[Range, float]] = []
    starts: list[int] = []
    for match in _BRACKET.finditer(edited.text):
        if match["open"]:
            starts.append(match.end())
        elif starts:
            start, number = starts.pop(), match["inner"] or match["outer"]
            if number:
                found.append((edited.range(start, match.start()), float(number)))

    def space(match: re.Match[str]) -> str:
        after = edited.text[match.end() : match.end() + 1]
        return " " if match["open"] or after.isalnum() else ""

    edited.sub(_BRACKET, space)

    def bare(match: re.Match[str]) -> str:
        before = edited.text[max(0, match.start() - 80) : match.start()]
        cut = "\n" if match[2] else None
        word = before.rsplit(cut, 1)[-1] if cut else (before.split() or [""])[-1].split(",")[-1]
        found.append((edited.range(match.start() - len(word), match.start()), float(match[1] or match[2])))
        return ", "

    edited.sub(_BARE_WEIGHT, bare)
    edited.sub(_SIGNED, lambda match: "")
    edited.sub(_ESCAPED, lambda match: " ")
    return found


def take_parts(edited: Edited) -> list[tuple[Range, float]]:
    """Part the prompt at "::", and return the weights of the parts before."""
    found: list[tuple[Range, float]] = []

    def weighted(match: re.Match[str]) -> Piece:
        found.append((edited.range(*match.span("inner")), float(match[1])))
        return match.span("inner")

    edited.sub(_NOVELAI, weighted)
    begin = 0

    def part(match: re.Match[str]) -> str:
        nonlocal begin
        if match[1]:
            found.append((edited.range(begin, match.start()), float(match[1])))
        begin = match.end()
        return "\n"

    edited.sub(_PART, part)
    return found
