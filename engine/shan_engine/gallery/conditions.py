"""Read an SQL condition as far as it takes to find what SQLite would accept in silence, but nobody means.

These are comparisons of a number with a text, dates without quotes, which are subtractions, and dates that are written
in another form than the column's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from shan_engine.base.column_types import TEXT
from shan_engine.base.errors import InputError

_TOKEN = re.compile(
    r"""(?P<text>'(?:[^']|'')*')|(?P<comment>--[^\n]*|/\*.*?\*/)|"(?P<double>(?:[^"]|"")*)"|\[(?P<bracket>[^\]]*)\]"""
    r"""|`(?P<tick>(?:[^`]|``)*)`|(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)|(?P<word>[^\W\d][\w$]*)"""
    r"""|(?P<sign><>|<=|>=|==|!=|\|\||\S)""",
    re.DOTALL,
)
_COMPARISONS = frozenset({"=", "==", "!=", "<>", "<", "<=", ">", ">="})
_ARITHMETIC = frozenset({"+", "-", "*", "/", "%", "||", ".", "&", "|", "~"})
_QUOTED = frozenset({"text", "comment", "double", "bracket", "tick"})
_DATE_TEXT = re.compile(r"\d{1,4}[-/.:]\d{1,2}\b")
_DATE = re.compile(r"(?<![\w.])\d{4}([-/])(?:\d{1,2}\1\d{1,2}|0\d)(?![\w.])")


class Token(NamedTuple):
    """A piece of a condition: `kind` is text, name, word, number or sign."""

    kind: str
    value: str


def tokens(where: str) -> Iterator[Token]:
    """The pieces of a condition without comments; names in quotes and brackets as the column is called."""
    for found in _TOKEN.finditer(where):
        kind, value = found.lastgroup or "sign", found[found.lastgroup or 0]
        if kind == "text":
            yield Token("text", value[1:-1].replace("''", "'"))
        elif kind in ("double", "tick"):
            quote = '"' if kind == "double" else "`"
            yield Token("name" if kind == "double" else "word", value.replace(quote * 2, quote))
        elif kind == "bracket":
            yield Token("word", value)
        elif kind != "comment":
            yield Token(kind, value)


def check_comparisons(
    where: str, types: Mapping[str, str], example: Callable[[str], object] = lambda column: None
) -> None:
    """Raise InputError for a column that is compared with what it is not, and for a date without quotes.

    `types` are the columns' types, `example` gives any value of a column. Only plain comparisons of a column with a
    value are looked at.
    """
    blanked = _TOKEN.sub(lambda found: "''" if found.lastgroup in _QUOTED else found[0], where)
    if date := _DATE.search(blanked):
        raise InputError(
            f"the filter computes {date[0]} as a number: put the date in single quotes, as in taken >= '2023-01-31'"
        )
    kinds = {name.lower(): (name, kind) for name, kind in types.items()}
    pieces = list(tokens(where))
    for place, piece in enumerate(pieces):
        if piece.kind in ("name", "word") and piece.value.lower() in kinds and _stands_alone(pieces, place, place + 1):
            for value in _compared(pieces, place):
                column, kind = kinds[piece.value.lower()]
                _check(column, kind, value)
                if kind == TEXT and _DATE_TEXT.match(value.value):
                    _check_date(column, value.value, example(column))


def _compared(pieces: Sequence[Token], place: int) -> Iterator[Token]:
    """The values that the column at `place` is compared with."""
    if _sign(pieces, place - 1) in _COMPARISONS:
        yield from _value_before(pieces, place - 1)
    after = place + 1
    if _word(pieces, after) == "NOT":
        after += 1
    if _sign(pieces, after) in _COMPARISONS:
        yield from _value(pieces, after + 1)
    elif _word(pieces, after) == "BETWEEN":
        yield from _value(pieces, after + 1)
        second = next((at for at in range(after, len(pieces)) if _word(pieces, at) == "AND"), len(pieces))
        yield from _value(pieces, second + 1)
    elif _word(pieces, after) == "IN" and _sign(pieces, after + 1) == "(":
        at = after + 2
        while at < len(pieces) and _sign(pieces, at) != ")":
            yield from _value(pieces, at)
            at += 1


def _value(pieces: Sequence[Token], place: int) -> Iterator[Token]:
    """The value that begins at `place`, if one does and is no part of a computation."""
    end = place + 1 if _sign(pieces, place) in ("-", "+") else place
    if _is_value(pieces, end) and _sign(pieces, end + 1) not in _ARITHMETIC:
        yield pieces[end]


def _value_before(pieces: Sequence[Token], place: int) -> Iterator[Token]:
    """The value that ends before `place`, if one does and is no part of a computation."""
    if _is_value(pieces, place - 1) and _sign(pieces, place - 2) not in _ARITHMETIC:
        yield pieces[place - 1]


def _stands_alone(pieces: Sequence[Token], first: int, last: int) -> bool:
    """Whether the pieces are no part of a computation and no function's name."""
    return _sign(pieces, first - 1) not in _ARITHMETIC and _sign(pieces, last) not in (_ARITHMETIC | {"("})


def _is_value(pieces: Sequence[Token], place: int) -> bool:
    return 0 <= place < len(pieces) and (
        pieces[place].kind in ("text", "number") or _word(pieces, place) in ("TRUE", "FALSE")
    )


def _sign(pieces: Sequence[Token], place: int) -> str:
    return pieces[place].value if 0 <= place < len(pieces) and pieces[place].kind == "sign" else ""


def _word(pieces: Sequence[Token], place: int) -> str:
    return pieces[place].value.upper() if 0 <= place < len(pieces) and pieces[place].kind == "word" else ""


def _check(column: str, kind: str, value: Token) -> None:
    if kind == TEXT and value.kind != "text":
        raise InputError(
            f"the filter compares the text '{column}' with the number {value.value}: put the number in single quotes, "
            "or make the column a column of numbers"
        )
    if kind != TEXT and value.kind == "text" and not _is_number(value.value):
        fix = "without quotes" if value.value.lower() in ("true", "false") else "as a number"
        raise InputError(
            f"the filter compares the number '{column}' with the text '{value.value}': write the value {fix}"
        )


def _check_date(column: str, date: str, held: object) -> None:
    """Raise InputError if the column has dates of another form, which do not compare with this one."""
    if not isinstance(held, str) or not _DATE_TEXT.match(held):
        return
    form, wanted = (re.sub(r"\d", "0", text) for text in (date, held))
    if not (form.startswith(wanted[: len(form)]) and wanted.startswith(form[: len(wanted)])):
        raise InputError(f"the filter has the date '{date}', but '{column}' has dates such as '{held}': write it so")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
