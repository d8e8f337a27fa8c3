"""A job's journal: one SQLite file with what the job is, its queries, and the hits of every block that is done.

    JOB/journal.sqlite   tables facts, queries, blocks
    JOB/matrix.npy       a matrix's numbers, written in place; the journal holds a checksum of each block of it
    JOB/writer.lock      held by the process that works on it

A block counts once its transaction is on disk: SQLite syncs before it says so, and undoes what a kill or a power cut
left half-written. A new journal is made aside and renamed.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from shan_engine.base.errors import InputError
from shan_engine.base.files import write_failure
from shan_engine.text.query_files import QueryLine

JOURNAL = "journal.sqlite"
NEW = "new.sqlite"
_TABLES = """
create table facts (name text primary key, value text not null);
create table queries (number integer primary key, id text not null unique, text text not null);
create table blocks (
    number integer primary key, first_row integer not null, last_row integer not null, bytes integer not null,
    checksum text not null, hits blob
);
"""
_WRITE_FAILURES = {sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM}


class Journal:
    """An open journal; close it or use `with`. Every method raises InputError where the disk or the file fails."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path, self._connection = path, connection

    @classmethod
    def open(cls, path: Path) -> Journal:
        """The journal of a job that was begun."""
        with _clear_errors(path):
            connection = sqlite3.connect(path, isolation_level=None)
            # EXTRA: the removal of SQLite's own undo file is synced too, or a power cut could bring it back.
            connection.execute("pragma synchronous = extra")
            return cls(path, connection)

    @classmethod
    def create(cls, path: Path) -> Journal:
        """A new one that is not synced before `publish`."""
        with _clear_errors(path):
            for file in (path, path.with_name(f"{path.name}-journal")):
                file.unlink(missing_ok=True)
            connection = sqlite3.connect(path, isolation_level=None)
            connection.execute("pragma synchronous = off")
            connection.executescript(_TABLES + "begin")
            return cls(path, connection)

    def publish(self, path: Path) -> Journal:
        """Rename a new journal to `path`, whole and on disk; the journal opened there."""
        with _clear_errors(path):
            self._connection.execute("commit")
            self._connection.close()
            _sync(self.path)
            self.path.replace(path)
            _sync(path.parent)
            return Journal.open(path)

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *error: object) -> None:
        self._connection.close()

    def add_queries(self, queries: Iterable[QueryLine]) -> tuple[int, str]:
        """Add queries numbered from 0: how many, and a digest of their ids and texts.

        Raises InputError, naming the place, where an id comes a second time.
        """
        held, count = hashlib.sha256(), 0
        for query in queries:
            with _clear_errors(self.path):
                try:
                    row = (count, query.id, query.text)
                    self._connection.execute("insert into queries values (?, ?, ?)", row)
                except sqlite3.IntegrityError as error:
                    message = f"{query.place}: the id '{query.id}' is there twice: give every caption an id of its own"
                    raise InputError(message) from error
                except UnicodeEncodeError as error:
                    raise InputError(f"{query.place} holds a character that is no Unicode: write it anew") from error
            for text in (query.id, query.text):
                data = text.encode()
                held.update(len(data).to_bytes(8) + data)
            count += 1
        return count, held.hexdigest()

    def queries(self, numbers: Sequence[int]) -> list[tuple[str, str]]:
        """Id and text of the queries of these ascending numbers."""
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
        """Numbers of queries by id; those that are not there are left out."""
        with _clear_errors(self.path):
            found = {}
            for id in ids:
                for (number,) in self._connection.execute("select number from queries where id = ?", (id,)):
                    found[id] = number
            return found

    def set_facts(self, **facts: Any) -> None:
        """Keep some values, as JSON, under names."""
        with _clear_errors(self.path):
            rows = [(name, json.dumps(value, sort_keys=True)) for name, value in facts.items()]
            self._connection.executemany("insert or replace into facts values (?, ?)", rows)

    def facts(self) -> dict[str, Any]:
        """All values by name."""
        with _clear_errors(self.path):
            return {name: json.loads(value) for name, value in self._connection.execute("select * from facts")}

    def add_block(
        self, number: int, first_row: int, last_row: int, size: int, checksum: str, hits: bytes | None
    ) -> None:
        """A block is done: its rows, the bytes and checksum of its part of a matrix or of its hits, and those hits."""
        with _clear_errors(self.path):
            row = (number, first_row, last_row, size, checksum, hits)
            self._connection.execute("insert into blocks values (?, ?, ?, ?, ?, ?)", row)

    def done(self) -> Iterator[tuple[int, str, bytes | None]]:
        """Number, checksum and hits of every block that is done."""
        with _clear_errors(self.path):
            yield from self._connection.execute("select number, checksum, hits from blocks where number >= 0")

    def forget(self, numbers: Iterable[int]) -> None:
        """Blocks that are to be done again."""
        with _clear_errors(self.path):
            self._connection.executemany("delete from blocks where number = ?", [(number,) for number in numbers])

    def hits(self, first_row: int, last_row: int) -> Iterator[bytes]:
        """The hits of all blocks that have some of these rows."""
        with _clear_errors(self.path):
            rows = self._connection.execute(
                "select hits from blocks where first_row <= ? and last_row >= ? order by number",
                (last_row, first_row),
            )
            yield from (hits for (hits,) in rows)


@contextmanager
def _clear_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, ValueError) as error:
        code = getattr(error, "sqlite_errorcode", 0)
        if code == sqlite3.SQLITE_FULL:
            said = f"the disk is full while writing {path}: free some space there and run the command again"
        elif code & 0xFF in _WRITE_FAILURES:
            said = f"cannot write {path}: {error}; check the folder, its space and permissions"
        else:
            said = f"the journal {path} is damaged ({error}): start the job over with --restart"
        raise InputError(said) from error
    except OSError as error:
        raise InputError(write_failure(path, error)) from error


def _sync(path: Path) -> None:
    with suppress(PermissionError):  # some systems open no folders
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
