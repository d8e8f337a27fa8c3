"""Texts and numbers of metadata, cleaned of what cameras leave in them."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterable
from typing import Any

from shan_engine.base.facts import Facts

MAX_CHARACTERS = 10_000
"""Longer texts are cut."""
_SEPARATOR = "; "
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # all but tabs and line feeds: terminals obey them


def text_of(value: Any) -> str | None:
    """A text without control characters and blanks around it, accents composed. None if it is empty or no text."""
    if isinstance(value, bytes):
        value = _decoded(value)
    if not isinstance(value, str):
        return None
    # JSON may hold half of a surrogate pair, which no file can.
    whole = _CONTROL.sub("", value).encode("utf-8", "replace").decode("utf-8").strip()
    return unicodedata.normalize("NFC", whole[:MAX_CHARACTERS]) or None


def _decoded(value: bytes) -> str:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value.decode("cp1252", "replace")


def keywords_of(values: Iterable[Any]) -> str | None:
    """Keywords as one text, each once, separated by "; ". None if there are none."""
    words = dict.fromkeys(word for value in values if (word := text_of(value)))
    return _SEPARATOR.join(words)[:MAX_CHARACTERS] or None


def number_of(value: Any) -> float | None:
    """A finite number; None for anything else, such as a fraction over 0."""
    try:
        number = float(value)
    except (TypeError, ValueError, ZeroDivisionError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def rating_of(value: Any) -> int | None:
    """Stars from 0 to 5, -1 for a rejected photo; None for any other value."""
    stars = number_of(value)
    return int(stars) if stars is not None and -1 <= stars <= 5 else None


def place_facts(latitude: float | None, longitude: float | None, altitude: float | None = None) -> Facts:
    """`latitude`, `longitude` and `altitude`. Nothing for what is no place; 0, 0 is what devices without GPS write."""
    if latitude is None or longitude is None or (latitude, longitude) == (0, 0):
        return {}
    if not (-90 <= latitude <= 90 and -180 <= longitude <= 180):
        return {}
    place = {"latitude": round(latitude, 7), "longitude": round(longitude, 7)}
    return place if altitude is None else {**place, "altitude": round(altitude, 2)}


def known(facts: Facts) -> Facts:
    """Facts without those that are None."""
    return {name: value for name, value in facts.items() if value is not None}
