"""The type of a metadata column, and sentences about what its values are taken for. Nothing is guessed silently."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shan_engine.base.errors import InputError

INTEGER, REAL, TEXT = "INTEGER", "REAL", "TEXT"
Value = int | float | str | None


def is_value(value: object) -> bool:
    """Whether a cell of a table can hold a value: nothing, a text, a number, an integer of at most 64 bits."""
    if isinstance(value, int):
        return -(2**63) <= value < 2**63
    return value is None or isinstance(value, str | float)


# Leading zeros are text: postal codes, camera counters.
_INTEGER = re.compile("-?(0|[1-9][0-9]*)")
_REAL = re.compile(r"-?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")
_LEADING_ZERO = re.compile("-?0[0-9]")
_TRUTHS = {"true": 1, "false": 0}
_UNKNOWN = frozenset({"n/a", "#n/a", "na", "nan", "null", "none", "nil", "unknown", "-", "--", "?"})
"""What people and programs write for a value that they do not know, in lower case."""
_ODD = (
    (
        re.compile(r"\d{1,2}[./-]\d{1,2}[./-]\d{2,4}\b.*|\d{4}[:/.]\d{1,2}[:/.]\d{1,2}\b.*"),
        "dates such as {}, which do not sort by time: write 2023-05-31",
    ),
    (re.compile(r"-?\d+,\d+"), "numbers with a comma such as {}, which stay text: write a point, or leave it out"),
)


@dataclass(frozen=True)
class Column:
    """A column's type for SQLite, its values, and sentences for what a reader might not expect."""

    kind: str
    values: Sequence[Value]
    notices: tuple[str, ...] = ()


def column_of_texts(name: str, texts: Sequence[str]) -> Column:
    """The column of a `.csv` file: INTEGER or REAL where all its values are, also true and false, else TEXT.

    A blank value is NULL; among numbers, so is one such as N/A.
    """
    held = [text.strip() for text in texts]
    known = [text for text in held if text and text.lower() not in _UNKNOWN]
    for kind, parse in ((INTEGER, _truth), (INTEGER, _integer), (REAL, _real)):
        if known and all(parse(text) is not None for text in known):
            unknown = [text for text in held if text and text.lower() in _UNKNOWN]
            notices = _unknown_notices(name, unknown) + _rounded_notices(name, kind, known)
            return Column(kind, [None if text.lower() in _UNKNOWN else parse(text) for text in held], notices)
    return Column(TEXT, [text if text.strip() else None for text in texts], _text_notices(name, held))


def _truth(text: str) -> int | None:
    return _TRUTHS.get(text.lower())


def _integer(text: str) -> int | None:
    number = int(text) if _INTEGER.fullmatch(text) and len(text) < 21 else None
    return number if number is not None and -(2**63) <= number < 2**63 else None


def _real(text: str) -> float | None:
    if not _REAL.fullmatch(text) or _LEADING_ZERO.match(text):
        return None
    number = float(text)
    return number if math.isfinite(number) else None


def _unknown_notices(name: str, unknown: Sequence[str]) -> tuple[str, ...]:
    if not unknown:
        return ()
    others = f" and {len(unknown) - 1} more" if len(unknown) > 1 else ""
    return (f"the column '{name}' has '{unknown[0]}'{others} among numbers: taken as unknown (NULL)",)


def _rounded_notices(name: str, kind: str, known: Sequence[str]) -> tuple[str, ...]:
    large = next((text for text in known if kind == REAL and _INTEGER.fullmatch(text) and len(text) > 15), None)
    if large is None:
        return ()
    return (f"the column '{name}' has numbers such as {large}, whose last digits are lost: write them as text",)


def _text_notices(name: str, held: Sequence[str]) -> tuple[str, ...]:
    filled = [(row, text) for row, text in enumerate(held, 1) if text]
    others = [(row, text) for row, text in filled if _real(text) is None and text.lower() not in _UNKNOWN]
    if others and len(others) <= len(filled) // 2:
        row, text = others[0]
        return (f"the column '{name}' is text, as row {row} has '{text}': filters compare its numbers as text",)
    for pattern, fault in _ODD:
        odd = [text for _, text in filled if pattern.fullmatch(text)]
        if odd and 2 * len(odd) > len(filled):
            return (f"the column '{name}' has {fault.format(odd[0])}",)
    return ()


def column_of_arrow(path: Path, name: str, column: Any) -> Column:
    """The column of a `.parquet` file. Whole numbers and truth values are INTEGER, other numbers REAL (NaN is NULL).

    Durations are REAL, in seconds. Texts, dates and times are TEXT; times are kept to the microsecond. Raises
    InputError for any other type, and for numbers of 2^63 and more.
    """
    import pyarrow.types as kinds

    kind = column.type.value_type if kinds.is_dictionary(column.type) else column.type
    if kinds.is_duration(kind):
        return Column(REAL, _seconds(column.cast(kind)))
    notices: tuple[str, ...] = ()
    if getattr(kind, "unit", None) == "ns":
        column, notices = _to_microseconds(name, column.cast(kind))
    values: Iterable[Any] = column.to_pylist()
    if kinds.is_integer(kind) or kinds.is_boolean(kind):
        numbers = [None if value is None else int(value) for value in values]
        if any(number is not None and number >= 2**63 for number in numbers):
            raise InputError(f"{path} has numbers of 2^63 and more in its column '{name}': write them as text")
        return Column(INTEGER, numbers)
    if kinds.is_floating(kind) or kinds.is_decimal(kind):
        reals = (None if value is None else float(value) for value in values)
        return Column(REAL, [value if value is not None and math.isfinite(value) else None for value in reals])
    if kinds.is_string(kind) or kinds.is_large_string(kind) or kinds.is_temporal(kind) or kinds.is_null(kind):
        return Column(TEXT, [None if value is None else str(value) for value in values], notices)
    raise InputError(f"{path} has the type {column.type} in its column '{name}': keep numbers, texts, dates and times")


def _seconds(column: Any) -> list[float | None]:
    import pyarrow

    per_second = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[column.type.unit]
    return [None if ticks is None else ticks / per_second for ticks in column.cast(pyarrow.int64()).to_pylist()]


def _to_microseconds(name: str, column: Any) -> tuple[Any, tuple[str, ...]]:
    """Python's times have microseconds, and Arrow's in nanoseconds need pandas."""
    import pyarrow
    import pyarrow.types as kinds

    coarse = pyarrow.timestamp("us", column.type.tz) if kinds.is_timestamp(column.type) else pyarrow.time64("us")
    cut = column.cast(coarse, safe=False)
    lost = not cut.cast(column.type).equals(column)
    return cut, (f"the column '{name}' has times in nanoseconds: kept to the microsecond",) if lost else ()
