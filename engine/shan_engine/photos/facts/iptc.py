"""Facts in IPTC's records, as Pillow reads them from JPEG and TIFF files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from PIL import Image
from PIL.IptcImagePlugin import getiptcinfo

from shan_engine.base.facts import Facts
from shan_engine.photos.facts.dates import date_facts
from shan_engine.photos.facts.texts import keywords_of, known, text_of

_TITLE, _KEYWORDS, _DAY, _TIME, _TOWN, _REGION, _COUNTRY, _DESCRIPTION = 5, 25, 55, 60, 90, 95, 101, 120


def iptc_facts(image: Image.Image) -> Facts:
    """What IPTC's application record says. Raises what Pillow raises for damaged records."""
    records = getiptcinfo(image) or {}  # type: ignore[arg-type]  # any opened image will do
    return known(
        {
            **_date(_one(records, _DAY) or "", _one(records, _TIME) or ""),
            "title": _one(records, _TITLE),
            "description": _one(records, _DESCRIPTION),
            "keywords": keywords_of(_all(records, _KEYWORDS)),
            "town": _one(records, _TOWN),
            "region": _one(records, _REGION),
            "country": _one(records, _COUNTRY),
        }
    )


def _all(records: Mapping[Any, Any], number: int) -> list[Any]:
    value = records.get((2, number))
    return list(value) if isinstance(value, list) else [value]


def _one(records: Mapping[Any, Any], number: int) -> str | None:
    return next((text for value in _all(records, number) if (text := text_of(value))), None)


def _date(day: str, time: str) -> Facts:
    """20230723 and 042640+0200."""
    date = f"{day[:4]}-{day[4:6]}-{day[6:]}"
    return date_facts(f"{date} {time[:2]}:{time[2:4]}:{time[4:6]}", time[6:]) or date_facts(date)
