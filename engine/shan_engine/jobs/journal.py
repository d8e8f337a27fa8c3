"""A job's journal: one SQLite file with the job's identity, its queries, and the kept pairs of each finished block.

    JOB/journal.sqlite   tables facts, queries, blocks
    JOB/matrix.npy       the scores of a matrix, written in place; the journal holds a checksum of each block
    JOB/writer.lock      held by the process that works on the job

A block counts as finished once its transaction is on disk. SQLite syncs before it reports this, and rolls back what a
kill or a power cut left half-written. A new journal is written to another file, then renamed.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import xxhash

from shan_engine.base.errors import InputError
from shan_engine.base.files import sync_file, sync_names, write_failure
from shan_engine.collections.repairing import repair_command
from shan_engine.text.query_files import QueryLine

JOURNAL = "journal.sqlite"
NEW = "new.sqlite"
_TABLES = """
create table facts (name text primary key, value text not null);
create table queries (number integer primary key, id text not null unique, text text not null);
create table blocks (
    number integer primary key, first_row integer not null, last_row integer not null, bytes integer not null,
    checksum text not null, hits blob -- the checksum covers the row, see `DoneBlock`
);
"""
_WRITE_FAILURES = {sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM}


class DoneBlock(NamedTuple):
    """What the journal holds of a finished block; `pairs` is None for one of a matrix.

    Blocks with numbers below 0 have pairs of an earlier result. Journals of earlier versions have checksums of the
    bytes alone.
    """

    number: int
    checksum: str
    first_row: int
    last_row: int
    pairs: bytes | None

    def is_sound(self, data: bytes, *, covers_row: bool) -> bool:
        """Whether the checksum is that of the block's bytes and, if it `covers_row`, of its number and rows."""
        numbers = self.number, self.first_row, self.last_row
        seed = _seed(*numbers) if covers_row and all(type(number) is int for number in numbers) else 0
        return self.checksum == xxhash.xxh3_64_hexdigest(data, seed)


class Journal:
    """An open journal; use `with` to close it. Every method raises InputError if the disk or the file fails."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path, self._connection = path, connection

    @classmethod
    def open(cls, path: Path) -> Journal:
        """Open the journal of a job that was started before."""
        with _clear_errors(path):
            connection = sqlite3.connect(path, isolation_level=None)
            # EXTRA also syncs the removal of SQLite's rollback file, which could otherwise reappear after a power cut.
            connection.execute("pragma synchronous = extra")
            if (found := connection.execute("pragma integrity_check(1)").fetchone()[0]) != "ok":
                connection.close()
                raise ValueError(found.splitlines()[-1])  # the first line names the database
            return cls(path, connection)

    @classmethod
    def create(cls, path: Path) -> Journal:
        """Create a new journal, which is not synced before `publish`."""
        with _clear_errors(path):
            for file in (path, path.with_name(f"{path.name}-journal")):
                file.unlink(missing_ok=True)
            connection = sqlite3.connect(path, isolation_level=None)
            connection.execute("pragma synchronous = off")
            connection.executescript(_TABLES + "begin")
            return cls(path, connection)

    def publish(self, path: Path) -> Journal:
        """Sync a new journal, rename it to `path`, and return the journal opened there."""
        with _clear_errors(path):
            self._connection.execute("commit")
            self._connection.close()
            sync_file(self.path)
            self.path.replace(path)
            sync_names(path.parent)
            return Journal.open(path)

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *error: object) -> None:
        self._connection.close()

    def add_queries(self, queries: Iterable[QueryLine]) -> tuple[int, str]:
        """Add queries, numbered from 0. Returns how many there are, and a digest of their ids and texts.

        Raises InputError, naming the place, if an id occurs twice.
        """
        held, count = hashlib.sha256(), 0
        for query in queries:
            with _clear_errors(self.path):
                try:
                    row = (count, query.id, query.text)
                    self._connection.execute("insert into queries values (?, ?, ?)", row)
                except sqlite3.IntegrityError as error:
                    message = f"{query.place}: the id '{query.id}' occurs twice: give each caption its own id"
                    raise InputError(message) from error
                except UnicodeEncodeError as error:
                    raise InputError(
                        f"{query.place} holds an invalid Unicode character: type that text again"
                    ) from error
            _add_text(held, query.id, query.text)
            count += 1
        return count, held.hexdigest()

    def queries_digest(self) -> str:
        """The digest of ids and texts that `add_queries` returned when they were added, if none has changed since."""
        held = hashlib.sha256()
        with _clear_errors(self.path):
            rows = self._connection.execute("select number, id, text from queries order by number")
            for place, (number, id, text) in enumerate(rows):
                _add_text(held, str(id), str(text) if number == place else "")
        return held.hexdigest()

    def queries(self, numbers: Sequence[int]) -> list[tuple[str, str]]:
        """Id and text of the queries with these numbers, which must ascend."""
        with _clear_errors(self.path):
            rows = self._connection.execute(
                "select number, id, text from queries where number between ? and ? order by number",
                (numbers[0], numbers[-1]),
            )
            wanted = set(numbers)
            return [(id, text) for number, id, text in rows if number in wanted]

    def query_ids(self, first: int, stop: int) -> list[str]:
        """Ids of the queries numbered `first` to before `stop`."""
        with _clear_errors(self.path):
            rows = self._connection.execute(
                "select id from queries where number >= ? and number < ? order by number", (first, stop)
            )
            return [id for (id,) in rows]

    def query_count(self) -> int:
        """How many queries there are."""
        with _clear_errors(self.path):
            return int(self._connection.execute("select count(*) from queries").fetchone()[0])

    def query_numbers(self, ids: Iterable[str]) -> dict[str, int]:
        """Numbers of queries by id, without ids that are unknown."""
        with _clear_errors(self.path):
            found = {}
            for id in ids:
                for (number,) in self._connection.execute("select number from queries where id = ?", (id,)):
                    found[id] = number
            return found

    def set_facts(self, **facts: Any) -> None:
        """Store values by name, as JSON."""
        with _clear_errors(self.path):
            rows = [(name, json.dumps(value, sort_keys=True)) for name, value in facts.items()]
            self._connection.executemany("insert or replace into facts values (?, ?)", rows)

    def facts(self) -> dict[str, Any]:
        """All values by name."""
        with _clear_errors(self.path):
            return {name: json.loads(value) for name, value in self._connection.execute("select * from facts")}

    def add_block(self, number: int, first_row: int, last_row: int, data: bytes, *, keep: bool) -> None:
        """Record a finished block: its first and last row, and the bytes of its pairs, or of its part of the matrix.

        `keep` the bytes of pairs; those of a matrix are in its own file.
        """
        with _clear_errors(self.path):
            checksum = xxhash.xxh3_64_hexdigest(data, _seed(number, first_row, last_row))
            row = (number, first_row, last_row, len(data), checksum, data if keep else None)
            self._connection.execute("insert into blocks values (?, ?, ?, ?, ?, ?)", row)

    def take_over(self, row: tuple[Any, ...]) -> int:
        """Record a finished block as another journal has it, and return 1."""
        with _clear_errors(self.path):
            self._connection.execute("insert into blocks values (?, ?, ?, ?, ?, ?)", row)
            return 1

    def done(self) -> Iterator[DoneBlock]:
        """Each finished block."""
        with _clear_errors(self.path):
            rows = self._connection.execute(
                "select number, checksum, first_row, last_row, hits from blocks order by number"
            )
            for number, *others in rows:
                if type(number) is not int:
                    raise ValueError("a block has no number")
                yield DoneBlock(number, *others)

    def forget(self, numbers: Iterable[int]) -> None:
        """Drop blocks, so that they are computed again."""
        with _clear_errors(self.path):
            self._connection.executemany("delete from blocks where number = ?", [(number,) for number in numbers])

    def pairs(self, first_row: int, last_row: int) -> Iterator[bytes]:
        """The pairs of each block that has pairs in rows `first_row` to `last_row`."""
        with _clear_errors(self.path):
            rows = self._connection.execute(
                "select hits from blocks where first_row <= ? and last_row >= ? order by number",
                (last_row, first_row),
            )
            yield from (pairs for (pairs,) in rows)


def damaged_journal(path: Path, fault: str) -> InputError:
    """The error for a journal that cannot be trusted; `fault` is a clause."""
    fix = f"{repair_command(path.parent)}, or start the job over with --restart"
    return InputError(f"the journal {path} is damaged ({fault}): {fix}")


def _seed(*numbers: int) -> int:
    return xxhash.xxh3_64_intdigest(json.dumps(numbers).encode())


def _add_text(held: hashlib._Hash, *texts: str) -> None:
    for text in texts:
        data = text.encode()
        held.update(len(data).to_bytes(8) + data)


@contextmanager
def _clear_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, ValueError, RecursionError) as error:
        code = getattr(error, "sqlite_errorcode", 0)
        if code == sqlite3.SQLITE_FULL:
            message = f"the disk is full while writing {path}: free some space there and run the command again"
        elif code & 0xFF in _WRITE_FAILURES:
            message = f"cannot write {path} ({error}): check the folder, its space and permissions"
        else:
            raise damaged_journal(path, str(error)) from error
        raise InputError(message) from error
    except OSError as error:
        raise InputError(write_failure(path, error)) from error
