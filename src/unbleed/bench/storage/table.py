"""Crash-safe rows on disk: a journal of JSON lines, compacted into Parquet shards.

    000001.parquet, 000002.parquet ...    shards of rows
    journal.jsonl                         rows appended since, one per line

One process writes. A row exists once its line ends with a line break; an unfinished last line is cut off. When the journal is
long, its rows are written to a shard under a temporary name, the shard is renamed, and the journal is emptied. A process that
dies between the last two steps leaves duplicate rows. They do no harm: the last row of a key counts.
"""

from __future__ import annotations

import json
import os
import re
import time
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypedDict

from ... import schema
from ...errors import BenchError, UnbleedWarning
from ...files import atomic_file, clear_unfinished, read_bytes, writing
from ..extras import extra

SHARD_ROWS = 10_000
SECONDS_BETWEEN_SYNCS = 1.0  # the most that a crash of the machine can lose; a crash of the process loses nothing
MAKE_ROOM = "make room or choose another --out"
_JSON_TYPES = {"string": str, "int64": int, "double": float}

TableRow = Mapping[str, Any]


class Table:
    """Rows with `columns` {name: Arrow type: string, int64 or double}; the first column is the key.

    All values but the key may be null. Rows written before a column was `added` lack it; it is read as null.
    Reading needs no lock. Only the process that holds the folder's lock may write.
    """

    def __init__(self, folder: Path, columns: Mapping[str, str], *, added: Sequence[str] = ()) -> None:
        self.folder, self.columns, self.key, self.added = folder, dict(columns), next(iter(columns)), frozenset(added)
        self.journal = folder / "journal.jsonl"
        kinds: dict[str, Any] = {name: _JSON_TYPES[kind] | None for name, kind in columns.items()}
        kinds[self.key] = _JSON_TYPES[columns[self.key]]
        self._row: Any = TypedDict("_row", kinds, total=False)  # type: ignore[misc]
        self._in_journal: int | None = None  # number of rows, once `mend` has run
        self._synced = 0.0

    # --------------------------------------------------------------------------------------------------- reading

    def read(self, *columns: str) -> dict[str, tuple[Any, ...]]:
        """Return {key: values of the columns}, the last row of each key, in the order of their first rows."""
        names = [self.key, *columns]
        while True:
            found: dict[str, tuple[Any, ...]] = {}
            journal, _ = self._read_journal()  # before the shards: rows that a run compacts meanwhile are then in both
            shards = self._shards()
            try:
                for shard in shards:
                    for key, *values in zip(*self._read_shard(shard, names), strict=True):
                        found[key] = tuple(values)
            except BenchError:
                if self._shards() == shards:
                    raise
                continue  # a run has just merged a shard into a larger one
            for row in journal:
                found[row[self.key]] = tuple(row.get(name) for name in columns)
            return found

    def _shards(self) -> list[Path]:
        """Return the shards in order. Other files in the folder, such as a copy of a shard, are ignored."""
        return sorted(path for path in self.folder.glob("*.parquet") if re.fullmatch("[0-9]{6,}", path.stem))

    def _read_shard(self, shard: Path, names: Sequence[str]) -> list[list[Any]]:
        arrow = extra("pyarrow")
        with _shard(shard) as file:
            types = {name: file.schema_arrow.field(name).type for name in file.schema_arrow.names}
            for name in names:
                if name not in types and name in self.added:
                    continue
                if types.get(name) != arrow.type_for_alias(self.columns[name]):
                    raise ValueError(f"column {name} is {types.get(name, 'missing')}; expected {self.columns[name]}")
            table = file.read(columns=[name for name in names if name in types])
            values = [table[name].to_pylist() if name in types else [None] * len(table) for name in names]
            if None in values[names.index(self.key)]:
                raise ValueError(f"column {self.key} has a null")
        return values

    def _read_journal(self) -> tuple[list[TableRow], int]:
        """Return the journal's complete rows, and their length in bytes."""
        try:
            text = read_bytes(self.journal, error=BenchError, remedy="remove it and run again; its rows are made anew")
        except FileNotFoundError:
            return [], 0
        length = text.rfind(b"\n") + 1
        rows: list[TableRow] = []
        for number, line in enumerate(text[:length].splitlines(), start=1):
            try:
                row = schema.check(schema.parse(line), self._row)
                if self.key not in row:
                    raise schema.SchemaError("is missing").inside(f".{self.key}")
            except schema.SchemaError as error:
                raise BenchError(f"{self.journal}, line {number}: {error}; remove that line and run again") from error
            rows.append(row)
        return rows, length

    # --------------------------------------------------------------------------------------------------- writing

    def mend(self) -> None:
        """Prepare the folder for writing: remove what a killed process left unfinished."""
        with writing(self.folder, MAKE_ROOM):
            self.folder.mkdir(parents=True, exist_ok=True)
            clear_unfinished(self.folder)
            if self.journal.is_symlink():
                raise BenchError(f"{self.journal} is a symbolic link, which is not followed; remove it and run again")
            rows, length = self._read_journal()
            if self.journal.exists() and self.journal.stat().st_size > length:
                os.truncate(self.journal, length)
                warnings.warn(
                    f"the last line of {self.journal} is incomplete and is cut off; its row is made anew",
                    UnbleedWarning,
                    stacklevel=3,
                )
        self._in_journal = len(rows)

    def append(self, rows: Iterable[TableRow]) -> None:
        """Append rows in one write. If it fails, as on a full disk, the table is as before."""
        if self._in_journal is None:
            self.mend()
        lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
        if not lines:
            return
        left = memoryview("".join(lines).encode())
        # unbuffered, so that nothing is written after an error
        with writing(self.journal, MAKE_ROOM), self.journal.open("ab", buffering=0) as file:
            before = file.tell()
            try:
                while left:
                    left = left[file.write(left) :]
                if time.monotonic() - self._synced > SECONDS_BETWEEN_SYNCS:
                    os.fsync(file.fileno())
                    self._synced = time.monotonic()
            except OSError:
                os.truncate(self.journal, before)
                raise
        self._in_journal = (self._in_journal or 0) + len(lines)
        if self._in_journal >= SHARD_ROWS:
            self.compact()

    def compact(self) -> None:
        """Move the journal's rows into a shard, merged with the last shard if that is not full."""
        rows, _ = self._read_journal()
        if not rows:
            return
        parquet, arrow = extra("pyarrow.parquet"), extra("pyarrow")
        columns = arrow.schema([(name, arrow.type_for_alias(kind)) for name, kind in self.columns.items()])
        shards = self._shards()
        small = [shard for shard in shards[-1:] if _rows_of(shard) < SHARD_ROWS]
        of_small = [dict(zip(self.columns, row, strict=True)) for shard in small for row in self._rows_in(shard)]
        latest = {row[self.key]: row for row in (*of_small, *rows)}
        table = arrow.Table.from_pylist([{n: row.get(n) for n in self.columns} for row in latest.values()], schema=columns)
        number = int(shards[-1].stem) + 1 if shards else 1
        target = self.folder / f"{number:06}.parquet"
        with atomic_file(target, MAKE_ROOM) as file:
            parquet.write_table(table, file, compression="zstd")
            file.flush()
            os.fsync(file.fileno())
        with writing(self.journal, MAKE_ROOM):
            for shard in small:
                shard.unlink()
            os.truncate(self.journal, 0)
        self._in_journal = 0

    def _rows_in(self, shard: Path) -> Iterator[tuple[Any, ...]]:
        return zip(*self._read_shard(shard, list(self.columns)), strict=True)


def _rows_of(shard: Path) -> int:
    with _shard(shard) as file:
        return file.metadata.num_rows


@contextmanager
def _shard(path: Path) -> Iterator[Any]:
    """Open a shard; raise `BenchError` if the block fails to read it."""
    parquet, arrow = extra("pyarrow.parquet"), extra("pyarrow")
    try:
        if path.exists() and not path.is_file():
            raise ValueError("not a file")
        with parquet.ParquetFile(path) as file:
            yield file
    except (OSError, ValueError, KeyError, arrow.ArrowException) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise BenchError(f"{path} cannot be read ({reason}); remove it and run again; its rows are made anew") from error
