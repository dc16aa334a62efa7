"""From the text of a published prompt file to its cases: one pure function per form of file.

Entities are given only where the set itself says them. Prompts that a set has twice stay twice, as its figures count them.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from io import StringIO
from typing import Any

from ..plan.cases import Case, Expected

_THING = r"[Aa]n? (?:([a-z]+) )?([a-z]+)"
_PAIR = re.compile(rf"{_THING} (?:and|with) {_THING}")
CONJUNCTIONS = 446  # the first lines of CC-500 are the set, by its README


def prompts(text: str) -> Iterator[Case]:
    """A prompt a line, and nothing is known of it."""
    return (Case(line.strip()) for line in text.splitlines() if line.strip())


def attend_and_excite(text: str) -> Iterator[Case]:
    """The lists of Attend-and-Excite by group; their fixed patterns say the entities."""
    groups = {"animals": "animals", "animals_objects": "animal and object", "objects": "objects"}
    for name, lines in json.loads(text).items():
        for prompt in lines:
            yield Case(prompt, pair_in(prompt), (groups[name],))


def conjunctions(text: str) -> Iterator[Case]:
    """CC-500's concept conjunctions, with the entities of those that read "a COLOUR THING and a COLOUR THING"."""
    for case in list(prompts(text))[:CONJUNCTIONS]:
        yield Case(case.prompt, pair_in(case.prompt))


def contrasts(text: str) -> Iterator[Case]:
    """ABC-6K: captions, each followed by itself with two colours exchanged."""
    for number, case in enumerate(prompts(text)):
        yield Case(case.prompt, groups=("caption" if number % 2 == 0 else "colours exchanged",))


def geneval(text: str) -> Iterator[Case]:
    """GenEval's metadata, a JSON object a line.

    Entities are the classes that must be there, in the file's order and as often as they are to be counted; a class may be
    several words ("wine glass"). Annotations are `{"include": [...], "exclude": [...]}` as the file has them: objects with
    "class", "count" and, where it matters, "color" and "position" (a relation, and the place in `include` of its other side).
    """
    for line in text.splitlines():
        row = json.loads(line)
        things = [Expected(one["class"], (one["color"],) if "color" in one else ()) for one in row["include"]]
        counts = [one["count"] for one in row["include"]]
        entities = tuple(thing for thing, count in zip(things, counts, strict=True) for _ in range(count))
        annotations = {"include": row["include"], "exclude": row.get("exclude", [])}
        yield Case(row["prompt"], entities, (row["tag"],), annotations)


def drawbench(text: str) -> Iterator[Case]:
    """DrawBench's table of prompts and categories."""
    for row in _rows(text):
        yield Case(row["Prompts"].strip(), groups=(row["Category"].strip(),))


def similar_subjects(text: str, name: str) -> Iterator[Case]:
    """One of the lists in the file of Self-Cross: SSD-2 or SSD-3."""
    return (Case(prompt) for prompt in json.loads(text)[name])


def genai(text: str) -> Iterator[Case]:
    """GenAI-Bench's prompts; the ratings beside them are of other models' pictures."""
    return (Case(row["prompt"]) for row in json.loads(text).values())


def dsg(text: str) -> Iterator[Case]:
    """DSG-1k: a row per question, several of them a prompt; groups are the sets that the prompts come from.

    Annotations are `{"questions": [{"id": 3, "text": "Is the bench blue?", "kind": "attribute", "parents": [1]}, ...]}`. A
    question is to be answered yes, and counts as no where one of its parents, questions of the same prompt, was answered no.
    A parent that the file does not ask, or that is the question itself, is left out: it could not say more.
    """
    items: dict[str, list[dict[str, str]]] = {}
    for row in _rows(text):
        items.setdefault(row["item_id"], []).append(row)
    for item, rows in items.items():
        known = {int(row["proposition_id"]) for row in rows}
        questions = [
            {
                "id": int(row["proposition_id"]),
                "text": row["question_natural_language"].strip(),
                "kind": row["category_broad"],
                "parents": sorted(_numbers(row["dependency"]) & known - _numbers(row["proposition_id"])),
            }
            for row in rows
        ]
        yield Case(rows[0]["text"].strip(), groups=(item.rpartition("_")[0],), annotations={"questions": questions})


def pair_in(prompt: str) -> tuple[Expected, ...]:
    """Return the two entities of a prompt that says nothing else, each with a colour or none; nothing for any other prompt.

    >>> [str(entity) for entity in pair_in("a cat with a red hat")]
    ['cat', 'red hat']
    """
    found = _PAIR.fullmatch(prompt)
    if not found:
        return ()
    one, first, two, second = found.groups()
    return tuple(Expected(noun, (word,) if word else ()) for word, noun in ((one, first), (two, second)))


def _numbers(text: str) -> set[int]:
    """Return the numbers of "1, 4", also where the file has words among them, as in "3, air"."""
    return {int(number) for number in re.findall(r"\d+", text)}


def _rows(text: str) -> Iterator[dict[str, Any]]:
    return csv.DictReader(StringIO(text, newline=""))
