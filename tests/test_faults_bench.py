"""The benchmark's folder: damaged and hostile files, kills, and several processes at once."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypedDict

import pytest

from unbleed import schema
from unbleed.errors import BenchError, OutputError
from unbleed.files import atomic_file, atomic_write, check_writable, clear_unfinished, read_json

# ------------------------------------------------------------------------------------- types of JSON documents


@dataclass(frozen=True)
class Point:
    x: float
    names: tuple[str, ...] = ()
    kind: Literal["a", "b"] | None = None
    rest: Mapping[str, Any] = field(default_factory=dict)


class Loose(TypedDict, total=False):
    points: list[Point]
    box: tuple[int, float]
    either: str | Sequence[int] | None


def test_B14_documents_are_read_as_their_types() -> None:
    assert schema.check({"x": 1, "names": ["é"], "rest": {"a": [None, True, 2.5]}}, Point) == Point(
        1, ("é",), None, {"a": [None, True, 2.5]}
    )
    found = schema.check({"points": [{"x": 2.5, "kind": "b"}], "box": [1, 2], "either": [3], "other": "kept"}, Loose)
    assert found == {"points": [Point(2.5, kind="b")], "box": (1, 2), "either": [3], "other": "kept"}


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        ("[]", Point, "it is a list of 0; expected an object"),
        ("{}", Point, "x is missing"),
        ('{"x": true}', Point, "x is true; expected a number"),
        ('{"x": 1e999}', Point, "x is Infinity; expected a finite number"),
        ('{"x": NaN}', Point, "it holds NaN, which JSON does not have; expected a finite number, or null"),
        ('{"x": "1"}', Point, 'x is "1"; expected a number'),
        ('{"x": 1, "names": ["a", 5]}', Point, "names[1] is 5; expected a text"),
        ('{"x": 1, "names": ["\\ud800"]}', Point, "names[0] holds half a character ('\\ud800' alone); expected whole ones"),
        ('{"x": 1, "names": "ab"}', Point, 'names is "ab"; expected a list'),
        ('{"x": 1, "kind": "c"}', Point, 'kind is "c"; expected "a" or "b"'),
        ('{"x": 1, "y": 2}', Point, "y is unknown; known: x, names, kind, rest"),
        ('{"x": 1, "rest": {"a b": [1e999]}}', Point, 'rest."a b"[0] is Infinity; expected a finite number'),
        ('{"box": [1]}', Loose, "box is a list of 1; expected a list of 2"),
        ('{"box": [1.5, 2]}', Loose, "box[0] is 1.5; expected a whole number"),
        (f'{{"box": [{2**63}, 2]}}', Loose, f"box[0] is {2**63}; expected a whole number of at most 64 bits"),
        ('{"either": {}}', Loose, "either is an object; expected a text or a list or null"),
        ('{"points": [{"x": 1},\n {"x": }]}', Loose, "it is not JSON (Expecting value at line 2, character 8)"),
        ("9" * 5000, Any, "it holds a number of thousands of digits; expected one of at most 64 bits"),
        ("[" * 100_000, Any, "it is nested more than 64 levels deep"),
        ('{"a":' * 70 + "1" + "}" * 70, Any, "is nested more than 64 levels deep"),
    ],
)
def test_B14_a_wrong_type_names_its_field(text: str, kind: Any, message: str) -> None:
    with pytest.raises(schema.SchemaError) as error:
        schema.check(schema.parse(text), kind)
    assert str(error.value).endswith(message)
    assert len(str(error.value)) < 300


def test_B14_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    with pytest.raises(FileNotFoundError):
        read_json(path, Point, error=BenchError, remedy="remove it")
    path.write_text('{"x": "b"}')
    with pytest.raises(BenchError) as error:
        read_json(path, Point, error=BenchError, remedy="remove it")
    assert str(error.value) == f'{path} cannot be understood: x is "b"; expected a number; remove it'
    path.unlink()
    os.mkfifo(path)  # it would be waited for without end
    with pytest.raises(BenchError, match=r"a\.json is not a file; remove it"):
        read_json(path, Point, error=BenchError, remedy="remove it")


# ------------------------------------------------------------------------------------- files that appear whole


def test_B7_temporary_files_are_new_and_links_are_not_followed(tmp_path: Path) -> None:
    precious, path = tmp_path / "precious", tmp_path / "out" / "a.txt"
    precious.write_text("mine")
    path.parent.mkdir()
    path.symlink_to(precious)
    (path.parent / ".a.txt.tmp").symlink_to(precious)
    atomic_write(path, "new\r\n")
    assert path.read_bytes() == b"new\r\n"
    assert not path.is_symlink()
    assert precious.read_text() == "mine"
    assert sorted(p.name for p in path.parent.iterdir()) == [".a.txt.tmp", "a.txt"]


def test_B4_a_file_is_whole_or_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    atomic_write(path, "old")

    def interrupted() -> None:
        with atomic_file(path) as file:
            file.write(b"half")
            file.flush()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(OutputError, match=r"a\.txt/b cannot be written: .*; choose another --out"):
        atomic_write(path / "b", "text")
    (tmp_path / ".unbleed-0a.tmp").touch()
    clear_unfinished(tmp_path, older_than_s=60)
    assert len(list(tmp_path.iterdir())) == 2
    clear_unfinished(tmp_path)
    assert list(tmp_path.iterdir()) == [path]


def test_B12_checking_a_folder_makes_and_removes_no_folder(tmp_path: Path) -> None:
    check_writable(tmp_path / "a" / "b" / "c")
    assert list(tmp_path.iterdir()) == []
    for bad, reason in (("file/x", "Not a directory"), ("x" * 300, "File name too long"), ("link", "No such file")):
        (tmp_path / "file").touch()
        if not (tmp_path / "link").is_symlink():
            (tmp_path / "link").symlink_to(tmp_path / "nowhere")
        with pytest.raises(OutputError, match=f"cannot be written to: {reason}.*; choose another --out"):
            check_writable(tmp_path / bad)


def test_B12_runs_that_begin_at_once_in_one_parent(tmp_path: Path) -> None:
    refused: list[BaseException] = []
    begin = threading.Barrier(4)

    def start(number: int) -> None:
        try:
            for at in range(40):
                begin.wait()
                check_writable(tmp_path / f"runs-{at}" / f"run-{number}")
                (tmp_path / f"runs-{at}" / f"run-{number}").mkdir(parents=True)
        except BaseException as error:
            refused.append(error)
            begin.abort()

    threads = [threading.Thread(target=start, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not refused
