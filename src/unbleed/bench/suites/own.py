"""Suites of your own: a file with prompts, and what their pictures should show where you say it.

    prompts.txt      a prompt a line, also as `--prompt "..."`; blank lines and lines that begin with # are skipped
    prompts.csv      columns prompt, and if you like entities ("red cat; blue bench") and group
    prompts.jsonl    an object a line: prompt, and if you like entities (a list, or as above), groups (a list), annotations (an
                     object, for a metric that needs it)

An entity's last word is its noun, the words before are its modifiers. They need not stand in the prompt: "two cats" may expect
"cat; cat". A prompt that comes again counts once, unless its rows differ: nobody can say which holds, so the file is refused.
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

SHOWN = 60  # characters of what cannot be understood


def own_suite(path: Path) -> Suite:
    """Return the suite in a file, called as the file is without its ending.

    Raises `BenchError` naming the file, the line and what stands there when a row cannot be understood, and when there is no
    prompt at all.
    """
    text = text_in(path, "prompts")
    seen: dict[str, tuple[int, Case]] = {}
    for line, case in READERS[path.suffix.lower()](text, path):
        add_case(seen, case, path, line)
    if not seen:
        raise BenchError(f"{path} has no prompt; expected at least one")
    return Suite(path.stem, f"prompts of {path.name}", tuple(case for _, case in seen.values()))


def text_in(path: Path, what: str) -> str:
    """Return the text of a file that should hold `what`."""
    try:
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise BenchError(f"{path} cannot be read ({error.strerror or error}); name a file with {what}") from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise BenchError(f"{path}, line {line}: byte 0x{error.object[error.start]:02x} is no UTF-8; save it as UTF-8") from None


def add_case(seen: dict[str, tuple[int, Case]], case: Case, path: Path, line: int) -> None:
    """Put a case into {prompt: (its first line, case)}; raise `BenchError` where that prompt is there with another case."""
    before, other = seen.setdefault(case.prompt, (line, case))
    with in_row(path, line):
        if other != case:
            raise ValueError(f'"{case.prompt}" is also in line {before}, where more or other things are said of it; keep one')


def entities_from(text: str) -> tuple[Expected, ...]:
    """Return the entities of "red cat; blue bench"; none for an empty text. Raises `ValueError` for what is written otherwise.

    >>> [(entity.noun, entity.modifiers) for entity in entities_from("red cat; bench")]
    [('cat', ('red',)), ('bench', ())]
    """
    if not text.strip():
        return ()
    phrases = [phrase.split() for phrase in text.split(";")]
    if "," in text or not all(phrases):
        raise ValueError(
            f'entities "{text[:SHOWN]}"; expected phrases with single semicolons between, as in "red cat; blue bench"'
        )
    return tuple(Expected(noun, tuple(modifiers)) for *modifiers, noun in phrases)


@contextmanager
def in_row(path: Path, line: int) -> Iterator[None]:
    """Say where it was that something could not be understood."""
    try:
        yield
    except csv.Error as error:
        raise BenchError(f"{path}, line {line}: no row of a table ({error}); close every quote") from None
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
    """Return the prompt in a line. Raises `ValueError` for what files of other programs have beside prompts.

    AUTOMATIC1111 reads options from such a file, as in `--prompt "a red cat" --steps 20`, and writes `Negative prompt: ...` and
    `Steps: 20, Sampler: ...` after a prompt. A suite is drawn with one set of options: only `--prompt` is understood.
    """
    if re.match(r"Negative prompt:|Steps: \d+,", line):
        raise ValueError(
            f'"{line[:SHOWN]}" is what AUTOMATIC1111 writes after a prompt; expected a prompt a line, and nothing else'
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
    strange = next((option for option in options if option != "--prompt"), "--prompt")
    raise ValueError(
        f'"{line[:SHOWN]}" has {strange}, an option of another program; expected a prompt alone: steps, size and seeds are '
        "options of the run, for all prompts"
    )


def _table(text: str, path: Path) -> Iterator[tuple[int, Case]]:
    for line, row in rows_in(text, path, ("prompt",), ("entities", "group")):
        with in_row(path, line):
            case = case_in(row)
        yield line, case


def case_in(row: Mapping[str, str]) -> Case:
    """Return the case of a table's row. Raises `ValueError` for what is written otherwise."""
    group = row.get("group", "").strip()
    return Case(_prompt(row["prompt"]), entities_from(row.get("entities", "")), (group,) if group else ())


def rows_in(text: str, path: Path, needed: Sequence[str], possible: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield the rows of a table, {column: field}, each with its line; raise `BenchError` unless its columns are those."""
    rows = csv.reader(StringIO(text, newline=""), strict=True)
    with in_row(path, 1):
        columns = [column.strip() for column in next(rows, [])]
        if not set(needed) <= set(columns) <= {*needed, *possible} or len(set(columns)) < len(columns):
            raise ValueError(
                f"columns {', '.join(columns)[:SHOWN] or 'none'}; expected {_listed(needed)}, and perhaps {_listed(possible)}"
            )
    while True:
        line = rows.line_num + 1  # where the row begins; it may have several lines
        with in_row(path, line):
            fields = next(rows, None)
            if fields is None:
                return
            if not fields:
                continue
            if len(fields) != len(columns):
                raise ValueError(f"{len(fields)} fields; expected {len(columns)}, and quotes around those with a comma")
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
    if strange := sorted(row.keys() - {"prompt", "entities", "groups", "annotations"}):
        raise ValueError(f'"{strange[0]}"; expected prompt, and perhaps entities, groups and annotations')
    entities, groups, annotations = row.get("entities", []), row.get("groups", []), row.get("annotations", {})
    if not isinstance(entities, str) and not _texts(entities):
        raise ValueError(f'entities {_shown(entities)}; expected a list of texts, or "red cat; blue bench"')
    if not _texts(groups):
        raise ValueError(f"groups {_shown(groups)}; expected a list of texts")
    if not isinstance(annotations, dict):
        raise ValueError(f"annotations {_shown(annotations)}; expected an object")
    expected = entities_from(entities if isinstance(entities, str) else "; ".join(entities))
    return Case(_prompt(row["prompt"]), expected, tuple(groups), annotations)


def _prompt(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"prompt {_shown(value)}; expected a text that is not empty")
    return value.strip()


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def _texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) and one.strip() for one in value)


def _shown(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)[:SHOWN]


def _numbered(text: str) -> Iterator[tuple[int, str]]:
    """Yield the lines that are not blank, stripped, with their numbers."""
    for number, line in enumerate(StringIO(text, newline=None), start=1):  # splits at line ends alone, of any system
        if line.strip():
            yield number, line.strip()


READERS: dict[str, Callable[[str, Path], Iterator[tuple[int, Case]]]] = {".txt": _lines, ".csv": _table, ".jsonl": _objects}
