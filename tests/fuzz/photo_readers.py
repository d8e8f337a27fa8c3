"""Readers of photos, of their own metadata, and of feature extractors."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from odd_photos import HEIGHT, WIDTH, kinds, picture
from photos_facts import XMP, phone_exif
from PIL import Image
from reader import Reader, Shared
from shan_engine.photos import decode
from shan_engine.photos.decode import read_scaled, refuse_untrusted, thumbnail
from shan_engine.photos.facts.collect import collected, read_embedded
from shan_engine.photos.facts.sidecars import Sidecars

LIBRAW = r"(\S+\.dng: (Unexpected end of file|data corrupted at \d+)\n)+"
MOST_PIXELS = 4_000_000  # instead of 300 million, so that what exceeds it is met often, and soon
LEFT_OUT = ("PNG with 20 MB of text", "a text, not a photo")
TAKEOUT = {
    "title": "a.jpg",
    "description": "a house",
    "photoTakenTime": {"timestamp": "1556892007", "formatted": "3 May 2019"},
    "geoData": {"latitude": 51.775, "longitude": 19.4583333, "altitude": 210.0},
    "geoDataExif": {"latitude": 0.0, "longitude": 0.0, "altitude": 0.0},
}


def make_photos(folder: Path) -> None:
    for kind, suffix, make in kinds(picture(0)):
        if kind not in LEFT_OUT:
            try:
                name = "".join(letter if letter.isalnum() else "-" for letter in kind.lower())
                (folder / f"{name}.{suffix}").write_bytes(make())
            except (ImportError, OSError, KeyError):  # its encoder is not installed
                continue
    for suffix, form in (("ico", "ICO"), ("tga", "TGA"), ("pcx", "PCX"), ("ppm", "PPM")):
        Image.fromarray(picture(1)).save(folder / f"small.{suffix}", form)


def read_photo(folder: Path, path: Path) -> Any:
    """The pixels that an extractor gets, a thumbnail, and what a web request with the photo is told first."""
    decode.MAX_PIXELS = MOST_PIXELS
    if path.suffix == ".jpg":
        bare = path.rename(path.with_suffix(""))
        try:
            refuse_untrusted(bare, MOST_PIXELS)
        finally:
            bare.rename(path)
    scaled = read_scaled(path, 32, 24)
    assert scaled.pixels.shape == (24, 32, 3)
    assert scaled.pixels.dtype == np.uint8
    assert "\n" not in scaled.damage
    assert max(thumbnail(path, 40).size) <= 40
    _check_facts(dict(collected(scaled.embedded, Sidecars().read(path), scaled.size)))


def make_facts(folder: Path) -> None:
    image = Image.fromarray(picture(0)[: HEIGHT // 4, : WIDTH // 4])
    image.save(folder / "a.jpg", exif=phone_exif(), xmp=XMP.encode())
    image.save(folder / "b.png", exif=phone_exif())
    image.save(folder / "c.webp", exif=phone_exif(), xmp=XMP.encode())
    image.save(folder / "d.tif", exif=phone_exif())
    iptc = b"".join(b"\x1c\2" + bytes([kind]) + len(text).to_bytes(2, "big") + text for kind, text in IPTC.items())
    block = b"Photoshop 3.0\x008BIM\4\4\0\0" + len(iptc).to_bytes(4, "big") + iptc + b"\0" * (len(iptc) % 2)
    data = (folder / "a.jpg").read_bytes()
    (folder / "e.jpg").write_bytes(data[:2] + b"\xff\xed" + (len(block) + 2).to_bytes(2, "big") + block + data[2:])


IPTC = {5: b"House", 25: b"sea", 55: b"20190503", 60: b"140007+0200", 90: "Łódź".encode(), 120: b"a house"}


def read_facts(folder: Path, path: Path) -> Any:
    embedded, size = read_embedded(path)
    _check_facts(dict(collected(embedded, Sidecars().read(path), size)))


def make_sidecars(folder: Path) -> None:
    Image.new("RGB", (4, 3)).save(folder / "a.jpg")
    (folder / "a.jpg.json").write_text(json.dumps(TAKEOUT), "utf-8")
    (folder / "a.jpg.xmp").write_text(XMP, "utf-8")


def read_sidecars(folder: Path, path: Path) -> Any:
    beside = Sidecars().read(folder / "a.jpg")
    assert all("\n" not in fault for fault in beside.faults)
    embedded, size = read_embedded(folder / "a.jpg")
    _check_facts(dict(collected(embedded, beside, size)))


def _check_facts(facts: dict[str, Any]) -> None:
    """Facts are texts and finite numbers that a store, SQLite and JSON take."""
    json.dumps(facts, allow_nan=False).encode()
    for name, value in facts.items():
        assert isinstance(value, str | int | float), name
        if isinstance(value, str):
            assert value.encode()
            assert "\x1b" not in value
        else:
            assert abs(value) < 2**63


def make_extractors(folder: Path) -> None:
    from extractors import backbone, classifier, detector

    for make in (backbone, classifier, detector):
        make(folder)


def read_extractor(folder: Path, path: Path) -> Any:
    from shan_engine.photos.extractor import FeatureExtractor

    extractor = FeatureExtractor(path.with_suffix(".onnx"), "cpu", threads=1)
    height, width = extractor.recipe.height, extractor.recipe.width
    if height * width < MOST_PIXELS:
        for regions in extractor(np.zeros((2, height, width, 3), np.uint8), ["a", "b"]):
            assert np.isfinite(regions.features).all()


def photo_readers(shared: Shared) -> list[Reader]:
    def only(*suffixes: str) -> Callable[[Path], bool]:
        return lambda path: path.suffix in suffixes

    return [
        Reader(name="photos", make=make_photos, read=read_photo, megabytes=400, prints=LIBRAW),
        Reader(
            name="facts",
            make=make_facts,
            read=read_facts,
            tokens=(b"Exif\0\0", b"8BIM", b"http://ns.adobe.com/xap/1.0/\0"),
        ),
        Reader(
            name="sidecars",
            make=make_sidecars,
            read=read_sidecars,
            changes=only(".json", ".xmp"),
            tokens=(b"<!DOCTYPE a [<!ENTITY b 'c'>]>", b"&b;", b"<rdf:li>", b"NSEW"),
        ),
        Reader(name="extractors", make=make_extractors, read=read_extractor, megabytes=600),
    ]
