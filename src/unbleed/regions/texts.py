"""Regions as texts: on the command line, and in a picture's recipe, where a mask is held by the text itself.

A text is `WHERE`, `WHERE, adapter=NAME` or `adapter=NAME` alone, for a LoRA adapter in the region that the model finds.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ..errors import PromptError
from .given import FOUND, Region
from .masks import DATA, as_data, mask_data, mask_file

_EXAMPLE = '"red cat: left", "red cat: 0.0,0.2,0.5,1.0" or "red cat: mask.png"'
_ADAPTER = re.compile(r"(?:^|,)\s*adapter\s*=", re.IGNORECASE)


def read_regions(texts: Sequence[str]) -> dict[str, str]:
    """Return {phrase: text of its region} of "PHRASE: WHERE" texts; a mask's file is read into the text.

    >>> read_regions(["red cat: left", "blue bench: 0.5, 0.2, 1, 1"])
    {'red cat': 'left', 'blue bench': '0.5,0.2,1,1'}

    Raises `PromptError` for a text without a colon, a region that cannot be, and for two regions of one phrase.
    """
    found: dict[str, str] = {}
    for text in texts:
        phrase, colon, where = text.partition(":")
        phrase, where = " ".join(phrase.split()), where.strip()
        if not (colon and phrase and where):
            raise PromptError(f'"{text}" is not a region of a phrase; expected PHRASE: WHERE, as in {_EXAMPLE}')
        if phrase.lower() in map(str.lower, found):
            raise PromptError(f'"{phrase}" is given two regions; give it one')
        found[phrase] = _held(where, phrase)
    return found


def _held(where: str, phrase: str) -> str:
    """Return the text of a region with nothing left to look up: names in small letters, a mask's own pixels."""
    where, adapter = _parts(where)
    if _is_file(where):
        where = as_data(mask_file(Path(where)))
    elif not where.startswith(DATA):
        where = ("".join(where.split()) if "," in where else " ".join(where.split())).lower()
    text = where if adapter is None else f"{where},adapter={adapter}"
    with_name(phrase, text)
    return text


def _parts(text: str) -> tuple[str, str | None]:
    """Return where a region is, and the adapter that it names."""
    where, *adapters = _ADAPTER.split(text)
    if len(adapters) > 1:
        raise PromptError(f'"{text}" names {len(adapters)} adapters; a region takes one')
    if adapters and not adapters[0].strip():
        raise PromptError(f'"{text}" names no adapter; expected a LoRA\'s name, as in "left, adapter=knight"')
    return where.strip() or (FOUND if adapters else ""), adapters[0].strip() if adapters else None


def regions_of(texts: Mapping[str, str]) -> dict[str, Region]:
    """Return the regions that texts of `read_regions` mean; raise `PromptError` for one that means none."""
    return {phrase: with_name(phrase, where) for phrase, where in texts.items()}


def with_name(phrase: str, where: str) -> Region:
    """Return the region that a text means; an error names the phrase that it is given to."""
    try:
        return region_of_text(where)
    except PromptError as error:
        raise PromptError(f'the region of "{phrase}" cannot be: {error}') from None


def region_of_text(where: str) -> Region:
    """Return the region of a word, of four numbers with commas, or of a mask's own pixels. No file is read.

    >>> region_of_text("0.5,0.2,1,1").where
    (0.5, 0.2, 1.0, 1.0)
    >>> region_of_text("left, adapter=knight").adapter
    'knight'
    """
    where, adapter = _parts(where)
    return replace(_place(where), adapter=adapter)


def _place(where: str) -> Region:
    if where.startswith(DATA):
        return Region(mask_data(where))
    if _is_file(where):
        raise PromptError(f'"{where}" is the name of a file; expected the mask itself')
    if "," not in where:
        return Region(where)
    numbers = where.split(",")
    try:
        return Region(tuple(float(number) for number in numbers))
    except ValueError:
        raise PromptError(f'"{where}" is not a box; expected four numbers: left, top, right, bottom') from None


def _is_file(where: str) -> bool:
    return where.lower().endswith(".png") and not where.startswith(DATA)
