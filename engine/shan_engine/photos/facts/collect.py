"""All that is known about a photo, each fact from the place that is trusted most."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL.ExifTags import Base

from shan_engine.base.column_types import Value
from shan_engine.base.facts import FACTS, Facts
from shan_engine.photos.facts.embedded import Embedded, embedded_exif, embedded_facts, raw_facts
from shan_engine.photos.facts.sidecars import SideFacts
from shan_engine.photos.facts.texts import known
from shan_engine.photos.formats import HEIF, RAW
from shan_engine.photos.opening import identified, open_photo

# Facts that only make sense together come from one place.
_TOGETHER = (("taken", "taken_zone"), ("latitude", "longitude", "altitude"), ("town", "region", "country"))
_TEXTS = ("title", "description", "keywords", "rating")
_SIDEWAYS = (5, 6, 7, 8)
_ANY_SIZE = 2**62  # pixels: none are decoded


def collected(embedded: Embedded, beside: SideFacts, size: tuple[int, int]) -> Facts:
    """The facts of a photo whose upright pixels are `size` (width, height), without names from GeoNames.

    A side-car comes first, as people edit it. Of texts, what people write comes before what cameras write.
    """
    cameras = (beside.xmp, embedded.exif, embedded.xmp, embedded.iptc, beside.takeout, embedded.changed)
    people = (beside.xmp, embedded.xmp, embedded.iptc, beside.takeout, embedded.exif)
    grouped = {name for names in _TOGETHER for name in names}
    found: dict[str, Value] = {"width": size[0] or None, "height": size[1] or None}
    for names in (*_TOGETHER, *((name,) for name in FACTS if name not in grouped and name not in found)):
        found.update(_first(names, people if names[0] in _TEXTS else cameras))
    return known({name: found[name] for name in FACTS if name in found})


def _first(names: Sequence[str], sources: Sequence[Facts]) -> Facts:
    """These facts of the first source that has any of them."""
    having = next((source for source in sources if any(name in source for name in names)), {})
    return {name: having[name] for name in names if name in having}


def read_embedded(path: Path) -> tuple[Embedded, tuple[int, int]]:
    """What a photo's file says, and its upright width and height. Pixels are decoded only where metadata follow them.

    Of a file that cannot be opened, the EXIF that it begins with, and (0, 0).
    """
    suffix = path.suffix.lower()
    try:
        with open_photo(path, _ANY_SIZE) if suffix in RAW | HEIF else identified(path) as image:
            if image.format == "PNG":
                image.load()
            embedded = raw_facts(path, image) if suffix in RAW else embedded_facts(image)
            width, height = image.size
            if image.format == "TIFF":  # whether Pillow has turned its size by now depends on its version
                width, height = (int(image.getexif()[tag]) for tag in (Base.ImageWidth, Base.ImageLength))
            turned = image.getexif().get(Base.Orientation) if suffix in RAW else embedded.exif.get("orientation")
            return embedded, (height, width) if turned in _SIDEWAYS else (width, height)
    except Exception:  # Pillow raises a dozen types, depending on the format and the damage
        return embedded_exif(path), (0, 0)
