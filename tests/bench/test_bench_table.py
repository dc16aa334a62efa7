"""BatchRows on disk: what was written is there whatever happened to the process, once, and in full."""

from __future__ import annotations

import errno
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from unbleed.bench.storage import table as tables
from unbleed.bench.storage.table import Table
from unbleed.errors import BenchError, OutputError, UnbleedWarning

COLUMNS = {"key": "string", "number": "int64", "words": "string"}


def rows(first: int, count: int, words: str | None = "a\nb ü") -> list[dict[str, Any]]:
    return [{"key": f"k{at}", "number": at, "words": words} for at in range(first, first + count)]


def expected(count: int, words: str | None = "a\nb ü") -> dict[str, tuple[Any, ...]]:
    return {f"k{at}": (at, words) for at in range(count)}


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "SHARD_ROWS", 10)


def test_rows_come_back_in_order_from_journal_and_shards(tmp_path: Path, small_shards: None) -> None:
    table = Table(tmp_path / "t", COLUMNS)
    assert table.read("number") == {}
    for first in range(0, 27, 3):
        table.append(rows(first, 3))
    assert [shard.name for shard in sorted(table.folder.glob("*.parquet"))] == ["000001.parquet", "000002.parquet"]
    assert len(table.journal.read_text().splitlines()) == 3
    again = Table(tmp_path / "t", COLUMNS)
    assert again.read("number", "words") == expected(27)
    assert list(again.read()) == [f"k{at}" for at in range(27)]
    table.compact()
    table.append(rows(27, 2, None))
    table.compact()  # the last shard was not full: it is made anew, and not one more of two rows
    assert len(list(table.folder.glob("*.parquet"))) == 3
    assert again.read("number", "words") == expected(27) | {f"k{at}": (at, None) for at in (27, 28)}
    assert again.read("words", "number")["k28"] == (None, 28)


def test_of_several_rows_of_a_key_the_last_counts(tmp_path: Path, small_shards: None) -> None:
    table = Table(tmp_path, COLUMNS)
    table.append(rows(0, 10))
    table.append([{"key": "k3", "number": 33, "words": "new"}])
    assert table.read("number")["k3"] == (33,)
    table.compact()
    assert table.read("number")["k3"] == (33,)
    assert len(table.read()) == 10


def test_who_dies_between_shard_and_journal_leaves_no_harm(tmp_path: Path, small_shards: None) -> None:
    table = Table(tmp_path, COLUMNS)
    table.append(rows(0, 4))
    journal = table.journal.read_bytes()
    table.compact()
    table.journal.write_bytes(journal)  # as if it had not been emptied
    (tmp_path / ".unbleed-0a.tmp").write_bytes(b"half")
    again = Table(tmp_path, COLUMNS)
    assert again.read("number", "words") == expected(4)
    again.append(rows(4, 8))
    assert again.read("number", "words") == expected(12)
    assert not list(tmp_path.glob(".*.tmp"))


@pytest.mark.parametrize("torn", [1, 12, 10_000])
def test_a_torn_last_line_is_cut_off(tmp_path: Path, torn: int) -> None:
    table = Table(tmp_path, COLUMNS)
    table.append(rows(0, 3))
    text = table.journal.read_bytes()
    table.journal.write_bytes(text[: -min(torn, len(text.splitlines()[-1]))])
    again = Table(tmp_path, COLUMNS)
    assert again.read("number", "words") == expected(2)  # reading takes no harm
    with pytest.warns(UnbleedWarning, match="torn"):
        again.append(rows(2, 1))
    assert again.read("number", "words") == expected(3)


def test_a_line_that_is_no_row_is_named(tmp_path: Path) -> None:
    table = Table(tmp_path, COLUMNS)
    table.append(rows(0, 3))
    lines = table.journal.read_text().splitlines()
    table.journal.write_text("\n".join([lines[0], "{", lines[2]]) + "\n")
    with pytest.raises(BenchError, match=r"journal\.jsonl, line 2: it is not JSON .*; remove that line"):
        Table(tmp_path, COLUMNS).read()
    table.journal.write_text(json.dumps({"number": 1}) + "\n")
    with pytest.raises(BenchError, match=r"journal\.jsonl, line 1: key is missing; remove that line"):
        Table(tmp_path, COLUMNS).read()


def test_a_damaged_shard_is_named(tmp_path: Path) -> None:
    table = Table(tmp_path, COLUMNS)
    table.append(rows(0, 3))
    table.compact()
    shard = tmp_path / "000001.parquet"
    shard.write_bytes(shard.read_bytes()[:-20])
    with pytest.raises(BenchError, match=r"000001\.parquet cannot be read .* remove it"):
        table.read("number")


@pytest.mark.skipif(sys.platform == "win32", reason="no such limit there")
@pytest.mark.parametrize("room", [0, 10, 60])
def test_a_write_that_stops_halfway_leaves_nothing_behind(tmp_path: Path, room: int) -> None:
    """As a disk does that is full in the middle of a row; here a file that may not grow further."""
    import resource

    table = Table(tmp_path, COLUMNS)
    table.append(rows(0, 3))
    before, limits = table.journal.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + room, limits[1]))
    try:
        with pytest.raises(OutputError, match="cannot be written: File too large"):
            table.append(rows(3, 3))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert table.journal.read_bytes() == before
    table.append(rows(3, 3))
    assert table.read("number", "words") == expected(6)


def test_rows_that_are_moved_while_they_are_read_are_found(
    tmp_path: Path, small_shards: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A report of a run that goes on: between its looks at journal, folder and shard the run puts all into a larger shard."""
    table, reader = Table(tmp_path, COLUMNS), Table(tmp_path, COLUMNS)
    table.append(rows(0, 4))
    table.compact()
    table.append(rows(4, 4))
    moved = iter([True])
    look = reader._read_shard

    def late(shard: Path, names: Any) -> Any:
        if next(moved, False):
            table.compact()
        return look(shard, names)

    monkeypatch.setattr(reader, "_read_shard", late)
    assert reader.read("number", "words") == expected(8)


def test_a_full_disk_costs_the_rows_that_were_to_be_written_and_no_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = Table(tmp_path, COLUMNS)
    table.append(rows(0, 3))

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    monkeypatch.setattr(tables, "SECONDS_BETWEEN_SYNCS", -1)
    with pytest.raises(OutputError, match="cannot be written: No space left on device; make room"):
        table.append(rows(3, 3))
    with pytest.raises(OutputError, match="No space left"):
        table.compact()
    monkeypatch.undo()
    assert Table(tmp_path, COLUMNS).read("number", "words") == expected(3)
    table.append(rows(3, 3))
    table.compact()
    assert table.read("number", "words") == expected(6)
