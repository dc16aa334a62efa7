"""Rows on disk that survive the death of their process: a journal of JSON lines, compacted into Parquet shards.

    000001.parquet, 000002.parquet ...    rows, sorted into files
    journal.jsonl                         the rows since then, a line each

One process writes. A row is there once its line ends in a line break; a last line without one was torn and is cut off. When
the journal is long its rows are written to a shard under a temporary name, which is renamed, and the journal is emptied; who
dies between the two leaves rows twice, which does no harm: of several rows of one key the last counts.
"""

from __future__ import annotations

import json
import os
import time
import warnings
from collections.abc import Iterable, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..errors import BenchError, OutputError, UnbleedWarning
from .extras import extra

SHARD_ROWS = 10_000
SECONDS_BETWEEN_SYNCS = 1.0  # a crash of the machine, not of the process, can lose so much

Row = Mapping[str, Any]


class Table:
    """Rows of the `columns` {name: type}, types as Arrow calls them (string, int64, double); the first column is the key.

    Reading asks for nothing. Writing is for the process that holds the folder's lock.
    """

    def __init__(self, folder: Path, columns: Mapping[str, str]) -> None:
        self.folder, self.columns, self.key = folder, dict(columns), next(iter(columns))
        self.journal = folder / "journal.jsonl"
        self._in_journal: int | None = None  # rows, once the journal was mended
        self._synced = 0.0

    # --------------------------------------------------------------------------------------------------- reading

    def read(self, *columns: str) -> dict[str, tuple[Any, ...]]:
        """Return {key: values of the columns} of every row, the last of each key, in the order in which they came."""
        names = [self.key, *columns]
        while True:
            found: dict[str, tuple[Any, ...]] = {}
            journal, _ = self._read_journal()  # first: what a run moves into shards meanwhile is then in both
            shards = self._shards()
            try:
                for shard in shards:
                    for key, *values in zip(*self._read_shard(shard, names), strict=True):
                        found[key] = tuple(values)
            except BenchError:
                if all(shard.exists() for shard in shards):
                    raise
                continue  # a run has just put it into a larger one
            for row in journal:
                found[row[self.key]] = tuple(row.get(name) for name in columns)
            return found

    def _shards(self) -> list[Path]:
        return sorted(self.folder.glob("*.parquet"))

    def _read_shard(self, shard: Path, names: Sequence[str]) -> list[list[Any]]:
        parquet, arrow = extra("pyarrow.parquet"), extra("pyarrow")
        try:
            table = parquet.read_table(shard, columns=list(names))
        except (OSError, arrow.ArrowException, KeyError) as error:
            reason = str(error).splitlines()[0]
            raise BenchError(f"{shard} cannot be read ({reason}); remove it, and what it held is done again") from error
        return [table[name].to_pylist() for name in names]

    def _read_journal(self) -> tuple[list[Row], int]:
        """Return the journal's whole rows, and their length in bytes."""
        try:
            text = self.journal.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return [], 0
        length = text.rfind(b"\n") + 1
        rows = []
        for number, line in enumerate(text[:length].splitlines(), start=1):
            try:
                row = json.loads(line)
                row[self.key]
            except (ValueError, KeyError, TypeError) as error:
                raise BenchError(
                    f"line {number} of {self.journal} is no row ({error!r}); remove that line and run again"
                ) from error
            rows.append(row)
        return rows, length

    # --------------------------------------------------------------------------------------------------- writing

    def mend(self) -> None:
        """Make the folder ready for writing: clear away what a killed process left half done."""
        with telling(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            for leftover in self.folder.glob(".*.tmp"):
                leftover.unlink()
            rows, length = self._read_journal()
            if self.journal.exists() and self.journal.stat().st_size > length:
                os.truncate(self.journal, length)
                warnings.warn(
                    f"the last line of {self.journal} was torn and is cut off; what it stood for is done again",
                    UnbleedWarning,
                    stacklevel=3,
                )
        self._in_journal = len(rows)

    def append(self, rows: Iterable[Row]) -> None:
        """Write rows at the end, all in one write. A write that fails, as on a full disk, leaves what was there before."""
        if self._in_journal is None:
            self.mend()
        lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
        if not lines:
            return
        left = memoryview("".join(lines).encode())
        with telling(self.journal), self.journal.open("ab", buffering=0) as file:  # what a buffer held would be written later
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
        """Move the journal's rows into a shard, together with those of a last shard that is not full."""
        rows, _ = self._read_journal()
        if not rows:
            return
        parquet, arrow = extra("pyarrow.parquet"), extra("pyarrow")
        schema = arrow.schema([(name, arrow.type_for_alias(kind)) for name, kind in self.columns.items()])
        shards = self._shards()
        small = [shard for shard in shards[-1:] if parquet.read_metadata(shard).num_rows < SHARD_ROWS]
        of_small = [row for shard in small for row in parquet.read_table(shard).to_pylist()]
        latest = {row[self.key]: row for row in (*of_small, *rows)}
        table = arrow.Table.from_pylist([{n: row.get(n) for n in self.columns} for row in latest.values()], schema=schema)
        number = int(shards[-1].stem) + 1 if shards else 1
        target = self.folder / f"{number:06}.parquet"
        temporary = target.with_name(f".{target.name}.tmp")
        with telling(target):
            parquet.write_table(table, temporary, compression="zstd")
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
            temporary.replace(target)
            for shard in small:
                shard.unlink()
            os.truncate(self.journal, 0)
        self._in_journal = 0


@contextmanager
def telling(path: Path) -> Any:
    """Turn what the system says against writing into one line of ours."""
    try:
        yield
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror or error}; make room or choose another --out") from error
