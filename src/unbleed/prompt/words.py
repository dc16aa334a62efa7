"""The words and signs of a prompt, each with its characters."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable

from .entities import Span

# A word keeps its hyphens, apostrophes, digits and combining marks ("t-shirt", "cat's", "4k"); any other sign stands
# alone. Python's \w leaves combining marks out, hence the second range: accents written apart, and the vowel signs and
# joiners of the scripts of South and South-East Asia.
_LETTER = (
    r"(?:[^\W_][\u0300-\u036f\u0483-\u0487\u0591-\u05c7\u064b-\u065f\u0900-\u0903\u093a-\u094f\u0981-\u0dff\u0e31-\u0e4e]*)"
)
_WORD = rf"{_LETTER}+(?:[-'\u2019]{_LETTER}+)*|[^\w\s]|_+"


@functools.lru_cache(maxsize=64)
def learnt_pattern(names: tuple[str, ...]) -> str:
    """Return a pattern of learnt words (textual inversion): these, and any in angle brackets.

    One of several vectors is written out for the tokenizer as <it> <it>_1 <it>_2, and is still one word.
    """
    known = [rf"{_edge(name[0], '<!')}{re.escape(name)}{_edge(name[-1], '!')}" for name in sorted(names, key=len, reverse=True)]
    either = "|".join([f"(?i:{'|'.join(known)})"] * bool(known) + [r"<[^<>\s]+>"])
    return rf"(?P<name>{either})(?:_\d+)?(?:\s+(?P=name)_\d+)*"


def _edge(letter: str, side: str) -> str:
    return rf"(?{side}\w)" if re.match(r"\w", letter) else ""


@functools.lru_cache(maxsize=64)
def _words(learnt: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile(f"{learnt_pattern(learnt)}|{_WORD}")


def split(prompt: str, learnt: Iterable[str] = ()) -> list[Span]:
    """Return the words and signs of `prompt` with their places; `learnt` are words of textual inversion."""
    return [Span(m.start(), m.end(), m.group()) for m in _words(tuple(learnt)).finditer(prompt)]
