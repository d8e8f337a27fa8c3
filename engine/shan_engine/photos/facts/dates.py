"""Dates as cameras and programs write them, as one form that sorts."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from shan_engine.base.facts import Facts

# EXIF has 2023:07:23 04:26:40, XMP 2023-07-23T04:26:40+02:00 or only its beginning.
_DATE = re.compile(
    r"(\d{4})(?:[-:/.](\d\d?)(?:[-:/.](\d\d?)(?:[T ]+(\d\d?):(\d\d)(?::(\d\d))?(?:[.,]\d+)?)?)?)?\s*(Z|[+-]\d\d:?\d\d)?"
)
_FIRST_YEAR = 1826  # of the oldest photo that still exists; cameras without a clock write 0000


def date_facts(text: str | None, zone: str | None = None) -> Facts:
    """`taken` and, where the text or `zone` says it, `taken_zone`. Nothing if the text is no date.

    `taken` is as exact as the text: 1987, 1987-05, 1987-05-03 or 1987-05-03 14:00:00.
    """
    found = _DATE.fullmatch(text.strip("\0 \t\r\n")) if text else None
    if found is None:
        return {}
    numbers = [int(part) for part in found.groups()[:6] if part is not None]
    year, month, day, *clock = [*numbers, 1, 1][: max(3, len(numbers))]
    try:
        moment = datetime(year, month, day, *clock)  # type: ignore[arg-type]  # hours, minutes and seconds
    except ValueError:
        return {}
    if year < _FIRST_YEAR:
        return {}
    taken = str(moment) if clock else str(moment.date())[: (4, 7, 10)[len(numbers) - 1]]
    known = _zone(found[7]) or _zone(zone)
    return {"taken": taken, "taken_zone": known} if clock and known else {"taken": taken}


def moment_facts(seconds: float) -> Facts:
    """`taken` and `taken_zone` of a moment in seconds since 1970, in UTC. Nothing for a moment that is no date."""
    try:
        return date_facts(datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S"), "Z")
    except (ValueError, OverflowError, OSError):
        return {}


def _zone(text: str | None) -> str | None:
    found = re.fullmatch(r"([+-])(\d\d):?(\d\d)|Z", text.strip("\0 ")) if text else None
    if found is None:
        return None
    return "+00:00" if found[0] == "Z" else f"{found[1]}{found[2]}:{found[3]}"
