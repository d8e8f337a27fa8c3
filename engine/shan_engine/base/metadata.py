"""Facts about photos that their pixels do not show: a table of typed columns, one row per image id.

It comes from a `.csv` file or a `.parquet` file. One column names the image, the others are kept.
"""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import xxhash

from shan_engine.base.column_types import Column, Value, column_of_arrow, column_of_texts
from shan_engine.base.errors import InputError, first_line
from shan_engine.base.ids import MAX_ID_BYTES, encode_id
from shan_engine.base.optional import import_pyarrow

ID_COLUMNS = ("id", "image", "path")
OWN_COLUMNS = ("id", "path")  # every image has these, even without metadata
WRITTEN = "text"  # the column of what is written in photos
MAX_COLUMNS = 500
ROW_KEY = "_rowid_"  # SQLite's own name for a row's number


@dataclass(frozen=True)
class Metadata:
    """`columns` maps names to SQLite's types INTEGER, REAL and TEXT, `rows` image ids to a value for each column.

    `notices` are sentences about what the values of a file were taken for.
    """

    columns: dict[str, str]
    rows: dict[str, tuple[Value, ...]]
    notices: tuple[str, ...] = field(default=(), compare=False)

    @cached_property
    def stamp(self) -> str:
        """XXH3 of all columns and rows, hexadecimal: it changes whenever the content does."""
        state = xxhash.xxh3_64(json.dumps(self.columns).encode())
        for id in sorted(self.rows):
            state.update(json.dumps((id, self.rows[id])).encode())
        return state.hexdigest()

    @classmethod
    def read(cls, path: Path, id_column: str | None = None) -> Metadata:
        """Read a table whose `id_column` names the images; the default is the first of `ID_COLUMNS` that it has.

        CSV: UTF-8, a line of names first; an id stays as it is written. `base.column_types` has the types of columns.
        Raises InputError if the file cannot be read, lacks the id column or any other, or has a nested column, two
        columns of one name, an image twice or a row without an id.
        """
        suffix = path.suffix.lower()
        if suffix not in (".csv", ".parquet"):
            raise InputError(f"{path} is not a table of metadata: give a .csv or a .parquet file")
        if suffix == ".csv":
            names, strings = _csv(path)
            key = _id_column(path, names, id_column)
            ids = _ids(path, key, strings.pop(key))
            columns = {name: column_of_texts(name, texts) for name, texts in strings.items()}
        else:
            names, columns = _parquet(path)
            key = _id_column(path, names, id_column)
            ids = _ids(path, key, columns.pop(key).values)
        rows = zip(*(column.values for column in columns.values()), strict=True)
        notices = tuple(f"{path}: {notice}" for column in columns.values() for notice in column.notices)
        return cls({name: column.kind for name, column in columns.items()}, dict(zip(ids, rows, strict=True)), notices)


def _id_column(path: Path, names: Sequence[str], asked: str | None) -> str:
    key = asked if asked is not None else next((name for name in ID_COLUMNS if name in names), None)
    if key is None or key not in names:
        wanted = f"'{asked}'" if asked is not None else " or ".join(ID_COLUMNS)
        raise InputError(
            f"{path} has no column {wanted} with the images' ids: choose one of {', '.join(names)} "
            "(--metadata-id-column)"
        )
    others = [name.lower() for name in names if name != key]
    if not others:
        raise InputError(f"{path} has no column beside '{key}': add at least one column of facts about the images")
    if len(others) > MAX_COLUMNS:
        raise InputError(f"{path} has {len(others)} columns beside the id: keep at most {MAX_COLUMNS}")
    taken = [name for name in names if name != key and name.lower() in (*OWN_COLUMNS, ROW_KEY)]
    if taken:
        raise InputError(f"{path} has a column '{taken[0]}' beside '{key}', a reserved name: rename it")
    return key


def _refuse_names(path: Path, names: Sequence[str]) -> None:
    """Raise InputError if a column has no name or shares one with another; SQL ignores case in names."""
    if len(names) > MAX_COLUMNS + 1:
        raise InputError(f"{path} has {len(names) - 1} columns beside the id: keep at most {MAX_COLUMNS}")
    lower = Counter(name.lower() for name in names)
    for name in names:
        if not name.strip() or "\0" in name:
            raise InputError(f"{path} has a column without a name: give every column one in the first line")
        if lower[name.lower()] > 1:
            raise InputError(f"{path} has two columns named '{name}': give one of them another name")


def _ids(path: Path, key: str, column: Sequence[Value]) -> list[str]:
    ids = ["" if value is None else str(value) for value in column]
    seen: set[str] = set()
    for number, id in enumerate(ids, 1):
        if not id.strip() or len(encode_id(id)) > MAX_ID_BYTES:
            fault = f"an id longer than {MAX_ID_BYTES} bytes" if id.strip() else "no id"
            raise InputError(f"row {number} of {path} has {fault} in its column '{key}': give it the image's id")
        if id in seen:
            raise InputError(f"{path} has the image '{id}' twice, the second time in row {number}: keep one of them")
        seen.add(id)
    if not ids:
        raise InputError(f"{path} has no rows: give one for each image that has metadata")
    return ids


def _csv(path: Path) -> tuple[list[str], dict[str, list[str]]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            names = next(reader, [])
            if any(name.startswith(" ") for name in names):  # as in `id, year`: the blanks are no part of fields
                file.seek(0)
                reader = csv.reader(file, strict=True, skipinitialspace=True)
                names = next(reader)
            _refuse_names(path, names)
            rows = list(_rows(path, reader, len(names)))
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text (byte {error.start}): save it as UTF-8") from error
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}; give a table of metadata") from error
    except csv.Error as error:
        raise InputError(f"{path}, line {reader.line_num} is not CSV ({error}): fix that line") from error
    columns = [list(column) for column in zip(*rows, strict=True)] or [[] for _ in names]
    return names, dict(zip(names, columns, strict=True))


def _rows(path: Path, reader: Any, width: int) -> Iterator[list[str]]:
    for row in reader:
        if row and len(row) != width:
            raise InputError(
                f"{path}, line {reader.line_num} has {len(row)} fields, the first line names {width}: fix that line"
            )
        if row:
            yield row


def _parquet(path: Path) -> tuple[list[str], dict[str, Column]]:
    pyarrow = import_pyarrow(f"reading {path}")
    try:
        table = pyarrow.parquet.read_table(path)
        names = table.column_names
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or first_line(error)}; give a Parquet file") from error
    except (pyarrow.ArrowException, ValueError) as error:  # a name that is no text
        raise InputError(f"{path} is damaged or not a Parquet file ({first_line(error)}): write it again") from error
    _refuse_names(path, names)
    try:
        columns = zip(names, table.columns, strict=True)
        return names, {name: column_of_arrow(path, name, column) for name, column in columns}
    except (pyarrow.ArrowException, OverflowError, ValueError) as error:
        fault = first_line(error)
        raise InputError(f"{path} has values that cannot be read ({fault}): write dates and times as text") from error
