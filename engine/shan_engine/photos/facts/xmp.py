"""Facts in XMP, which is RDF in XML: inside a photo or in a side-car."""

from __future__ import annotations

import re
from xml.etree.ElementTree import Element

from shan_engine.base.facts import Facts
from shan_engine.photos.facts.dates import date_facts
from shan_engine.photos.facts.texts import keywords_of, known, number_of, place_facts, rating_of, text_of

_RDF = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
_LANGUAGE = "{http://www.w3.org/XML/1998/namespace}lang"
_DUBLIN_CORE = "{http://purl.org/dc/elements/1.1/}"
_XMP = "{http://ns.adobe.com/xap/1.0/}"
_EXIF = "{http://ns.adobe.com/exif/1.0/}"
_TIFF = "{http://ns.adobe.com/tiff/1.0/}"
_PHOTOSHOP = "{http://ns.adobe.com/photoshop/1.0/}"
_LENSES = ("{http://cipa.jp/exif/1.0/}LensModel", "{http://ns.adobe.com/exif/1.0/aux/}Lens")
_DATES = (f"{_EXIF}DateTimeOriginal", f"{_PHOTOSHOP}DateCreated", f"{_XMP}CreateDate", f"{_EXIF}DateTimeDigitized")


class _Properties(dict[str, list[str]]):
    """Texts by a property's name with its name space."""

    def first(self, *names: str) -> str | None:
        """The first text that any of the properties has, in this order."""
        return next((text for name in names for value in self.get(name, ()) if (text := text_of(value))), None)


def xmp_facts(packet: bytes) -> Facts:
    """What an XMP packet says. Raises ValueError or SyntaxError if it is no XMP."""
    held = _properties(packet)
    taken = next((found for name in _DATES if (found := date_facts(held.first(name)))), {})
    return known(
        {
            **taken,
            **_place(held),
            "camera": held.first(f"{_TIFF}Model"),
            "camera_make": held.first(f"{_TIFF}Make"),
            "lens": held.first(*_LENSES),
            "title": held.first(f"{_DUBLIN_CORE}title", f"{_PHOTOSHOP}Headline"),
            "description": held.first(f"{_DUBLIN_CORE}description"),
            "keywords": keywords_of(held.get(f"{_DUBLIN_CORE}subject", ())),
            "rating": rating_of(held.first(f"{_XMP}Rating")),
            "town": held.first(f"{_PHOTOSHOP}City"),
            "region": held.first(f"{_PHOTOSHOP}State"),
            "country": held.first(f"{_PHOTOSHOP}Country"),
        }
    )


def _properties(packet: bytes) -> _Properties:
    from defusedxml.ElementTree import fromstring  # refuses entities, with which a file could fill the memory

    root = fromstring(packet.strip(b"\0 \t\r\n"))
    if root.find(f".//{_RDF}RDF") is None and root.tag != f"{_RDF}RDF":
        raise ValueError("it has no RDF")
    held = _Properties()
    for description in root.iter(f"{_RDF}Description"):
        for name, value in description.items():
            held.setdefault(name, []).append(value)
        for element in description:
            held.setdefault(element.tag, []).extend(_texts(element))
    return held


def _texts(element: Element) -> list[str]:
    """The texts of a property: its own, or those of its list, the default language first."""
    items = [item for item in element.iter(f"{_RDF}li") if item.text]
    items.sort(key=lambda item: item.get(_LANGUAGE, "x-default") != "x-default")
    return [item.text or "" for item in items] or ([element.text] if element.text else [])


def _place(held: _Properties) -> Facts:
    altitude = held.first(f"{_EXIF}GPSAltitude")  # a fraction, such as 1234/10
    above, _, below = (altitude or "").partition("/")
    metres, divisor = number_of(above), number_of(below or 1)
    height = metres / divisor if metres is not None and divisor else None
    if height is not None and held.first(f"{_EXIF}GPSAltitudeRef") == "1":
        height = -height
    return place_facts(
        _degrees(held.first(f"{_EXIF}GPSLatitude")), _degrees(held.first(f"{_EXIF}GPSLongitude")), height
    )


def _degrees(text: str | None) -> float | None:
    """48,51.396N or 48,51,23.76N as degrees."""
    found = re.fullmatch(r"([-+\d.]+)(?:,([\d.]+))?(?:,([\d.]+))?\s*([NSEW]?)", text or "", re.IGNORECASE)
    if found is None:
        return None
    degrees, minutes, seconds = (number_of(part or 0) for part in found.groups()[:3])
    if degrees is None or minutes is None or seconds is None:
        return None
    total = degrees + minutes / 60 + seconds / 3600
    return -total if found[4].upper() in ("S", "W") else total
