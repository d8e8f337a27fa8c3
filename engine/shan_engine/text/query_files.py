"""Read queries from a file: one per line (.txt, no suffix, standard input), or a column of .jsonl, .csv or .parquet.

Files are read as they are used, never whole, so a file may be larger than memory.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeVar

from shan_engine.base.errors import InputError
from shan_engine.base.json_text import decode_json
from shan_engine.base.optional import import_pyarrow

STANDARD_INPUT = Path("-")
COLUMN = "caption"
# Longer than any caption: a longer line is another kind of file, and is not read to its end.
LONGEST_LINE = 64 * 1024
Line = TypeVar("Line", str, list[str])
SUFFIXES = (".txt", ".jsonl", ".csv", ".parquet")


@dataclass(frozen=True)
class QueryLine:
    """One line of a query file: `id` names it in results, `place` is where it was read."""

    id: str
    text: str
    place: str


def read_queries(path: Path, *, column: str | None = None, id_column: str | None = None) -> Iterator[QueryLine]:
    """The queries of a file in its order. `-` is standard input; a name without a suffix, as /dev/stdin, has lines.

    `column` of .jsonl, .csv and .parquet holds the text (`caption` where None), `id_column` the ids; without one, ids
    are the queries' numbers from 1. Raises InputError, naming file and line, for a missing file or column, another
    encoding or suffix, an empty or too long text or id, damaged rows, and for no queries at all. The
    caller checks for repeated ids.
    """
    suffix = path.suffix.lower() or ".txt"
    if suffix not in SUFFIXES:
        raise InputError(f"cannot read queries from {path}: give one of {', '.join(SUFFIXES)}")
    if suffix == ".txt":
        if column or id_column:
            raise InputError(f"{path} has lines, not columns: leave --column and --id-column out, or give a .csv")
        found: Iterator[QueryLine] = _of_lines(path)
    else:
        rows = {".jsonl": _jsonl_rows, ".csv": _csv_rows, ".parquet": _parquet_rows}[suffix]
        found = _of_rows(path, rows(path, [name for name in (column or COLUMN, id_column) if name]), column, id_column)
    first = next(found, None)
    if first is None:
        raise InputError(f"{path} has no captions: write at least one")
    yield first
    yield from found


def read_captions(path: Path) -> list[str]:
    """The texts of `read_queries`, without ids."""
    return [query.text for query in read_queries(path)]


def numbered(texts: Iterable[str]) -> Iterator[QueryLine]:
    """Texts as queries, numbered from 1."""
    for number, text in enumerate(texts, 1):
        yield QueryLine(str(number), text, f"caption {number}")


def _of_lines(path: Path) -> Iterator[QueryLine]:
    for number, text in _filled(path, _stripped(path), "a caption"):
        yield QueryLine(str(number), text, f"{path}, line {number}")


def _of_rows(
    path: Path, rows: Iterator[tuple[str, dict[str, Any]]], column: str | None, id_column: str | None
) -> Iterator[QueryLine]:
    for number, (place, row) in enumerate(rows, 1):
        text = row[column or COLUMN]
        if not isinstance(text, str) or not text.strip():
            raise InputError(f"{place}: the column '{column or COLUMN}' holds no caption: write one or remove the row")
        if len(text) > LONGEST_LINE:
            raise _too_long(place)
        id = row[id_column] if id_column else number
        if type(id) not in (str, int) or not str(id).strip():
            raise InputError(f"{place}: the column '{id_column}' holds no id: write a text or a whole number")
        yield QueryLine(str(id), text.strip(), place)


def _missing_column(path: Path, name: str, held: Iterable[str]) -> InputError:
    option = "--column or --id-column"
    return InputError(f"{path} has no column '{name}', it has {', '.join(held) or 'none'}: name one with {option}")


def _too_long(place: str) -> InputError:
    return InputError(f"{place} is longer than {LONGEST_LINE:,} bytes, which no caption is: shorten or remove it")


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    if path == STANDARD_INPUT:
        if sys.stdin is None:
            raise InputError("standard input is closed: pipe captions into the command, or name a file of them")
        yield sys.stdin.buffer
        return
    try:
        file = path.open("rb")
    except OSError as error:
        fix = "give a file of captions, such as a .txt with one a line"
        raise InputError(f"cannot read {path}: {error.strerror or error}; {fix}") from error
    with file:
        yield file


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Numbered lines. Only a line feed ends one: a caption may hold U+2028, where str.splitlines would split."""
    with _opened(path) as file:
        number = 0
        try:
            while line := file.readline(LONGEST_LINE + 2):
                number += 1
                if len(line.rstrip(b"\r\n")) > LONGEST_LINE:
                    raise _too_long(f"{path}, line {number}")
                yield number, line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise InputError(f"{path} is not UTF-8 text (line {number}): save it as UTF-8") from error
        except OSError as error:
            raise InputError(f"cannot read {path}: {error.strerror or error}; check the file") from error


def _stripped(path: Path) -> Iterator[tuple[int, str]]:
    return ((number, line.strip()) for number, line in _lines(path))


def _filled(path: Path, lines: Iterable[tuple[int, Line]], content: str) -> Iterator[tuple[int, Line]]:
    """Numbered lines that hold something. Raises InputError for an empty one, unless only empty ones follow."""
    blank = 0
    for number, line in lines:
        if blank and line:
            raise InputError(f"{path}, line {blank} is empty: remove it or write {content} there")
        if line:
            yield number, line
        else:
            blank = blank or number


def _jsonl_rows(path: Path, wanted: list[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    for number, line in _filled(path, _stripped(path), "a JSON object"):
        try:
            row = decode_json(line)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{path}, line {number} is not JSON ({error}): write one object per line") from error
        if not isinstance(row, dict):
            raise InputError(f"{path}, line {number} is not a JSON object: write one object per line")
        for name in wanted:
            if name not in row:
                raise _missing_column(Path(f"{path}, line {number}"), name, row)
        yield f"{path}, line {number}", row


def _csv_rows(path: Path, wanted: list[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    reader = csv.reader((line for _, line in _lines(path)), strict=True)
    try:
        header = next(reader, [])
        for name in wanted:
            if name not in header:
                raise _missing_column(path, name, header)
        for number, row in _filled(path, ((reader.line_num, row) for row in reader), "a caption"):
            place = f"{path}, line {number}"
            if len(row) != len(header):
                raise InputError(f"{place} has {len(row)} columns, the first line {len(header)}: fix that line")
            yield place, dict(zip(header, row, strict=True))
    except csv.Error as error:
        raise InputError(f"{path}, line {reader.line_num} is not CSV ({error}): fix that line") from error


def _parquet_rows(path: Path, wanted: list[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    arrow = import_pyarrow("reading .parquet")
    with _opened(path) as file:
        try:
            table = arrow.parquet.ParquetFile(file)
            held = table.schema_arrow.names
            for name in wanted:
                if name not in held:
                    raise _missing_column(path, name, held)
            number = 0
            for batch in table.iter_batches(batch_size=4096, columns=wanted):
                for row in batch.to_pylist():
                    number += 1
                    yield f"{path}, row {number}", row
        except (arrow.ArrowException, OSError, ValueError, OverflowError) as error:  # the last two: of its values
            raise InputError(f"{path} is not a readable Parquet file ({error}): write it again") from error
