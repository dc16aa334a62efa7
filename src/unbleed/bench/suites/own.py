"""Suites from a user's file of prompts, optionally with the entities expected in their images.

    prompts.txt      one prompt per line, also as `--prompt "..."`; blank lines and lines that begin with # are skipped
    prompts.csv      column prompt; optional columns entities ("red cat; blue bench") and group
    prompts.jsonl    one object per line: prompt; optionally entities (a list, or as above), groups (a list) and annotations (an
                     object, for a metric that needs it)

The last word of an entity is its noun, the words before it are its modifiers. They need not occur in the prompt: "two cats" may
expect "cat; cat". A repeated prompt counts once. If its rows differ, the file is refused.
"""

from __future__ import annotations

import csv
import json
import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from typing import Any

from ...errors import BenchError
from ...schema import check, parse
from ..plan.cases import Case, Expected, Suite

SHOWN = 60  # characters of an invalid text that an error quotes


def own_suite(path: Path) -> Suite:
    """Return the suite in a file; its name is the file's name without suffix.

    Raises `BenchError` with file, line and content for an invalid row, and for a file without prompts.
    """
    text = text_in(path, "prompts")
    cases: dict[str, tuple[int, Case]] = {}
    for line, case in READERS[path.suffix.lower()](text, path):
        add_case(cases, case, path, line)
    if not cases:
        raise BenchError(f"{path} has no prompt; expected at least one")
    return Suite(path.stem, f"prompts of {path.name}", tuple(case for _, case in cases.values()))


def text_in(path: Path, what: str) -> str:
    """Return the text of a file that should contain `what`; raise `BenchError` if it cannot be read or is not UTF-8."""
    try:
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise BenchError(f"{path} cannot be read ({error.strerror or error}); name a file with {what}") from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise BenchError(
            f"{path}, line {line}: byte 0x{error.object[error.start]:02x} is not UTF-8; save it as UTF-8"
        ) from None


def add_case(cases: dict[str, tuple[int, Case]], case: Case, path: Path, line: int) -> None:
    """Add a case to {prompt: (its first line, case)}; raise `BenchError` if the prompt exists with a different case."""
    before, other = cases.setdefault(case.prompt, (line, case))
    with in_row(path, line):
        if other != case:
            raise ValueError(f'"{case.prompt}" is also in line {before} with different entities or groups; keep one')


def entities_from(text: str) -> tuple[Expected, ...]:
    """Return the entities in "red cat; blue bench"; none for an empty text. Raises `ValueError` for any other form.

    >>> [(entity.noun, entity.modifiers) for entity in entities_from("red cat; bench")]
    [('cat', ('red',)), ('bench', ())]
    """
    if not text.strip():
        return ()
    phrases = [phrase.split() for phrase in text.split(";")]
    if "," in text or not all(phrases):
        raise ValueError(
            f'entities "{text[:SHOWN]}"; expected phrases separated by single semicolons, as in "red cat; blue bench"'
        )
    return tuple(Expected(noun, tuple(modifiers)) for *modifiers, noun in phrases)


@contextmanager
def in_row(path: Path, line: int) -> Iterator[None]:
    """Turn a `ValueError` or CSV error of the block into a `BenchError` with file and line."""
    try:
        yield
    except csv.Error as error:
        raise BenchError(f"{path}, line {line}: not a row of a table ({error}); close every quote") from None
    except ValueError as error:
        raise BenchError(f"{path}, line {line}: {error}") from None


# ------------------------------------------------------------------------------- files to cases, each with its line


def _lines(text: str, path: Path) -> Iterator[tuple[int, Case]]:
    for number, line in _numbered(text):
        if not line.startswith("#"):
            with in_row(path, number):
                case = Case(_plain_prompt(line))
            yield number, case


def _plain_prompt(line: str) -> str:
    """Return the prompt in a line. Raises `ValueError` for other content that such files have in other programs.

    AUTOMATIC1111 reads options from such a file, as in `--prompt "a red cat" --steps 20`, and writes `Negative prompt: ...` and
    `Steps: 20, Sampler: ...` after a prompt. A suite is sampled with one set of options, so only `--prompt` is accepted.
    """
    if re.match(r"Negative prompt:|Steps: \d+,", line):
        raise ValueError(
            f'"{line[:SHOWN]}" is what AUTOMATIC1111 writes after a prompt; expected one prompt per line and nothing else'
        )
    if not line.startswith("--"):
        return line
    try:
        words = shlex.split(line)
    except ValueError as error:
        raise ValueError(f'"{line[:SHOWN]}" cannot be read as options ({error}); expected a prompt') from None
    options = [word for word in words if word.startswith("--")]
    if options == ["--prompt"] and len(words) == 2 and words[1].strip():
        return words[1].strip()
    other = next((option for option in options if option != "--prompt"), "--prompt")
    raise ValueError(
        f'"{line[:SHOWN]}" has {other}, an option of another program; expected a prompt only: steps, size and seeds are '
        "options of the whole run"
    )


def _table(text: str, path: Path) -> Iterator[tuple[int, Case]]:
    for line, row in rows_in(text, path, ("prompt",), ("entities", "group")):
        with in_row(path, line):
            case = case_in(row)
        yield line, case


def case_in(row: Mapping[str, str]) -> Case:
    """Return the case in a table's row. Raises `ValueError` for an invalid field."""
    group = row.get("group", "").strip()
    return Case(_prompt(row["prompt"]), entities_from(row.get("entities", "")), (group,) if group else ())


def rows_in(text: str, path: Path, needed: Sequence[str], possible: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield (line, {column: field}) for the rows of a CSV table.

    Raises `BenchError` for columns other than `needed` (all of them) and `possible`, and for a malformed row.
    """
    rows = csv.reader(StringIO(text, newline=""), strict=True)
    with in_row(path, 1):
        columns = [column.strip() for column in next(rows, [])]
        if not set(needed) <= set(columns) <= {*needed, *possible} or len(set(columns)) < len(columns):
            raise ValueError(
                f"columns {', '.join(columns)[:SHOWN] or 'none'}; expected {_listed(needed)}, optionally {_listed(possible)}"
            )
    while True:
        line = rows.line_num + 1  # first line of the row, which may have several
        with in_row(path, line):
            fields = next(rows, None)
            if fields is None:
                return
            if not fields:
                continue
            if len(fields) != len(columns):
                raise ValueError(
                    f"{len(fields)} fields; expected {len(columns)}, with quotes around fields that contain commas"
                )
        yield line, dict(zip(columns, fields, strict=True))


def _objects(text: str, path: Path) -> Iterator[tuple[int, Case]]:
    for number, line in _numbered(text):
        with in_row(path, number):
            case = _object(line)
        yield number, case


def _object(line: str) -> Case:
    row = check(parse(line), object)
    if not isinstance(row, dict) or "prompt" not in row:
        raise ValueError(f'{line[:SHOWN]}; expected an object with "prompt"')
    if unknown := sorted(row.keys() - {"prompt", "entities", "groups", "annotations"}):
        raise ValueError(f'"{unknown[0]}"; expected prompt, optionally entities, groups and annotations')
    entities, groups, annotations = row.get("entities", []), row.get("groups", []), row.get("annotations", {})
    if not isinstance(entities, str) and not _texts(entities):
        raise ValueError(f'entities {_shown(entities)}; expected a list of strings, or "red cat; blue bench"')
    if not _texts(groups):
        raise ValueError(f"groups {_shown(groups)}; expected a list of strings")
    if not isinstance(annotations, dict):
        raise ValueError(f"annotations {_shown(annotations)}; expected an object")
    expected = entities_from(entities if isinstance(entities, str) else "; ".join(entities))
    return Case(_prompt(row["prompt"]), expected, tuple(groups), annotations)


def _prompt(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"prompt {_shown(value)}; expected a string that is not empty")
    return value.strip()


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def _texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) and one.strip() for one in value)


def _shown(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)[:SHOWN]


def _numbered(text: str) -> Iterator[tuple[int, str]]:
    """Yield (line number, stripped line) for the lines that are not blank."""
    for number, line in enumerate(StringIO(text, newline=None), start=1):  # splits only at line ends, unlike splitlines
        if line.strip():
            yield number, line.strip()


READERS: dict[str, Callable[[str, Path], Iterator[tuple[int, Case]]]] = {".txt": _lines, ".csv": _table, ".jsonl": _objects}
