"""The catalogue of suites: generated, published, and from files."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ...errors import BenchError
from ..plan.cases import Suite
from . import attend_and_excite, dvmp, emoji, entity_missing
from .files import suite_folder, text_of
from .made import Made
from .own import READERS, own_suite
from .published import PUBLISHED

MADE: dict[str, Made] = {**emoji.SUITES, **attend_and_excite.SUITES, **dvmp.SUITES, **entity_missing.SUITES}


@dataclass(frozen=True)
class Listed:
    """A suite's entry in the list of suites."""

    name: str
    about: str
    prompts: int
    state: Literal["made here", "present", "absent"]
    licence: str
    citation: str
    address: str | None = None  # URL of its file


def suite(name: str, folder: Path | None = None) -> Suite:
    """Return the suite called `name`: a generated one, a published one, or a file.

    >>> suite("attend-and-excite").cases[0].prompt
    'a cat and a dog'

    A published suite is read from `folder`, by default `files.suite_folder()`. A name that ends in .txt, .csv or .jsonl is the
    path of a file (`own`).

    Raises `BenchError` for an unknown name, and for a file that is missing, damaged or invalid.
    """
    if name in MADE:
        made = MADE[name]
        return Suite(name, made.about, tuple(made.cases()), made.first_seed)
    if name in PUBLISHED:
        row = PUBLISHED[name]
        return Suite(name, row.about, tuple(row.read(text_of(row, folder))))
    if Path(name).suffix.lower() in READERS:
        return own_suite(Path(name))
    known = ", ".join(suite_names())
    raise BenchError(f'there is no suite "{name}"; known: {known}; or name a file ({", ".join(READERS)})')


def suite_names() -> list[str]:
    return [*MADE, *PUBLISHED]


def listing(folder: Path | None = None) -> list[Listed]:
    """Return an entry per named suite. Files are not opened, so a file that is present may still be the wrong one."""
    made = [
        Listed(name, one.about, len(list(one.cases())), "made here", "Apache-2.0", one.citation) for name, one in MADE.items()
    ]
    base = suite_folder(folder)
    return made + [
        Listed(
            row.name,
            row.about,
            row.prompts,
            "present" if os.path.isfile(base / row.path) else "absent",
            row.licence,
            row.citation,
            row.address,
        )
        for row in PUBLISHED.values()
    ]
