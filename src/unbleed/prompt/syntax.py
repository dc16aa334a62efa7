"""A prompt without the signs that are meant for programs, and what these signs say.

A1111 and ComfyUI (weights, alternatives, adapters, BREAK, a negative prompt and settings at the end), regional prompting
(ADDROW ...), InvokeAI and compel ((red)1.2, red++, .and()), Midjourney (--ar 16:9, red::2), wildcards. What is removed leaves
a line break where it parts the prompt in two; every character that stays keeps its place in the prompt.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from .alternatives import take_alternatives
from .commas import between_adjectives
from .edited import Edited, Piece, Range
from .emphasis import NUMBER, take_parts, take_weights
from .entities import Span
from .lexicon import ACTIONS, ADJECTIVES
from .word_forms import is_known
from .words import learnt_pattern
from .writing import written

_LONG = re.compile(r"\S{80}(?=\S)")  # no word; cut, because the time to find words in it grows with its square


@dataclass(frozen=True)
class Readable:
    """A prompt as a person would read it aloud, and where each of its characters stands in the prompt.

    A line break parts what does not belong together.
    """

    text: str
    places: Sequence[int]
    prompt: str
    learnt: tuple[str, ...] = ()
    negative: tuple[Range, ...] = ()  # what the picture is not to show
    weights: tuple[tuple[Range, float], ...] = ()
    alternatives: tuple[tuple[Range, tuple[Range, ...]], ...] = ()  # what is read, and what is given in place of it
    written: tuple[Range, ...] = ()  # text to be written in the picture
    removed: tuple[tuple[Range, str], ...] = ()  # words for programs, each with what it is

    def span(self, start: int, end: int) -> Span:
        """Return the span of the prompt that characters `start` to `end` of the text come from."""
        first, last = self.places[start], self.places[end - 1] + 1
        return Span(first, last, self.prompt[first:last])

    def is_negative(self, start: int, end: int) -> bool:
        """Return whether characters of the text are among what the picture is not to show."""
        first, last = self.places[start], self.places[end - 1]
        return any(a <= first and last < b for a, b in self.negative)

    def weight(self, place: int) -> float | None:
        """Return the product of the weights around a character of the prompt, None where there is none."""
        found = [value for (first, last), value in self.weights if first <= place < last]
        return math.prod(found) if found else None


# ------------------------------------------------------------------------------------------------------ what is removed

_BROKEN = re.compile(r"[\ud800-\udfff]")  # half of a character
_LINE = re.compile(r"\r\n?|[\x0b\x0c\x85\u2028\u2029]")
_COMMAND = re.compile(r"\A\s*(?:/imagine\s*)?(?:(?:positive\s+)?prompt\s*:)?\s*", re.IGNORECASE)
_SETTINGS = re.compile(r"(?:^|(?<=[\s,.]))(?:Steps: \d|CFG scale: \d|Sampler: \w|Seed: \d)[^\n]*", re.IGNORECASE | re.MULTILINE)
_NEGATIVE = re.compile(r"(?:^|(?<=[\s,.;]))negative(?: prompt)?\s*:([^\n]*)", re.IGNORECASE)
_URL = re.compile(r"(?:https?://|www\.)\S+")
_DASHED = (
    r"(?:--|[\u2013\u2014](?=(?:ar|v|no|style|s|q|niji|seed|chaos|c|iw|stylize|weird|w|tile|sref|cref|aspect|raw|h|hd|vibe|test|"
    r"upbeta|uplight)\b))"
)
_OPTION = re.compile(rf"(?<!\S){_DASHED}(?P<name>[a-zA-Z]\w*)(?P<value>[ \t]+(?!--)[^\s,]+)?")
_OPTION_NO = re.compile(r"(?<!\S)(?:--|\u2013|\u2014)(?:no|n|neg|negative)\b([^\n]*?)(?=\s(?:--|\u2013|\u2014)[a-zA-Z]|\n|\Z)")
_WITHOUT_VALUE = frozenset("tile hd turbo fast relax raw video draft test testp stealth public standard".split())
_ADAPTER = re.compile(r"<[A-Za-z]\w*:[^<>\n]*>")
_AGE = re.compile(r"(?<![\w-])\d{1,3}[ -](?:year|yr|yo)s?[ -]olds?(?= [a-z])")
_BEFORE_NOUNS = frozenset("a an the of in on with and by his her its their".split())
_EMBEDDING = re.compile(rf"\bembedding:[^\s,()]+(?::{NUMBER})?")
_WILDCARD = re.compile(r"__[\w/*-]{1,60}?__(?!\w)")
_QUALIFIER = re.compile(r"(?<=\S)\s*\\\([^\\()\n,]{1,60}\\\)(?=\s*(?:[,\n]|\Z))")
_KEYWORD = re.compile(r"(?<!\w)(?:BREAK|ADD(?:ROW|COL|COMM|BASE)|AND(?:_(?:SALT|PERP))?)(?!\w)")
_KEYWORD_NOT = re.compile(r"(?<!\w)AND_NOT(?!\w)([^\n]*)")
_KEY = re.compile(r'[{,\[]\s*"(?P<key>\w[\w ]{0,30})"\s*:\s*[\["{]*')
_OR = re.compile(r"(?<=[^\W\d]{3})/(?=[^\W\d]{3})")
_PARTED = re.compile(
    r"\s+[/~|\u2022\u00b7\u25cf\u2013\u2014]+\s+|\s+-+\s+|\|+|(?<!\S)[%=^+#@]+(?!\S)|[~%=^]{2,}|[*\u2022\u25cf\u2014]+|"
    r"-?[-=]>|;|//+|\n+"
)
_BULLET = re.compile(r"(?:^|(?<=\n))[ \t]*(?:[-+>]|\d{1,2}[.)])[ \t]+|(?<=\s)\d{1,2}[.)](?=\s+[A-Za-z])")
# "award - winning", "4 k", "3 d": DiffusionDB and others have spaces around hyphens and after numbers
_SPACED_HYPHEN = re.compile(r"(?P<left>\b\w+)(?P<sign> - )(?=(?P<right>\w+))")
_PREFIXES = frozenset("sci ultra hyper super semi award anti post pre neo multi mid non self photo x t bio avant".split())
_SUFFIXES = frozenset(
    "winning fi angle detailed realistic up resolution quality lit eyed haired colored coloured blown skinned year "
    "dimensional style like based inspired body definition contrast shot poly armed legged headed covered shirt shaped "
    "sized garde".split()
)
_SPACED_DIGITS = re.compile(r"(?<![\w.])\d(?: \d)+(?: ?(?:s|mm|k)\b)?(?![\w.])")
_SPACED_K = re.compile(r"(?<![\w.])(\d{1,2})(?P<space> )[kd]\b")
_TAG_SIGN = re.compile(r"(?<!\S)[#@](?=[^\W\d])")
_WIDE = str.maketrans({"\uff0c": ",", "\u3001": ",", "\u3002": ".", "\uff1b": ";", "\uff01": "!", "\uff1f": "?", "\uff1a": ":"})
_SPACES = re.compile(r"(?:(?!\n)[_\s\x00-\x1f\x7f-\x9f\u200b\u200e\u200f\ufeff])+")
_SAID = re.compile(r"\b(?:says?|saying|reads?|reading|spells|spelling)\s*\Z", re.IGNORECASE)
_THAT_SAYS = re.compile(
    r"\s*,?\s*(?:(?:that|which)\s+(?:says?|reads?|spells|displays|shows)|saying|reading|spelling)\s*[:,]?\s*\Z", re.IGNORECASE
)
_QUOTE = re.compile(
    r"[\"\u201c\u201d\u201e\u00ab\u00bb\u300c\u300d]|(?<!\w)['\u2018](?=\w)|(?<=[\w,.])['\u2019](?=[\s,.]|\Z)(?<!s['\u2019])"
)
_GAPS = re.compile(r",? ?\n[ \n]*|,(?: ?,)+| +(?=[,.](?:\s|\Z))|\A +|(?<=[ \n]) +")


def readable(prompt: str, learnt: Iterable[str] = ()) -> Readable:
    """Return the prompt without weights, brackets, adapters and other signs for programs.

    >>> readable("a (red:1.3)  cat BREAK a [[blue_bench]] <lora:style:0.8> --ar 3:2").text
    'a red cat\\na blue bench\\n'
    >>> readable("a [cat|dog] on a bench").alternatives
    (((3, 6), ((7, 10),)),)
    """
    learnt = tuple(learnt)
    edited = Edited(prompt)
    removed: list[tuple[Range, str]] = []
    negative: list[Range] = []

    def drop(pattern: re.Pattern[str], what: str, instead: str = " ") -> None:
        def replace(match: re.Match[str]) -> Piece:
            removed.append((edited.range(*match.span()), what))
            return instead

        edited.sub(pattern, replace)

    def turn(pattern: re.Pattern[str], instead: str) -> None:
        edited.sub(pattern, lambda match: instead)

    def negate(pattern: re.Pattern[str]) -> None:
        def replace(match: re.Match[str]) -> list[Piece]:
            negative.append(edited.range(*match.span(1)))
            return ["\n", match.span(1), "\n"]

        edited.sub(pattern, replace)

    turn(_BROKEN, "\ufffd")
    turn(_LINE, "\n")
    edited.text = edited.text.translate(_WIDE)
    drop(_URL, "is an address")
    turn(_COMMAND, "")
    drop(_SETTINGS, "is a setting for a program", "\n")
    negate(_NEGATIVE)
    negate(_OPTION_NO)
    edited.sub(_OPTION, lambda match: _option(match, edited, removed))
    edited.sub(_ADAPTER, lambda match: _adapter(match, edited, removed))
    drop(_AGE, "says how old")
    drop(_EMBEDDING, "is an embedding")
    drop(_WILDCARD, "is a wildcard")
    # letters alone, so that a learnt word is read as a word that nobody has heard of
    edited.sub(_learnt(learnt), lambda match: "".join(c if c.isalpha() else "o" for c in match.group()))
    alternatives = take_alternatives(edited)
    if '":' in edited.text or '" :' in edited.text:
        edited.sub(_KEY, lambda match: ["\n", match.span("key"), ": "])
    drop(_QUALIFIER, "says where a tag belongs", "")
    negate(_KEYWORD_NOT)
    turn(_KEYWORD, "\n")
    weights = [*take_weights(edited), *take_parts(edited)]
    texts = _take_writing(edited)
    edited.sub(_SPACED_HYPHEN, _closed_up)
    edited.sub(_SPACED_DIGITS, lambda match: [(at, at + 1) for at in range(*match.span()) if edited.text[at] != " "])
    edited.sub(_SPACED_K, lambda match: [(match.start(), match.start("space")), (match.end("space"), match.end())])
    turn(_BULLET, "\n")
    edited.sub(_TAG_SIGN, lambda match: "\n" if match.group() == "#" else "")
    turn(_OR, " and ")
    turn(_PARTED, "\n")
    if _are_joined_tags(edited.text):
        turn(re.compile(r"\s+"), "\n")
    edited.sub(_EMOJI, lambda match: _emoji(match, edited, removed))
    turn(_SPACES, " ")
    edited.sub(_GAPS, _gap)
    for comma in reversed(between_adjectives(edited.text)):
        del edited.places[comma]
        edited.text = edited.text[:comma] + edited.text[comma + 1 :]
    text, places = _cut_long(edited.text, edited.places)
    return Readable(
        text,
        places,
        prompt,
        learnt,
        tuple(sorted([*negative, *(own for own, value in weights if value <= 0)])),
        tuple((own, value) for own, value in weights if value > 0),
        tuple(alternatives),
        texts,
        removed=tuple(sorted(removed)),
    )


def spoken(prompt: str) -> str:
    """Return the words of a prompt in one line, without weights, brackets, adapters and keywords.

    >>> spoken("a (red:1.3) cat BREAK a [[blue_bench]] <lora:style:0.8>")
    'a red cat, a blue bench'
    """
    edited = Edited(prompt)
    edited.sub(_BROKEN, lambda match: "\ufffd")
    for pattern in (_ADAPTER, _EMBEDDING):
        edited.sub(pattern, lambda match: " ")
    take_alternatives(edited)
    edited.sub(_KEYWORD, lambda match: "\n")
    take_weights(edited)
    take_parts(edited)
    edited.sub(_SPACES, lambda match: " ")
    edited.sub(_GAPS, _gap)
    return re.sub(r",?\n,? ?", ", ", edited.text.strip(" ,\n"))


def _gap(match: re.Match[str]) -> str:
    return "\n" if "\n" in match.group() else "," if "," in match.group() else ""


def _take_writing(edited: Edited) -> tuple[Range, ...]:
    """Remove what is to be written in the picture, and the quotes that are left."""
    found = written(edited.text)
    ranges = tuple(edited.range(*inner) for _, inner in found)
    for (start, end), _ in reversed(found):
        if clause := _THAT_SAYS.search(edited.text, max(0, start - 20), start):  # 'a sign that reads "Open" hangs on a wall'
            start = clause.start()
        said = _SAID.search(edited.text, max(0, start - 12), start) is not None  # "a board saying ... hangs on a wall"
        comma, places = (",", [edited.places[start]]) if said else ("", [])
        edited.text = edited.text[:start] + comma + edited.text[end:]
        edited.places = edited.places[:start] + places + edited.places[end:]
    edited.sub(_QUOTE, lambda match: "")
    return ranges


def _closed_up(match: re.Match[str]) -> list[Piece]:
    """Return a compound without the spaces around its hyphen; other hyphens stay as they are."""
    left, right = match["left"].lower(), match["right"].lower()
    name = not is_known(left) and not is_known(right)  # "jean - leclerc"
    if name or left in _PREFIXES or right in _SUFFIXES:
        start = match.start("sign") + 1
        return [match.span("left"), (start, start + 1)]
    return [match.span()]


def _learnt(learnt: tuple[str, ...]) -> re.Pattern[str]:
    """Return a pattern of learnt words, also of those whose vectors are written out although nobody named them."""
    return re.compile(rf"{learnt_pattern(learnt)}|(?<![^\s(,])(?P<own>[^\s,()]{{1,60}})(?:\s+(?P=own)_\d+)+")


def _adapter(match: re.Match[str], edited: Edited, removed: list[tuple[Range, str]]) -> str:
    removed.append((edited.range(*match.span()), "is for a program"))
    return " " if _is_awaited(edited.text, match.start()) else ", "


def _is_awaited(text: str, place: int) -> bool:
    """Return whether a noun can follow at a place: after an article, an adjective, a verb, a comma."""
    before = (text[max(0, place - 30) : place].split() or [","])[-1].lower()
    return before in ADJECTIVES or before in ACTIONS or before in _BEFORE_NOUNS or before.endswith((",", "."))


def _option(match: re.Match[str], edited: Edited, removed: list[tuple[Range, str]]) -> list[Piece]:
    end = match.start("value") if match["value"] and match["name"].lower() in _WITHOUT_VALUE else match.end()
    removed.append((edited.range(match.start(), end), "is a setting for a program"))
    return ["\n", (end, match.end())]


# ---------------------------------------------------------------------------------------------------------------- tags

_EMOJI = re.compile(
    "(?:[\U0001f1e6-\U0001f1ff]{2}|[\u231a-\u231b\u23e9-\u23f3\u2600-\u27bf\u2b00-\u2bff\U0001f000-\U0001faff][\ufe0f\U0001f3fb-\U0001f3ff]*"
    "(?:\u200d[\u2600-\u27bf\u2b00-\u2bff\U0001f000-\U0001faff][\ufe0f\U0001f3fb-\U0001f3ff]*)*)"
)
_ORNAMENTS = frozenset("✨🎨🔥💯📸📷🎥🎬💫⭐🌟❤💖✅❗➡👉👇🖼🖌🎭🙏😍🤩♥❌⚡")


def _emoji(match: re.Match[str], edited: Edited, removed: list[tuple[Range, str]]) -> Piece | list[Piece]:
    """Return the word for an emoji: it is read as a noun."""
    sign = match.group()[0]
    name = re.sub(r"\b(?:FACE|SIGN|SYMBOL|EMOJI|HEAD)\b", "", unicodedata.name(sign, "").split(" WITH ")[0]).split()
    if sign in _ORNAMENTS or not name:
        removed.append((edited.range(*match.span()), "decorates the prompt"))
        return " "
    word = re.sub(r"[^a-z]", "", name[-1].lower()) or "thing"
    return [" " if _is_awaited(edited.text, match.start()) else "\n", word, " "]


def _are_joined_tags(text: str) -> bool:
    """Return whether spaces stand between tags whose own words are joined: "1girl long_hair red_eyes"."""
    if "," in text or "\n" in text.strip() or "_" not in text:
        return False
    words = text.split()
    joined = sum("_" in word.strip("_") for word in words)
    return joined > 1 and joined >= 0.4 * len(words)


def _cut_long(text: str, places: list[int]) -> tuple[str, tuple[int, ...]]:
    cuts = [0, *(run.end() for run in _LONG.finditer(text)), len(text)]
    parts = [(text[a:b], places[a:b]) for a, b in pairwise(cuts)]
    spaced = [place for _, own in parts[:-1] for place in (*own, own[-1])]
    return " ".join(part for part, _ in parts), (*spaced, *parts[-1][1])
