"""Readers of published prompt files: one pure function from text to cases per file format.

Entities are set only if the prompt set states them. Repeated prompts stay repeated, as in the set's published figures.
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
    """Read one prompt per line, without entities."""
    return (Case(line.strip()) for line in text.splitlines() if line.strip())


def attend_and_excite(text: str) -> Iterator[Case]:
    """Read the lists of Attend-and-Excite by group; their fixed patterns give the entities."""
    groups = {"animals": "animals", "animals_objects": "animal and object", "objects": "objects"}
    for name, lines in json.loads(text).items():
        for prompt in lines:
            yield Case(prompt, pair_in(prompt), (groups[name],))


def conjunctions(text: str) -> Iterator[Case]:
    """Read CC-500's concept conjunctions, with entities for prompts of the form "a COLOUR THING and a COLOUR THING"."""
    for case in list(prompts(text))[:CONJUNCTIONS]:
        yield Case(case.prompt, pair_in(case.prompt))


def contrasts(text: str) -> Iterator[Case]:
    """Read ABC-6K: captions, each followed by a copy with two colours swapped."""
    for number, case in enumerate(prompts(text)):
        yield Case(case.prompt, groups=("caption" if number % 2 == 0 else "colours exchanged",))


def geneval(text: str) -> Iterator[Case]:
    """Read GenEval's metadata, one JSON object per line.

    Entities are the required classes in the file's order, repeated by their count; a class may have several words ("wine
    glass"). Annotations are `{"include": [...], "exclude": [...]}` as in the file: objects with "class", "count" and
    optionally "color" and "position" (a relation and the index in `include` of the other object).
    """
    for line in text.splitlines():
        row = json.loads(line)
        things = [Expected(one["class"], (one["color"],) if "color" in one else ()) for one in row["include"]]
        counts = [one["count"] for one in row["include"]]
        entities = tuple(thing for thing, count in zip(things, counts, strict=True) for _ in range(count))
        annotations = {"include": row["include"], "exclude": row.get("exclude", [])}
        yield Case(row["prompt"], entities, (row["tag"],), annotations)


def drawbench(text: str) -> Iterator[Case]:
    """Read DrawBench's table of prompts and categories."""
    for row in _rows(text):
        yield Case(row["Prompts"].strip(), groups=(row["Category"].strip(),))


def similar_subjects(text: str, name: str) -> Iterator[Case]:
    """Read one of the lists in the file of Self-Cross: SSD-2 or SSD-3."""
    return (Case(prompt) for prompt in json.loads(text)[name])


def genai(text: str) -> Iterator[Case]:
    """Read GenAI-Bench's prompts, without the ratings of other models' images."""
    return (Case(row["prompt"]) for row in json.loads(text).values())


def dsg(text: str) -> Iterator[Case]:
    """Read DSG-1k: one row per question, several questions per prompt; the groups are the sets that the prompts come from.

    Annotations are `{"questions": [{"id": 3, "text": "Is the bench blue?", "kind": "attribute", "parents": [1]}, ...]}`. A
    question should be answered yes, and counts as no if one of its parents (questions of the same prompt) was answered no.
    Parents that do not exist in the file or are the question itself are dropped.
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


def geneval2(text: str) -> Iterator[Case]:
    """Read GenEval 2's data, one JSON object per line; the groups are the numbers of atoms.

    Annotations are `{"atoms": [{"question": "Are the cows plastic?", "answer": "Yes", "skill": "attribute"}, ...]}`.
    """
    for line in text.splitlines():
        row = json.loads(line)
        atoms = [
            {"question": question, "answer": answer, "skill": skill}
            for (question, answer), skill in zip(row["vqa_list"], row["skills"], strict=True)
        ]
        yield Case(row["prompt"], groups=(f"{row['atom_count']} atoms",), annotations={"atoms": atoms})


def corebench(text: str) -> Iterator[Case]:
    """Read one dimension of T2I-CoReBench: objects by number, each with a prompt and a checklist of questions.

    Annotations are those of DSG, without dependencies: the share of questions answered yes is the set's own score.
    """
    for row in json.loads(text).values():
        questions = [
            {"id": number, "text": item["question"].strip(), "kind": ", ".join(item.get("tags", ())), "parents": []}
            for number, item in enumerate(row["Checklist"], start=1)
        ]
        yield Case(row["Prompt"].strip(), groups=(row["Sub Class"],), annotations={"questions": questions})


def unigenbench(text: str) -> Iterator[Case]:
    """Read UniGenBench's table; the groups are what a prompt tests, such as "Attribute - Color".

    Annotations are `{"testpoints": [{"kind": "Attribute - Color", "about": "a red hat"}, ...]}`. The columns of some of its
    files end in the language.
    """
    for row in _rows(text):
        prompt, about = (next(row[name] for name in row if name.startswith(wanted)) for wanted in ("prompt", "sub_dims"))
        own = json.loads(about)
        points = [
            {"kind": kind, "about": what} for kind, what in zip(own["Testpoints"], own["Testpoint Description"], strict=True)
        ]
        groups = tuple(dict.fromkeys(point["kind"] for point in points))
        yield Case(prompt.strip(), groups=groups, annotations={"testpoints": points})


def pair_in(prompt: str) -> tuple[Expected, ...]:
    """Return the two entities of a prompt that consists of them, each with an optional colour; () for any other prompt.

    >>> [str(entity) for entity in pair_in("a cat with a red hat")]
    ['cat', 'red hat']
    """
    found = _PAIR.fullmatch(prompt)
    if not found:
        return ()
    one, first, two, second = found.groups()
    return tuple(Expected(noun, (word,) if word else ()) for word, noun in ((one, first), (two, second)))


def _numbers(text: str) -> set[int]:
    """Return the numbers in a text such as "1, 4"; words among them, as in "3, air", are ignored."""
    return {int(number) for number in re.findall(r"\d+", text)}


def _rows(text: str) -> Iterator[dict[str, Any]]:
    return csv.DictReader(StringIO(text, newline=""))
