"""Text on images: a font that has its characters, names for characters that no font has, lines of a given width."""

from __future__ import annotations

import unicodedata
from functools import cache

from PIL import ImageFont

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

# Pillow's own font has the characters of English only. Pillow finds these by name, if the system has them.
_SYSTEM_FONTS = (
    "DejaVuSans.ttf",
    "NotoSans-Regular.ttf",
    "Arial.ttf",
    "NotoSansCJK-Regular.ttc",
    "Arial Unicode.ttf",
    "msyh.ttc",
)
_JOINERS = dict.fromkeys(map(ord, "\u200b\u200c\u200d\u2060\ufe0e\ufe0f"))  # they combine emoji and have no width


@cache
def fonts(size: int) -> tuple[Font, ...]:
    """Return Pillow's own font and those of the system, at `size` pixels."""
    found: list[Font] = [ImageFont.load_default(size)]
    for name in _SYSTEM_FONTS:
        try:
            found.append(ImageFont.truetype(name, size))
        except OSError:  # not on this system
            continue
    return tuple(found)


@cache
def _draws(font: Font, character: str) -> bool:
    """Return whether the font has the character; one that it lacks looks like an unassigned code point, a box."""
    if not isinstance(font, ImageFont.FreeTypeFont):
        return character.isascii()
    shape, box = (font.getmask(one) for one in (character, "\U0010ffff"))
    return (shape.size, [*shape]) != (box.size, [*box])


def _is_emoji(character: str) -> bool:
    return unicodedata.category(character) in ("So", "Sk") and ord(character) > 0x2190


def _named(font: Font, character: str) -> str:
    """Return a substitute for a character that the font lacks: its base letter, else its name or number in brackets."""
    base = unicodedata.normalize("NFKD", character)[0]
    if base != character and base.isalnum() and _draws(font, base):
        return base
    name = unicodedata.name(character, "")
    return f"[{name.lower()}]" if _is_emoji(character) and name else f"[U+{ord(character):04X}]"


def lettered(text: str, size: int) -> tuple[str, Font]:
    """Return the text with substitutes for characters that no font has, and the font for it.

    >>> lettered("a \N{CAT FACE} and a bench", 16)[0]
    'a [cat face] and a bench'

    The font is the first that has every character except emoji, which are written by name so that a sheet is the same on every
    system. If no font has them all, base letters stand for accented ones and code points for other scripts.
    """
    spaced = "".join(" " if letter.isspace() else letter for letter in text.translate(_JOINERS))
    plain = "".join(f"[{unicodedata.name(c).lower()}]" if _is_emoji(c) and unicodedata.name(c, "") else c for c in spaced)
    letters = set(plain) - {" "}
    for font in fonts(size):
        if all(_draws(font, letter) for letter in letters):
            return plain, font
    best = max(fonts(size), key=lambda font: sum(_draws(font, letter) for letter in letters))
    return "".join(c if c == " " or _draws(best, c) else _named(best, c) for c in plain), best


def width(text: str, size: int) -> float:
    """Return the width of the text in pixels."""
    text, font = lettered(text, size)
    return font.getlength(text)


def fit(text: str, size: int, limit: float) -> str:
    """Return the text with substitutes, cut with an ellipsis if it is wider than `limit` pixels."""
    text, font = lettered(text, size)
    if font.getlength(text) <= limit:
        return text
    while text and font.getlength(text + "…") > limit:
        text = text[:-1]
    return text + "…"


def wrap(text: str, size: int, limit: float) -> list[str]:
    """Return the text with substitutes, in lines of at most `limit` pixels."""
    text, font = lettered(text, size)
    lines: list[str] = []
    for word in text.split():
        if lines and font.getlength(f"{lines[-1]} {word}") <= limit:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return [fit(line, size, limit) for line in lines]
