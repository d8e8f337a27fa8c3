"""Metadata in a gallery, and filters over it: conditions in SQL that select the images to score.

Each block has its own table, `metadata-<stamp>.sqlite` among its files, with a row for each of its images. It is
written with the block, named in the manifest with its checksum, and lives as long as the block does. The stamp is
that of the store's metadata. A block without such a file gets a table in memory, built from its list of images.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from shan_engine.base.column_types import Value
from shan_engine.base.errors import GalleryError, InputError, first_line
from shan_engine.base.facts import FACTS
from shan_engine.base.ids import spelt_out
from shan_engine.base.metadata import OWN_COLUMNS, ROW_KEY, Metadata
from shan_engine.collections.repairing import repair_gallery_command
from shan_engine.gallery.block_files import METADATA
from shan_engine.gallery.blocks import Block
from shan_engine.gallery.conditions import check_comparisons, tokens
from shan_engine.gallery.near import distance_km
from shan_engine.gallery.reader import Gallery

Listed = tuple[int, Mapping[str, Any]]
"""An image's row in its block's files, and its fields in the block's list."""

TABLE = "photos"
_LONGEST = 1 << 20  # bytes of a text that a condition with a time limit makes: no step takes longer than some ms
_STEPS = 100  # of SQLite's virtual machine, between two looks at the clock
_PATIENCE = 60.0  # seconds that a condition without a limit of its own may take
_PATIENT_STEPS = 1000
_SHOWN = 1000  # characters of a condition that a message quotes
_VALUES = (int, float, str, type(None))


def metadata_name(metadata: Metadata) -> str:
    """The name of a block's table with this metadata."""
    return f"{METADATA}{metadata.stamp}.sqlite"


def columns(gallery: Gallery) -> list[str]:
    """Columns that a filter may name: `OWN_COLUMNS`, which every gallery has, then those of the metadata."""
    for block in gallery.blocks:
        with opened(block) as connection:
            return _columns(connection)
    return list(OWN_COLUMNS)


def matching(gallery: Gallery, where: str, *, seconds: float | None = None) -> Gallery:
    """The same gallery with only the images for which the SQL condition `where` is true.

    Raises InputError if it is not a condition on the gallery's `columns`, or if it takes longer than `seconds` (a
    minute by default). It can reach no other table, file or statement. Ctrl-C stops it.
    """
    _check_not_empty(where)
    clock = _Clock(seconds)
    rows = (_rows(gallery, block, where, clock) for block in gallery.blocks)
    return gallery.keeping([np.intersect1d(own, block.rows) for own, block in zip(rows, gallery.blocks, strict=True)])


def check_filter(gallery: Gallery, where: str | None, shown: Sequence[str] = ()) -> None:
    """Raise InputError if a condition cannot be used or a column to show does not exist.

    It checks against one block only, so it is fast.
    """
    names = columns(gallery)
    for column in shown:
        if column not in names:
            raise InputError(f"there is no column '{column}': the gallery {gallery.path} has {', '.join(names)}")
    if where is not None:
        _check_not_empty(where)
        for block in gallery.blocks[:1]:
            _rows(gallery, block, where, _Clock(None))


def metadata_of(block: Block, rows: Sequence[int]) -> list[dict[str, Value]]:
    """The metadata of some of a block's images, given by their places among those that are not deleted."""
    path = block.metadata_file
    if path is None:
        return [{} for _ in rows]
    with opened(block) as connection:
        names = _columns(connection)[len(OWN_COLUMNS) :]
        select = f"SELECT {', '.join(map(quoted, names))} FROM {TABLE} WHERE {ROW_KEY} = ?"
        found = [connection.execute(select, (row,)).fetchone() for row in block.rows[list(rows)].tolist()]
        if not all(values and all(isinstance(value, _VALUES) for value in values) for values in found):
            raise GalleryError(f"{path} has no facts about some of its photos: {_fix(path)}")
        return [dict(zip(names, values, strict=True)) for values in found]


def column_types(galleries: Iterable[Gallery]) -> dict[str, str]:
    """The metadata columns of any of the galleries, with types; if two galleries differ, the first one's type."""
    types: dict[str, str] = {}
    for block in (block for gallery in galleries for block in gallery.blocks if block.metadata_file):
        with opened(block) as connection:
            for name, kind in column_kinds(connection).items():
                # SQL treats `Year` and `year` as the same name.
                if name not in OWN_COLUMNS and name.lower() not in map(str.lower, types):
                    types[name] = kind
    return types


def metadata_held(parts: Iterable[tuple[Block, Sequence[int]]], types: Mapping[str, str]) -> Metadata:
    """Metadata of images, given by block and place among those not deleted, in columns of these types."""
    rows = {}
    for block, numbers in parts:
        for image, known in zip(block.images_at(numbers), metadata_of(block, numbers), strict=True):
            by_name = {name.lower(): value for name, value in known.items()}
            rows[image.id] = tuple(by_name.get(name.lower()) for name in types)
    return Metadata(dict(types), rows)


def _check_not_empty(where: str) -> None:
    if not where.strip():
        raise InputError('a filter is empty: give a condition such as "year >= 2020"')


class _Clock:
    """How long a condition may take over all blocks; with a limit of one's own, it may make no long texts either."""

    def __init__(self, seconds: float | None) -> None:
        self.limited = seconds is not None
        self.seconds = _PATIENCE if seconds is None else seconds
        self.interrupt: KeyboardInterrupt | None = None
        self._end = time.monotonic() + self.seconds

    def __call__(self) -> bool:
        """Whether to stop. SQLite drops what a callback raises, so that an interrupt is kept for later."""
        try:
            return time.monotonic() > self._end
        except KeyboardInterrupt as interrupt:
            self.interrupt = interrupt
            return True


def _rows(gallery: Gallery, block: Block, where: str, clock: _Clock) -> NDArray[np.int64]:
    """Rows of a block's table for which a condition is true."""
    with opened(block) as connection:
        types = column_kinds(connection)
        names = list(types)
        there = f"the gallery {gallery.path} has the columns {', '.join(names)}"
        for kind, name in tokens(where):
            # SQLite reads an unknown name in double quotes as a text.
            if kind == "name" and name.lower() not in (held.lower() for held in names):
                raise InputError(f"the filter names '{name[:_SHOWN]}', but {there}; put texts in single quotes")
        _allow_only_reading(connection)
        if clock.limited:
            connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _LONGEST)
        connection.set_progress_handler(clock, _STEPS if clock.limited else _PATIENT_STEPS)
        try:
            # A whole condition is valid in both places; one that closes the bracket early is not.
            for statement in (f"SELECT (\n{where}\n) FROM {TABLE} LIMIT 0", _selection(where)):
                found = connection.execute(statement).fetchall()
        except (sqlite3.Error, sqlite3.Warning, OverflowError, UnicodeError) as error:
            if clock.interrupt:
                raise clock.interrupt from None
            if getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_INTERRUPT and not clock():
                raise KeyboardInterrupt from None  # it came before the callback could keep it
            if clock():
                raise InputError(f"the filter takes longer than {clock.seconds:g} s: give a simpler one") from error
            shown = " ".join(where.split())[:_SHOWN]
            fault = first_line(error)
            if fault.rpartition(" ")[2].lower() in FACTS:
                there += "; the photos' own metadata comes with `extract` and `index`: run both again"
            raise InputError(f"the filter '{shown}' cannot be used ({fault}): {there}") from error
        connection.set_authorizer(None)  # the examples are ours
        check_comparisons(where, types, lambda column: _example(connection, column))
    return np.array([row for (row,) in found], np.int64)


def _example(connection: sqlite3.Connection, column: str) -> Value:
    """Any value of a column; None if it has none."""
    name = quoted(column)
    found = connection.execute(f"SELECT {name} FROM {TABLE} WHERE {name} IS NOT NULL LIMIT 1").fetchone()
    return found[0] if found else None


def _selection(where: str) -> str:
    return f"SELECT {ROW_KEY} FROM {TABLE} WHERE (\n{where}\n)"


def _allow_only_reading(connection: sqlite3.Connection) -> None:
    """Allow later statements only to read the one table and call functions; refuse a nested SELECT."""
    selects = 0

    def authorise(action: int, first: str | None, *_: str | None) -> int:
        nonlocal selects
        if action == sqlite3.SQLITE_SELECT:
            selects += 1
            return sqlite3.SQLITE_OK if selects <= 2 else sqlite3.SQLITE_DENY
        if action == sqlite3.SQLITE_FUNCTION or (action == sqlite3.SQLITE_READ and first == TABLE):
            return sqlite3.SQLITE_OK
        return sqlite3.SQLITE_DENY

    connection.set_authorizer(authorise)
    connection.create_function("distance_km", 4, distance_km, deterministic=True)


@contextmanager
def opened(block: Block) -> Iterator[sqlite3.Connection]:
    """Open a block's table for reading."""
    path = block.metadata_file
    if path is None:
        with _table(rows_of(block), Metadata({}, {})) as connection:
            yield connection
        return
    # Immutable: SQLite then neither locks the file nor looks for a journal beside it.
    connection = sqlite3.connect(f"file:{quote(str(path))}?mode=ro&immutable=1", uri=True)
    try:
        yield connection
    except sqlite3.Error as error:
        raise GalleryError(f"{path} is damaged ({first_line(error)}): {_fix(path)}") from error
    finally:
        connection.close()


def rows_of(block: Block) -> Iterator[Listed]:
    """Row and listed fields of a block's images that are not deleted, for `write_table`."""
    return zip(block.rows.tolist(), block.listed(), strict=True)


@contextmanager
def _table(listed: Iterable[Listed], metadata: Metadata) -> Iterator[sqlite3.Connection]:
    """A table of images in memory: `OWN_COLUMNS`, then the metadata columns."""
    connection = sqlite3.connect(":memory:")
    try:
        kinds = {**dict.fromkeys(OWN_COLUMNS, "TEXT"), **metadata.columns}
        connection.execute(
            f"CREATE TABLE {TABLE} ({', '.join(f'{quoted(name)} {kind}' for name, kind in kinds.items())})"
        )
        nothing = (None,) * len(metadata.columns)
        connection.executemany(
            f"INSERT INTO {TABLE} ({ROW_KEY}, {', '.join(map(quoted, kinds))}) VALUES (?{', ?' * len(kinds)})",
            (
                (row, *(spelt_out(fields[name]) for name in OWN_COLUMNS), *metadata.rows.get(fields["id"], nothing))
                for row, fields in listed
            ),
        )
        connection.commit()
        yield connection
    finally:
        connection.close()


def column_kinds(connection: sqlite3.Connection) -> dict[str, str]:
    """The columns of a block's table and their types."""
    return {name: kind for _, name, kind, *_ in connection.execute(f"PRAGMA table_info({TABLE})")}


def _columns(connection: sqlite3.Connection) -> list[str]:
    return list(column_kinds(connection))


def quoted(column: str) -> str:
    """A column's name as SQL takes it."""
    doubled = column.replace('"', '""')
    return f'"{doubled}"'


def _fix(table: Path) -> str:
    return repair_gallery_command(table.parents[2])
