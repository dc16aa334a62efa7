"""The pieces of a prompt that are read each by itself: sentences, tags between commas, lines."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise

from .artists import ARTISTS, FIRST_NAMES
from .lexicon import ADJECTIVES, COLOURS, NUMBERS, SHADES
from .runs import run_starts
from .style import PICTURE, STYLE, is_kind, lead_in, medium, picture_head, style_of, tail_of
from .syntax import Readable
from .word_forms import is_full_name, is_known

_SENTENCE_END = re.compile(
    r"(?:[!?\u2026]+|(?<!\b[A-Za-z])(?<!\b[DMS][rst])(?<!\bMrs)(?<!\bvs)(?<!\betc)\.+)(?=[\s)]|\Z)|\.{2,}|"
    r"(?<=[a-z]{3})\.(?=[A-Z])"
)
_LABEL = re.compile(r"\s*-?\s*(?P<name>[A-Za-z][A-Za-z '/&-]{0,38}?)\s*:\s+")
_STYLE_LABEL = re.compile(
    r"\b(?:style|styles|lighting|light|mood|camera|lens|quality|medium|artist|artists|palette|colou?rs?|colou?r scheme|"
    r"resolution|aspect|ratio|aspect ratio|render|rendering|"
    r"atmosphere|composition|tone|technique|technical|shot|shot type|angle|view|perspective|model|seed|version|steps|sampler|"
    r"vibe|aesthetic|focus|format|settings|parameters|year|genre|"
    r"title|note|notes|instructions?|type|time|time of day|emotion|emotions|texture)\Z",
    re.IGNORECASE,
)
_PART_LABEL = re.compile(
    r"\b(?:subjects?|scenes?|settings?|location|place|environment|background|foreground|backdrop|surroundings|characters?|"
    r"people|person|persons|objects?|elements?|clothing|clothes|outfit|attire|wardrobe|pose|action|description|"
    r"prompt|image|picture|features?|accessories|props?|details?|include|includes|main|focus|theme|concept|weather|"
    r"appearance|left|right|cent(?:er|re)|top|bottom|view|panel|region|area)\Z",
    re.IGNORECASE,
)
_CONTINUES = re.compile(r"(?:which|who|whose|whom|that|where)\b", re.IGNORECASE)
_WORD = re.compile(r"[\w'-]+")
_ADJECTIVES_OR_AND = (ADJECTIVES | SHADES | {"and", "or"}) - frozenset(NUMBERS)


@dataclass(frozen=True)
class Unit:
    """Characters of the text that are read together."""

    start: int
    end: int
    sentence: int  # the number of the sentence that it is a part of
    negative: bool = False  # it says what the picture is not to show
    looks: tuple[tuple[int, int], ...] = ()  # the words of a piece of colours alone


@dataclass
class Segments:
    """A text in pieces."""

    units: list[Unit] = field(default_factory=list)
    left_out: list[tuple[int, int, str]] = field(default_factory=list)  # characters that name no thing, with the reason


def whole(text: Readable) -> Segments:
    """Return the lines of a text as they are: for languages whose words of style are not known."""
    found = Segments()
    for number, (start, end) in enumerate(_pieces(text.text, re.compile(r"\n"), 0, len(text.text))):
        found.units.append(Unit(start, end, number, text.is_negative(start, end)))
    return found


def segments(text: Readable) -> Segments:
    """Return the pieces of an English text, without those that name a style.

    >>> from .syntax import readable
    >>> read = readable("a red cat, cinematic lighting. A dog, 35mm, by Ann Other")
    >>> [read.text[unit.start : unit.end] for unit in segments(read).units]
    ['a red cat', 'A dog']
    """
    found = Segments()
    sentence = 0
    for line_start, line_end in _pieces(text.text, re.compile(r"\n"), 0, len(text.text)):
        for start, end in _pieces(text.text, _SENTENCE_END, line_start, line_end):
            begin = _after_heading(found, text.text, start, end)
            if begin < end:
                _add_sentence(found, text, begin, end, sentence)
            sentence += 1
    return found


def _pieces(text: str, pattern: re.Pattern[str], start: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield what stands between the matches of a pattern, without spaces around it."""
    at = start
    for match in pattern.finditer(text, start, end):
        yield from _stripped(text, at, match.start())
        at = match.end()
    yield from _stripped(text, at, end)


def _stripped(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    while start < end and text[start] in " \n,":
        start += 1
    while start < end and text[end - 1] in " \n,":
        end -= 1
    if start < end:
        yield start, end


def _after_heading(found: Segments, text: str, start: int, end: int) -> int:
    """Return where a sentence begins after its heading, "Subject: a cat"; nothing of it is left after "Style:"."""
    label = _LABEL.match(text, start, end)
    if label is None or label.end() >= end:
        return start
    name = label["name"]
    if _STYLE_LABEL.search(name):
        found.left_out.append((start, end, STYLE))
        return end
    is_style = style_of(name) is not None
    first = _COMMA.split(text[label.end() : end], maxsplit=1)[0]
    one = " " not in name and not _looks(first, 0, len(first))  # not "hair: long and black"
    if not (is_style or one or _PART_LABEL.search(name)):
        return start
    found.left_out.append((*label.span("name"), STYLE if is_style else "is a heading"))
    return label.end()


_COMMA = re.compile(r",(?!\d{3}\b)|:(?=\s)")


def _add_sentence(found: Segments, text: Readable, start: int, end: int, number: int) -> None:
    names = False  # a name of an artist stood before
    styled = False  # the piece before names a style
    last: Unit | None = None  # the piece before, where nothing was left out after it
    waiting: int | None = None  # where colours begin that stand before the first thing: "red, yellow and green apples"
    pieces = [own for piece in _pieces(text.text, _COMMA, start, end) for own in _tags(text.text, *piece)]
    names_from = _names_at_end([text.text[a:b] for a, b in pieces])
    for position, (begin, stop) in enumerate(pieces):
        if waiting is not None:
            begin, waiting = waiting, None
        elif last is None and not _has_units(found, number) and stop < end and _is_first_colour(text.text, begin, stop):
            waiting = begin
            continue
        piece = text.text[begin:stop]
        known = style_of(piece)
        if reason := known or (STYLE if position >= names_from or _may_be_name(piece, names, styled) else None):
            names = names or known is None or piece.lower() in ARTISTS or _BY.match(piece) is not None
            while (
                piece.startswith("and ") and last and last.looks and found.units[-1:] == [last]
            ):  # "blue, orange and dark green tones"
                found.left_out.append((last.start, last.end, reason))
                found.units.pop()
                last = found.units[-1] if _has_units(found, number) else None
            found.left_out.append((begin, stop, reason))
            last, styled = None, True
            continue
        styled = False
        if leading := lead_in(piece):
            found.left_out.append((begin + leading[0], begin + leading[1], PICTURE))
            begin += leading[2]
            piece, last = text.text[begin:stop], None
            if reason := style_of(piece):
                found.left_out.append((begin, stop, reason))
                continue
        if kind := medium(piece):
            found.left_out.append((begin, begin + kind - 1, PICTURE))
            begin += kind
            piece, last = text.text[begin:stop], None
        tail = tail_of(piece)
        names = tail is not None and re.search(r"\bby\b", piece[slice(*tail)], re.IGNORECASE) is not None
        head = picture_head(piece) if tail is None else None
        parts = [(begin, begin + tail[0]), (begin + tail[1], stop)] if tail else [(begin, begin + head if head else stop)]
        if tail:
            found.left_out += [(a, b, STYLE) for a, b in _stripped(text.text, begin + tail[0], begin + tail[1])]
        elif head:
            found.left_out.append((begin + head, stop, PICTURE))
        for a, b in (own for part in parts for own in _stripped(text.text, *part)):
            own = text.text[a:b]
            if (tail or head) and (style_of(own) or is_kind(own)):
                found.left_out.append((a, b, STYLE))
                continue
            if last and _CONTINUES.match(own):
                a = last.start
                found.units.pop()
            last = Unit(a, b, number, text.is_negative(a, b), _looks(text.text, a, b))
            found.units.append(last)
        if tail or head:
            last = None


def _tags(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield the tags of a piece that has several without commas."""
    cuts = [start, *(start + at for at in run_starts(text[start:end])), end]
    for begin, stop in pairwise(cuts):
        yield from _stripped(text, begin, stop)


def _is_first_colour(text: str, start: int, end: int) -> bool:
    return bool(_looks(text, start, end)) and not style_of(text[start:end])


def _has_units(found: Segments, sentence: int) -> bool:
    return bool(found.units) and found.units[-1].sentence == sentence


def _looks(text: str, start: int, end: int) -> tuple[tuple[int, int], ...]:
    """Return the words of a piece that has colours alone, "blue, white and red", nothing of any other."""
    words = [(match.start(), match.end()) for match in _WORD.finditer(text, start, end)]
    own = [text[a:b].lower() for a, b in words]
    if len(own) == 3 and own[1] == "and" and all(word in ADJECTIVES or word.endswith("ed") for word in own[::2]):
        return words[0], words[2]  # "a teapot, chipped and faded"
    if not own or own[-1] not in COLOURS or not all(word in _ADJECTIVES_OR_AND for word in own):
        return ()
    return tuple(place for place, word in zip(words, own, strict=True) if word not in ("and", "or"))


_BY = re.compile(r"(?:\w+ ){0,3}by\b", re.IGNORECASE)


def _may_be_name(piece: str, names: bool, styled: bool) -> bool:
    """Return whether a piece is a name of an artist, after another (`names`) or after a style (`styled`)."""
    own = piece.replace(" and ", " ").split()
    if ((names and 1 < len(own) < 6) or (styled and len(own) == 2)) and own[0].lower() in FIRST_NAMES:
        return True
    if not names or not 0 < len(own) < 6:
        return False
    if all(word[0].isupper() and word.lower() not in COLOURS for word in own):
        return True
    return len(own) < 4 and not any(is_known(word.lower()) for word in own)


def _names_at_end(pieces: list[str]) -> int:
    """Return where pieces begin that are all of style or names of artists, those that a first name shows: "greg rutkowski"."""
    at = len(pieces)
    while at > 1 and (style_of(pieces[at - 1]) or _is_full_name(pieces[at - 1])):
        at -= 1
    return at


def _is_full_name(piece: str) -> bool:
    words = piece.lower().split()
    return len(words) == 2 and is_full_name(words[0], words[1])
