"""Facts in EXIF, as Pillow reads it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from PIL import Image
from PIL.ExifTags import GPS, IFD, Base

from shan_engine.base.facts import Facts
from shan_engine.photos.facts.dates import date_facts
from shan_engine.photos.facts.texts import keywords_of, known, number_of, place_facts, rating_of, text_of

_RATING = 0x4746  # Windows' tag, also written by cameras
_ZONE, _ZONE_ORIGINAL, _ZONE_DIGITIZED = 0x9010, 0x9011, 0x9012


def exif_facts(exif: Image.Exif) -> Facts:
    """What EXIF says, except of when the file was changed. Raises what Pillow raises for damaged EXIF."""
    details, gps = exif.get_ifd(IFD.Exif), exif.get_ifd(IFD.GPSInfo)
    taken = date_facts(_text(details, Base.DateTimeOriginal), _text(details, _ZONE_ORIGINAL))
    taken = taken or date_facts(_text(details, Base.DateTimeDigitized), _text(details, _ZONE_DIGITIZED))
    orientation = number_of(exif.get(Base.Orientation))
    return known(
        {
            **taken,
            **_place(gps),
            "camera": _text(exif, Base.Model),
            "camera_make": _text(exif, Base.Make),
            "lens": _text(details, Base.LensModel),
            "orientation": int(orientation) if orientation is not None and orientation in range(1, 9) else None,
            "title": _windows(exif, Base.XPTitle),
            "description": _text(exif, Base.ImageDescription) or _windows(exif, Base.XPComment),
            "keywords": keywords_of((_windows(exif, Base.XPKeywords) or "").split(";")),
            "rating": rating_of(exif.get(_RATING)),
        }
    )


def changed_facts(exif: Image.Exif) -> Facts:
    """When the file was last changed: for a photo that says nothing else, the best date there is."""
    return date_facts(_text(exif, Base.DateTime), _text(exif.get_ifd(IFD.Exif), _ZONE))


def _text(tags: Mapping[int, Any], tag: int) -> str | None:
    value = tags.get(tag)
    if isinstance(value, tuple) and value:
        value = value[0]
    if isinstance(value, str):
        # Pillow reads ASCII tags as Latin-1, but phones and programs write UTF-8 into them.
        try:
            value = value.encode("latin-1")
        except UnicodeEncodeError:
            return text_of(value)
    return text_of(value)


def _windows(tags: Mapping[int, Any], tag: int) -> str | None:
    """A tag of Windows' Explorer: UTF-16, as bytes or as numbers."""
    value = tags.get(tag)
    try:
        return text_of(bytes(value).decode("utf-16-le", "replace")) if isinstance(value, bytes | tuple) else None
    except ValueError:
        return None


def _place(gps: Mapping[int, Any]) -> Facts:
    altitude = number_of(gps.get(GPS.GPSAltitude))
    if altitude is not None and gps.get(GPS.GPSAltitudeRef) in (1, b"\1"):
        altitude = -altitude
    latitude = _degrees(gps.get(GPS.GPSLatitude), _text(gps, GPS.GPSLatitudeRef), "S")
    longitude = _degrees(gps.get(GPS.GPSLongitude), _text(gps, GPS.GPSLongitudeRef), "W")
    return place_facts(latitude, longitude, altitude)


def _degrees(value: Any, side: str | None, negative: str) -> float | None:
    """Degrees, minutes and seconds as degrees. A part that is missing or a fraction over 0 counts as 0."""
    parts = [number_of(part) for part in (value if isinstance(value, tuple | list) else (value,))]
    if not parts or parts[0] is None:
        return None
    degrees: float = sum((part or 0.0) / 60**power for power, part in enumerate(parts[:3]))
    return -degrees if side and side.upper().startswith(negative) else degrees
