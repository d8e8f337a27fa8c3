"""Changes of valid files: of their bytes, and of values inside JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import Any

MOST_BYTES = 1 << 22  # of a changed file
NUMBERS = (
    "0",
    "-1",
    "1",
    "255",
    "256",
    "65536",
    "2147483648",
    "9223372036854775807",
    "9223372036854775808",
    "18446744073709551616",
    "1e400",
    "-1e39",
    "NaN",
    "Infinity",
    "0.5",
    "1e-320",
    "9" * 5000,
)
VALUES: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    -1,
    1,
    2**31,
    2**63 - 1,
    2**63,
    -(2**63) - 1,
    10**40,
    0.5,
    -0.0,
    1e308,
    float("nan"),
    float("inf"),
    "",
    " ",
    "\0",
    "\ud800",
    "a\nb",
    "../../x",
    "/dev/zero",
    "x" * 5000,
    [],
    {},
    [[]],
    [None],
    {"": None},
)
TEXTS = (
    *tuple(
        text.encode()
        for text in (
            *NUMBERS,
            "\x00",
            "\n",
            "\r\n",
            "\t",
            '"',
            "'",
            ",",
            ";",
            ":",
            "{",
            "}",
            "[",
            "]",
            "(",
            ")",
            "%s",
            "../",
            "\u2028",
            "\u202e",
            "\ufeff",
            "null",
            "true",
        )
    ),
    b"\xff\xfe",
    b"\xed\xa0\x80",
    b"\x1b[2J",
)


def changed(data: bytes, random: Random, others: Sequence[bytes] = (), tokens: Sequence[bytes] = ()) -> bytes:
    """Bytes with one to four changes; `others` are files that parts are taken from, `tokens` words of the format."""
    words = (*TEXTS, *tokens, *tokens)
    for _ in range(random.choice((1, 1, 2, 4))):
        data = random.choice(_CHANGES)(data, random, others, words)[:MOST_BYTES]
    return data


def changed_json(data: bytes, random: Random) -> bytes | None:
    """JSON, or lines of it, with one to three values changed; None where it is no JSON."""
    lines = data.split(b"\n") if data.count(b"\n") and not data.startswith((b"{\n", b"[\n")) else [data]
    number = random.randrange(len(lines))
    try:
        held = {"": json.loads(lines[number])}
    except (ValueError, RecursionError):
        return None
    try:
        for _ in range(random.choice((1, 1, 1, 3))):
            _change_value(held, random)
        text = json.dumps(held[""])
    except (KeyError, ValueError, RecursionError, OverflowError):  # it is gone, holds itself, is too deep or too large
        return None
    if random.random() < 0.1:
        text = text.replace("0", random.choice(NUMBERS), 1)
    lines[number] = text.encode("utf-8", "surrogatepass")
    return b"\n".join(lines)


def _change_value(held: dict[str, Any], random: Random) -> None:
    places = list(_places(held))
    holder, key = random.choice(places)
    value, what = holder[key], random.random()
    if what < 0.45:
        holder[key] = random.choice(VALUES)
    elif what < 0.6 and key != "":
        del holder[key]
    elif what < 0.7:
        other, name = random.choice(places)
        holder[key] = json.loads(json.dumps(other[name])) if other[name] is not held else None
    elif what < 0.8 and isinstance(holder, dict) and key != "":
        holder[random.choice((key.upper(), f"{key}2", "", "version", "digest"))] = value
    elif what < 0.85:
        holder[key] = json.loads("[" * 200 + "]" * 200)
    else:
        holder[key] = _near(value, random)


def _near(value: Any, random: Random) -> Any:
    if isinstance(value, bool) or value is None:
        return not value
    if isinstance(value, int | float):
        return random.choice((value + 1, value - 1, -value, value * 2, value // 2, value * 2**31, value + 0.5))
    if isinstance(value, str):
        return random.choice((value[:-1], value + value[:1], value.upper(), value[::-1], f"{value}\n", f"../{value}"))
    if isinstance(value, list):
        return random.choice((value[:-1], value + value[-1:], value[::-1], value * 3))
    return list(value)


def _places(held: Any) -> Iterator[tuple[Any, Any]]:
    """Every holder and key below a value."""
    for key in held if isinstance(held, dict) else range(len(held)):
        yield held, key
        if isinstance(held[key], dict | list):
            yield from _places(held[key])


_Change = Callable[[bytes, Random, Sequence[bytes], Sequence[bytes]], bytes]


def _place(data: bytes, random: Random) -> int:
    """Where to change: anywhere, or near the beginning or the end, where headers and directories are."""
    near = random.choice((len(data), 64, 512))
    place = random.randrange(min(near, len(data)) + 1)
    return len(data) - place if random.random() < 0.25 else place


def _flip(data: bytes, random: Random, others: Sequence[bytes], words: Sequence[bytes]) -> bytes:
    if not data:
        return b"\0"
    made = bytearray(data)
    for _ in range(random.choice((1, 1, 3, 10))):
        made[min(_place(data, random), len(data) - 1)] ^= 1 << random.randrange(8)
    return bytes(made)


def _set(data: bytes, random: Random, others: Sequence[bytes], words: Sequence[bytes]) -> bytes:
    """Overwrite one to eight bytes with a number of extremes."""
    place, width = _place(data, random), random.choice((1, 2, 4, 8))
    value = random.choice(
        (0, 1, 2 ** (8 * width) - 1, 2 ** (8 * width - 1), 2 ** (8 * width - 1) - 1, random.getrandbits(8))
    )
    return data[:place] + value.to_bytes(width, random.choice(("little", "big"))) + data[place + width :]  # type: ignore[arg-type]


def _cut(data: bytes, random: Random, others: Sequence[bytes], words: Sequence[bytes]) -> bytes:
    return data[: _place(data, random)]


def _remove(data: bytes, random: Random, others: Sequence[bytes], words: Sequence[bytes]) -> bytes:
    place = _place(data, random)
    return data[:place] + data[place + random.choice((1, 1, 2, 4, 64, 4096)) :]


def _move(data: bytes, random: Random, others: Sequence[bytes], words: Sequence[bytes]) -> bytes:
    """Copy a piece of this file or of another to some place."""
    source = random.choice((data, *others))
    start, place = _place(source, random), _place(data, random)
    piece = source[start : start + random.choice((1, 4, 16, 64, 512, 4096))]
    return data[:place] + piece + data[place + random.choice((0, len(piece))) :]


def _repeat(data: bytes, random: Random, others: Sequence[bytes], words: Sequence[bytes]) -> bytes:
    place = _place(data, random)
    piece = data[place : place + random.choice((1, 2, 8, 32))]
    return data[:place] + piece * random.choice((2, 10, 1000)) + data[place:]


def _insert(data: bytes, random: Random, others: Sequence[bytes], words: Sequence[bytes]) -> bytes:
    place = _place(data, random)
    return data[:place] + random.choice(words) + data[place + random.choice((0, 0, 1, 4)) :]


def _digits(data: bytes, random: Random, others: Sequence[bytes], words: Sequence[bytes]) -> bytes:
    """Replace a number that is written in digits."""
    start = place = next(
        (at for at in range(_place(data, random), len(data)) if data[at : at + 1].isdigit()), len(data)
    )
    while data[place : place + 1].isdigit():
        place += 1
    return data[:start] + random.choice(NUMBERS).encode() + data[place:]


_CHANGES: tuple[_Change, ...] = (_flip, _flip, _flip, _set, _cut, _remove, _move, _repeat, _insert, _digits)
