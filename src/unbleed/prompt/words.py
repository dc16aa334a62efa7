"""The words of a prompt, and the prompt without the signs that are meant for programs."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

from .entities import Span

# A word keeps its hyphens, apostrophes, digits and combining marks ("t-shirt", "cat's", "4k"); any other sign stands
# alone. Python's \w leaves combining marks out, hence the second range: accents written apart, and the vowel signs and
# joiners of the scripts of South and South-East Asia.
_LETTER = (
    r"(?:[^\W_][\u0300-\u036f\u0483-\u0487\u0591-\u05c7\u064b-\u065f\u0900-\u0903\u093a-\u094f\u0981-\u0dff\u0e31-\u0e4e]*)"
)
_WORD = rf"{_LETTER}+(?:[-'\u2019]{_LETTER}+)*|[^\w\s]|_+"
_NUMBER = r"-?(?:\d+(?:\.\d+)?|\.\d+)"

_SIGNS = r"""(?P<nothing>  <(?:lora|lyco|hypernet):[^<>]*>   # adapters
                    | (?<!\\)[(\[{]                     # emphasis: (red:1.3), ((red)), [red], {red}
                    | (?<!\\)(?::\s*NUMBER\s*)?[)\]}]
                    | \\(?=[()\[\]{}]) )
      | (?P<learnt> LEARNT )
      | (?P<comma>  \bBREAK\b | \n+ )
      | (?P<space>  [_\s\x00-\x1f\x7f-\x9f\u200b\u200e\u200f\u2028\u2029\ufeff]+ )
      | (?P<broken> [\ud800-\udfff] )                # half of a character"""

_LONG = re.compile(r"\S{80}(?=\S)")  # no word; cut, because the time to find words in it grows with its square


@functools.lru_cache(maxsize=64)
def _learnt(names: tuple[str, ...]) -> str:
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
    return re.compile(f"{_learnt(learnt)}|{_WORD}")


@functools.lru_cache(maxsize=64)
def _signs(learnt: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile(_SIGNS.replace("NUMBER", _NUMBER).replace("LEARNT", _learnt(learnt)), re.VERBOSE)


def split(prompt: str, learnt: Iterable[str] = ()) -> list[Span]:
    """Return the words and signs of `prompt` with their places; `learnt` are words of textual inversion."""
    return [Span(m.start(), m.end(), m.group()) for m in _words(tuple(learnt)).finditer(prompt)]


@dataclass(frozen=True)
class Readable:
    """A prompt as a person would read it aloud, and where each of its characters stands in the prompt."""

    text: str
    places: tuple[int, ...]
    prompt: str
    learnt: tuple[str, ...] = ()

    def span(self, start: int, end: int) -> Span:
        """Return the span of the prompt that characters `start` to `end` of the text come from."""
        first, last = self.places[start], self.places[end - 1] + 1
        return Span(first, last, self.prompt[first:last])


def readable(prompt: str, learnt: Iterable[str] = ()) -> Readable:
    """Return the prompt without weights, brackets, adapters and doubled spaces.

    >>> readable("a (red:1.3)  cat BREAK a [[blue_bench]] <lora:style:0.8>").text
    'a red cat , a blue bench '
    """
    learnt = tuple(learnt)
    text: list[str] = []
    places: list[int] = []

    def add(piece: str, start: int, length: int) -> None:
        if piece:
            text.append(piece)
        places.extend(start + min(i, length - 1) for i in range(len(piece)))

    at = 0
    for sign in _signs(learnt).finditer(prompt):
        add(prompt[at : sign.start()], at, sign.start() - at)
        at, length = sign.end(), sign.end() - sign.start()
        last = text[-1][-1] if text else ""
        match sign.lastgroup:
            case "comma":
                add(", " if last in ("", " ") else " , ", sign.start(), length)
            case "space" if last not in ("", " "):
                add(" ", sign.start(), length)
            case "broken":
                add("\ufffd", sign.start(), length)
            case "learnt":  # letters alone, so that it is read as a word nobody has heard of
                add("".join(c if c.isalpha() else "o" for c in sign.group()), sign.start(), length)
            case "nothing" if last not in ("", " ") and sign.group()[0] in "([{":
                add(" ", sign.start(), length)
    add(prompt[at:], at, len(prompt) - at)
    return Readable(*_cut_long("".join(text), places), prompt, learnt)


def _cut_long(text: str, places: list[int]) -> tuple[str, tuple[int, ...]]:
    cuts = [0, *(run.end() for run in _LONG.finditer(text)), len(text)]
    parts = [(text[a:b], places[a:b]) for a, b in pairwise(cuts)]
    spaced = [place for _, own in parts[:-1] for place in (*own, own[-1])]
    return " ".join(part for part, _ in parts), (*spaced, *parts[-1][1])
