"""What a photo's own file says: EXIF, IPTC and XMP of an image that Pillow has opened."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from PIL import Image

from shan_engine.base.facts import Facts
from shan_engine.photos.facts.exif import changed_facts, exif_facts
from shan_engine.photos.facts.iptc import iptc_facts
from shan_engine.photos.facts.xmp import xmp_facts

_XMP_KEYS = ("xmp", "XML:com.adobe.xmp")


@dataclass(frozen=True)
class Embedded:
    """Facts by where they are written; `changed` has the date of the file's last change."""

    exif: Facts = field(default_factory=dict)
    iptc: Facts = field(default_factory=dict)
    xmp: Facts = field(default_factory=dict)
    changed: Facts = field(default_factory=dict)


def embedded_facts(image: Image.Image) -> Embedded:
    """The metadata of an opened photo. Damaged metadata count as none: the photo can still be used.

    Call it before the pixels of a TIFF are loaded, and after those of a PNG, whose metadata may follow them.
    """
    return Embedded(
        _unless_damaged(lambda: exif_facts(image.getexif())),
        _unless_damaged(lambda: iptc_facts(image)),
        _unless_damaged(lambda: _xmp(image)),
        _unless_damaged(lambda: changed_facts(image.getexif())),
    )


def raw_facts(path: Path, preview: Image.Image) -> Embedded:
    """What a camera's RAW file says: its own EXIF, and where that is silent the preview in it."""
    own, inside = embedded_exif(path), embedded_facts(preview)
    return replace(inside, exif={**inside.exif, **own.exif}, changed=own.changed or inside.changed)


def embedded_exif(path: Path) -> Embedded:
    """What the EXIF says with which a file begins, as those of TIFF and of most cameras' RAW formats do."""
    exif = Image.Exif()

    def read() -> Facts:
        with path.open("rb") as file:
            exif.load_from_fp(file)
            return exif_facts(exif)

    return Embedded(_unless_damaged(read), changed=_unless_damaged(lambda: changed_facts(exif)))


def _xmp(image: Image.Image) -> Facts:
    packet = next((image.info[key] for key in _XMP_KEYS if key in image.info), b"")
    return xmp_facts(packet.encode() if isinstance(packet, str) else packet) if packet else {}


def _unless_damaged(read: Callable[[], Facts]) -> Facts:
    try:
        return read()
    except Exception:  # Pillow raises a dozen types, depending on the damage
        return {}
