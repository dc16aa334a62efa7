"""Prompts that were labelled by hand, and how well a parser agrees with them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..parse import parse_all

Gold = list[tuple[str, list[str]]]
"""Nouns with their modifiers."""

Case = tuple[str, Gold]

_GROUP = re.compile(r"\[([^\[\]|]+)\]")


def labelled_prompts(path: Path) -> dict[str, list[Case]]:
    """Return the prompts of a file by their groups, "[tags]" on a line of its own.

    A prompt is a line, "\\\\n" in it a new line; the next line has its label, "= noun: modifier, modifier | noun".
    """
    groups: dict[str, list[Case]] = {}
    cases: list[Case] = []
    prompt: str | None = None
    for line in path.read_text(encoding="utf-8").splitlines():
        if prompt is not None:
            cases.append((prompt.replace("\\n", "\n"), _label(line.removeprefix("="))))
            prompt = None
        elif (group := _GROUP.fullmatch(line)) and group[1] not in groups:
            cases = groups.setdefault(group[1], [])
        elif groups and line:
            prompt = line
    return groups


def _label(text: str) -> Gold:
    pairs = [entity.strip().partition(": ") for entity in text.split(" | ") if entity.strip()]
    return [(noun, [word.strip() for word in words.split(",") if word.strip()]) for noun, _, words in pairs]


def read_cases(cases: Sequence[Case], parser: Any = None) -> list[Gold]:
    """Return what a parser reads in each prompt, in the form of its label."""
    parsed = parse_all([prompt for prompt, _ in cases], parser=parser)
    return [[(entity.noun, entity.modifiers) for entity in one.entities] for one in parsed]


def same(found: Gold, gold: Gold) -> bool:
    """Return whether a prompt is wholly right: the entities and their modifiers, in any order and case."""
    return _sorted(found) == _sorted(gold)


def _sorted(gold: Gold) -> list[tuple[str, list[str]]]:
    return sorted((noun.lower(), sorted(word.lower() for word in words)) for noun, words in gold)


def agreement(cases: Sequence[Case], parser: Any = None) -> dict[str, float]:
    """Return precision and recall of entities, and of their pairs with modifiers, and the prompts that are wholly right."""
    counts = {"entity": [0, 0, 0], "pair": [0, 0, 0]}  # shared, found, gold
    right = 0
    for found, (_, gold) in zip(read_cases(cases, parser), cases, strict=True):
        right += same(found, gold)
        for kind, of in (("entity", _nouns), ("pair", _pairs)):
            a, b = of(found), of(gold)
            both = sum(min(a.count(item), b.count(item)) for item in set(a))
            counts[kind] = [total + new for total, new in zip(counts[kind], (both, len(a), len(b)), strict=True)]
    return {
        f"{kind}_{name}": both / max(of, 1)
        for kind, (both, found, gold) in counts.items()
        for name, of in (("precision", found), ("recall", gold))
    } | {"right": right, "prompts": len(cases)}


def _nouns(gold: Gold) -> list[Any]:
    return [noun.lower() for noun, _ in gold]


def _pairs(gold: Gold) -> list[Any]:
    return [(noun.lower(), word.lower()) for noun, words in gold for word in words]
