"""Facts in the JSON file that Google Takeout writes beside a photo."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shan_engine.base.facts import Facts
from shan_engine.base.json_text import decode_json
from shan_engine.photos.facts.dates import moment_facts
from shan_engine.photos.facts.texts import known, number_of, place_facts, text_of


def takeout_facts(content: bytes) -> Facts:
    """What the file says: when (in UTC), where, and the description. Nothing for a JSON file of something else.

    Raises ValueError if it is no JSON.
    """
    held = decode_json(content.decode("utf-8-sig"))
    if not isinstance(held, dict):
        return {}
    seconds = number_of(_part(held, "photoTakenTime").get("timestamp"))
    return known(
        {
            **(moment_facts(seconds) if seconds is not None else {}),
            **(_place(_part(held, "geoData")) or _place(_part(held, "geoDataExif"))),
            "description": text_of(held.get("description")),
        }
    )


def _part(held: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = held.get(name)
    return part if isinstance(part, dict) else {}


def _place(part: Mapping[str, Any]) -> Facts:
    return place_facts(*(number_of(part.get(name)) for name in ("latitude", "longitude", "altitude")))
