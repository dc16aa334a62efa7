"""Tags with no commas between them: "1girl long pink hair sailor uniform", "wizard grey beard wooden staff dark cave"."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence, Set

from . import lexicon
from .compounds import AFTER_NOUNS
from .depicted import TAG_OF_PEOPLE
from .style import BEFORE_HEADS, FUNCTION_WORDS, style_of
from .style_words import NO_LOOKS, STYLE_HEADS, TAGS
from .word_forms import is_known, is_participle, may_be_verb, singulars

_WORD = re.compile(r"[^\s()\"]+")
_MOST = 2000  # characters of a piece that are looked at
_STYLE = (BEFORE_HEADS | NO_LOOKS | frozenset({"artstation", "deviantart", "pixiv"})) - frozenset({"reflections"})
_ARTICLES = frozenset("a an the his her its their some".split()) | frozenset(lexicon.NUMBERS)
_PEOPLE = frozenset(
    "man woman boy girl person child kid people men women boys girls children cat dog bear bird horse baby toddler "
    "lady guy".split()
)
_SMALL = (
    FUNCTION_WORDS
    | lexicon.POINTING
    | lexicon.SIDES
    | frozenset(lexicon.NUMBERS)
    | frozenset(
        "up down out off away around along below among upon within toward towards over there here very too so both all than "
        "then while when where if but nor not be been being was were am will can could do does did it he she they him them "
        "me you amid amidst beneath underneath beyond atop during before after since until despite per via plus still yet just "
        "once amongst covered dressed made painted called named half next lots".split()
    )
)
_COMPOUNDS = frozenset({("ice", "cream"), ("sour", "cream"), ("whipped", "cream"), ("polar", "bear"), ("traffic", "light")})
_ALSO_ADJECTIVES = frozenset("round giant female male square oval adult baby".split())
_PREFIXES = frozenset("post neo retro hyper ultra semi".split())
_SHADED = lexicon.COLOURS | lexicon.SHADES | frozenset({"cold", "sharp", "clear"})
_MATERIALS = lexicon.MATERIALS | frozenset(
    "pearl diamond bone oak pine rubber nylon straw wicker linen tweed latex jade obsidian chrome feather neon led".split()
)
_NO_SUBJECTS = _STYLE | _MATERIALS | frozenset("snow medium size double".split())
_BEFORE_OBJECTS = _SMALL | lexicon.ACTIONS
_LOOKS = lexicon.ADJECTIVES | lexicon.SHADES
_BODY_OR_WORN = frozenset().union(*lexicon.KINDRED[1:4]) - _MATERIALS | frozenset(
    "eyes eye face skin lips necklace crown tiara collar bowtie glasses sunglasses headband bracelet earrings backpack uniform "
    "outfit kimono sword spear staff shield wand katana dagger umbrella ponytail twintails "
    "braid braids bangs headphones headset hoodie sweater".split()
)
# After a word for what is worn these make a compound: "hair ribbon", "dress shoes".
_OF_WORN = frozenset(
    "ornament ornaments clip clips bun buns ribbon ribbons band bands tie ties pin pins flower flowers accessory accessories "
    "shoes shoe shirt rack box stand hanger tip tips brush salon strap straps pattern dryer paint print prints suit "
    "patch patches shadow liner lashes hilt handle fight fighter bearer".split()
)
_MODIFYING_PLURALS = frozenset("sports arms goods customs species series".split())
_TIMES = lexicon.TIMES | frozenset({"day", "morning", "evening", "afternoon"})
# These are hardly ever said of another noun, nor another of them: "bamboo forest moonlight".
_ALONE = frozenset(
    "moonlight sunlight candlelight starlight sunset sunrise fog mist smoke clouds stars fireflies candles reflections "
    "rain snow lightning freckles fireworks snowflakes raindrops bubbles sparks particles".split()
)
_WEATHER = frozenset("rain snow lightning fog smoke".split())
_BENT = re.compile(r"(?:ed|ing)\Z|(?:clad|lit|worn|made|held|woven|drawn|hidden)\Z")
_ADJECTIVE = re.compile(r"\w-\w+ed\Z|\w{3}(?:ful|ous|less|able|ible|ish|esque|like|ular|ic|ical)\Z")
_DATE = re.compile(r"\d+(?:s|k|mm)")
_RELATIVE = frozenset("that which who".split())


def run_starts(piece: str) -> list[int]:
    """Return where the tags after the first begin in a piece without commas that has several.

    >>> piece = "old wizard long grey beard wooden staff"
    >>> [piece[at:] for at in run_starts(piece)]
    ['long grey beard wooden staff', 'wooden staff']
    >>> run_starts("a tall man with a long grey beard"), run_starts("a sky blue dress")
    ([], [])
    """
    tokens = list(_WORD.finditer(piece, 0, _MOST))
    words = [token.group().lower() for token in tokens]
    return [tokens[at].start() for at in _Run(words).starts()]


class _Run:
    """The words of a piece, each with what it is likely to be there: "style", "people", "thing", "looks", "doing" or
    "small"."""

    def __init__(self, words: Sequence[str]) -> None:
        self.words = words
        self.styled = list(_styled(words))
        covered = {at for first, after in self.styled for at in range(first, after)}
        self.kinds = ["style" if at in covered else self._kind(at) for at in range(len(words))]

    def starts(self) -> list[int]:
        found = {at for block in self.styled for at in block if 0 < at < len(self.words)}
        sure = {at for at in range(1, len(self.words)) if self._must_begin(at)}
        bent = {at for at in range(1, len(self.words)) if self._opens(at) and self.words[at] not in AFTER_NOUNS}
        row = ["thing"] * 5
        many = any(self.kinds[at : at + 5] == row for at in range(len(self.kinds)))  # "red bridge koi pond stone lanterns"
        if sure or many or len(bent) > 1:  # "cracked helmet glowing flowers"
            found |= sure | set(self._tags())
            found |= {at for at in range(1, len(self.words)) if self._may_begin(at)}
            found |= set(self._parted(found))
        return sorted(found)

    def _tags(self) -> Iterator[int]:
        """Yield where well-known tags of several words begin and end: "holding hands"."""
        for at in range(1, len(self.words)):
            for after in (at + 3, at + 2):
                if (
                    " ".join(self.words[at:after]) in TAGS
                    and self.words[at - 1] not in _SMALL
                    and "thing" in self.kinds[at:after]
                ):
                    yield at
                    if after < len(self.words):
                        yield after
                    break

    def _kind(self, at: int) -> str:
        word = self.words[at]
        if TAG_OF_PEOPLE.match(word):
            return "people"
        if word in _SMALL or word in lexicon.PAST or not any(map(str.isalpha, word)):
            return "small"
        if word in lexicon.ACTIONS:
            return "doing"
        if self._names_shade(at) or self._is_adjective(at):
            return "looks"
        if word.endswith("ing") and may_be_verb(word) and word not in lexicon.NOUNS and word not in lexicon.NOUNS_IN_ING:
            return "doing"
        adverb = word.endswith("ly") and word not in lexicon.WORDS
        return "small" if adverb or word.endswith(("'s", "s'")) or self._may_be_verb(at) else "thing"

    def _is_adjective(self, at: int) -> bool:
        word = self.words[at]
        if word in lexicon.SHADES and word not in lexicon.ADJECTIVES:  # "traffic light", "light blue"
            return at + 1 < len(self.words) and self.words[at + 1] in lexicon.COLOURS
        following = self.words[at + 1] if at + 1 < len(self.words) else ""
        if word in _ALSO_ADJECTIVES or word in _PREFIXES:
            return bool(following) and following not in _SMALL
        return _is_adjective(word) and (at == 0 or (self.words[at - 1], word) not in _COMPOUNDS)

    def _names_shade(self, at: int) -> bool:
        """Return whether a noun says which colour is meant by the next word."""
        if at + 2 >= len(self.words) or self.words[at + 1] not in _SHADED:
            return False
        alone = not at or not _is_adjective(self.words[at - 1])
        return self.words[at] in lexicon.SHADES_OF or (self.words[at] in lexicon.THINGS_OF_COLOUR and alone)

    def _may_be_verb(self, at: int) -> bool:
        """Return whether a word may be what the one before does: "holds" in "a man holds small dogs"."""
        word, before = self.words[at], self.words[at - 1] if at else ""
        if before in _RELATIVE:
            return may_be_verb(word)
        forms = (word, *singulars(word)) if _is_plural(before) else tuple(singulars(word))
        if not before or lexicon.VERBS.isdisjoint(forms):
            return False
        following = self.words[at + 1] if at + 1 < len(self.words) else ""
        if word.endswith("s") and _is_plural(before) and not (_is_adjective(following) or following in _ARTICLES):
            return False  # "green eyes freckles wearing a dress"
        subject = before not in _SMALL and not _is_adjective(before) and not _ARTICLES.isdisjoint(self.words[:at])
        return subject or before in _PEOPLE

    def _must_begin(self, at: int) -> bool:
        """Return whether a tag begins at a word for sure: at an adjective between nouns, at "1girl" and after it."""
        before, kind = self.kinds[at - 1 : at + 1]
        if "people" in (before, kind):
            return "small" not in (before, kind) and kind != "doing"
        bent = _BENT.search(self.words[at]) and self.words[at] != "red"
        return not bent and self._opens(at)

    def _opens(self, at: int) -> bool:
        """Return whether an adjective stands between nouns."""
        between = self.kinds[at - 1] == "thing" and self.kinds[at] == "looks"
        return between and self._leads_to_thing(at) and self._is_named(at - 1)

    def _is_named(self, at: int) -> bool:
        """Return whether a noun is one for sure, and not what the next one is like or made of: "a vintage red truck"."""
        word = self.words[at]
        if word in _NO_SUBJECTS or not is_known(word):
            return False
        return word in _PEOPLE or _is_plural(word) or not (at and self.words[at - 1] in _ARTICLES)

    def _leads_to_thing(self, at: int) -> bool:
        return next((kind == "thing" for kind in self.kinds[at:] if kind != "looks"), False)

    def _may_begin(self, at: int) -> bool:
        """Return whether a tag begins at a word of a run of tags."""
        word, before = self.words[at], self.words[at - 1]
        kind, kind_before = self.kinds[at], self.kinds[at - 1]
        if kind == "doing":
            return kind_before == "thing"
        if kind_before != "thing":
            return False
        if kind == "looks" and self._leads_to_thing(at):  # "flapper girl beaded dress", not "snow capped mountains"
            return word not in AFTER_NOUNS
        if kind == "looks":
            return word in TAGS
        if kind != "thing":
            return False
        following = self.kinds[at + 1] if at + 1 < len(self.words) else ""
        if word.endswith("ing") and word not in lexicon.NOUNS_IN_ING and following == "thing":  # "wheelchair peeling paint"
            return True
        if word in TAGS or (word in _TIMES and following != "thing"):
            return True
        if (word in _ALONE and before not in lexicon.NO_THINGS and not (word in _WEATHER and following == "thing")) or (
            before in _ALONE and self.kinds[at : at + 2] == ["thing", "thing"]
        ):
            return True
        return (
            _is_plural(before)
            or (word in _MATERIALS and following == "thing" and before not in _MATERIALS)
            or (before in _BODY_OR_WORN and word not in _OF_WORN)
        )

    def _parted(self, known: Set[int]) -> Iterator[int]:
        """Yield where nouns in a row part: four are two tags, "street market neon signs", and so are three after an adjective,
        "red bridge koi pond"."""
        first = 0
        while first < len(self.kinds):
            after = first
            while after < len(self.kinds) and self.kinds[after] == "thing" and (after == first or after not in known):
                after += 1
            described = first > 0 and self.kinds[first - 1] == "looks" and self.words[first] not in _NO_SUBJECTS
            start = first + (1 if described else 3) if (after - first) % 2 else first + 2
            yield from range(start, after - 1, 2)
            first = max(after, first + 1)


def _styled(words: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Yield the ranges of two words or more that name a style: "highly detailed digital painting"."""
    at = 0
    while at < len(words):
        after = at
        while after < len(words) and words[after] in _STYLE and words[after] not in _SMALL:
            after += 1
        end = after
        if after < len(words):
            while end > at and words[end - 1] not in STYLE_HEADS:  # "highly detailed face"
                end -= 1
            if words[after] in _SMALL and end == after:  # "a digital painting of a cat"
                end = at
        opened = at and (words[at - 1] in _BEFORE_OBJECTS or _is_adjective(words[at - 1]) or not words[at - 1].isalnum())
        words_of_style = words[at:end] if end > at else words[at : at + 1]
        dated = at and len(words_of_style) == 1 and _DATE.fullmatch(words[at])
        if (end - at > 1 or dated) and not opened and style_of(" ".join(words_of_style)):
            yield at, at + len(words_of_style)
        at = max(after, at + 1)


def _is_adjective(word: str) -> bool:
    if word in _LOOKS or is_participle(word):
        return True
    return word not in lexicon.WORDS and _ADJECTIVE.search(word) is not None


def _is_plural(word: str) -> bool:
    forms = list(singulars(word))
    unheard = bool(forms) and not is_known(word) and not word.endswith(("us", "is", "'s"))  # "twintails"
    known = word in lexicon.PLURALS or not lexicon.WORDS.isdisjoint(forms)
    return (known or unheard) and word not in _MODIFYING_PLURALS
