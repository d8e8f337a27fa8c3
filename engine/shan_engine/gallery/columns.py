"""What a gallery's columns hold, for a page that offers filters; and the order of its photos by date."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shan_engine.base.column_types import REAL, Value
from shan_engine.base.metadata import ROW_KEY
from shan_engine.gallery.blocks import Block
from shan_engine.gallery.filters import TABLE, column_kinds, opened, quoted
from shan_engine.gallery.reader import Gallery

MOST_VALUES = 50
_COUNTED = 500  # values of a column that are counted in a block
_LONGEST = 200  # characters of a value that is a choice
_FOLDER = "rtrim(path, replace(path, '/', ''))"  # the path up to its last slash
_DATE = "taken"


@dataclass(frozen=True)
class ColumnFacts:
    """A column of metadata: its SQL type, the number of images that have it, its least and greatest value.

    `values` are its most frequent values, at most MOST_VALUES; those of `path` are folders. A column of reals has none.
    """

    name: str
    type: str
    known: int
    least: Value
    most: Value
    values: tuple[Value, ...]


@dataclass
class _Found:
    kind: str
    known: int = 0
    ends: list[Value] = field(default_factory=list)
    counts: Counter[Value] = field(default_factory=Counter)

    @property
    def values(self) -> tuple[Value, ...]:
        common = self.counts.most_common(MOST_VALUES)
        return tuple(value for value, _ in common if not isinstance(value, str) or 0 < len(value) <= _LONGEST)


def column_facts(gallery: Gallery) -> list[ColumnFacts]:
    """Facts about the columns that a filter may name, in their order, without those that no image has."""
    found: dict[str, _Found] = {}
    for block in gallery.blocks:
        with opened(block) as connection:
            for name, kind in column_kinds(connection).items():
                if name != "id":
                    _add(found.setdefault(name, _Found(kind)), connection, block, name)
    return [
        ColumnFacts(name, one.kind, one.known, min(one.ends, key=_order), max(one.ends, key=_order), one.values)
        for name, one in found.items()
        if one.known
    ]


def _order(value: Value) -> tuple[bool, Any]:
    return isinstance(value, str), value


def _add(found: _Found, connection: sqlite3.Connection, block: Block, name: str) -> None:
    """Add a block's images that are not deleted to what is known of a column."""
    column = quoted(name)
    live = f"FROM {TABLE} WHERE {column} IS NOT NULL AND {ROW_KEY} NOT IN (SELECT value FROM json_each(?))"
    deleted = (json.dumps(block.entry.deleted),)
    known, *ends = connection.execute(f"SELECT COUNT(*), MIN({column}), MAX({column}) {live}", deleted).fetchone()
    if not known:
        return
    found.known += known
    found.ends += ends
    if found.kind != REAL:
        value = _FOLDER if name == "path" else column
        counted = f"SELECT {value}, COUNT(*) {live} GROUP BY 1 ORDER BY 2 DESC LIMIT {_COUNTED}"
        found.counts.update(dict(connection.execute(counted, deleted).fetchall()))


def newest_first(gallery: Gallery) -> NDArray[np.int64]:
    """Places of all images: those with a date first, the newest at the head; then the others as they were indexed."""
    dates: list[str] = []
    for block in gallery.blocks:
        known: dict[int, str] = {}
        with opened(block) as connection:
            if _DATE in column_kinds(connection):
                column = quoted(_DATE)
                known = dict(
                    connection.execute(f"SELECT {ROW_KEY}, {column} FROM {TABLE} WHERE {column} IS NOT NULL").fetchall()
                )
        dates += [str(known.get(row, "")) for row in block.rows.tolist()]
    order = sorted(range(len(dates)), key=dates.__getitem__, reverse=True)  # stable, also reversed
    return np.array(order, np.int64)
