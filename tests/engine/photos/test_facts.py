"""The photos' own metadata: read from files as cameras and programs write them."""

from __future__ import annotations

import contextlib
import io
import json
import struct
from types import SimpleNamespace

import pytest
from photos_facts import SAID, XMP, facts, phone_exif, save
from PIL import Image
from PIL.ExifTags import Base
from PIL.TiffImagePlugin import IFDRational
from shan_engine.photos.decode import read_scaled
from shan_engine.photos.facts.collect import collected
from shan_engine.photos.facts.dates import date_facts
from shan_engine.photos.facts.places import has_places, place_names
from shan_engine.photos.facts.sidecars import Sidecars, SideFacts
from shan_engine.photos.facts.texts import text_of


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp", "a.tif"])
def test_exif_of_every_format(tmp_path, name):
    assert facts(save(tmp_path / name, exif=phone_exif().tobytes())) == {
        "taken": "2023-07-23 04:26:40", "taken_zone": "+09:00", "camera": "iPhone 12 mini", "camera_make": "Apple",
        "lens": "back camera 4.2mm f/1.6", "orientation": 6, "width": 30, "height": 40, "latitude": -33.865,
        "longitude": 151.21, "altitude": -5.5,
        "description": "caf??" if name == "a.tif" else "café",  # Pillow writes ASCII into a TIFF
    }  # fmt: skip


def test_exif_at_the_beginning_of_a_raw_file(tmp_path):
    raw = tmp_path / "a.cr2"
    raw.write_bytes(phone_exif().tobytes().removeprefix(b"Exif\0\0"))
    found = facts(raw)
    assert (found["camera"], found["taken"], found["latitude"]) == ("iPhone 12 mini", "2023-07-23 04:26:40", -33.865)
    assert "width" not in found


@pytest.mark.parametrize("name", ["a.raf", "a.cr3", "a.nef"])
def test_a_raw_file_says_what_its_exif_says_and_else_its_preview(tmp_path, monkeypatch, name):
    rawpy = pytest.importorskip("rawpy")
    about, preview = Image.Exif(), io.BytesIO()  # as LibRaw writes it into a preview without EXIF, such as a CR3's
    about[Base.Make], about[Base.Model], about[Base.DateTime] = "Canon", "Canon EOS R5", "2021:05:06 07:08:09"
    Image.new("RGB", (640, 480), "red").save(preview, "JPEG", exif=about)

    class Raw(contextlib.nullcontext):
        sizes = SimpleNamespace(flip=0, width=640, height=480)
        lens = SimpleNamespace(model="RF24-105mm F4 L IS USM")
        extract_thumb = staticmethod(lambda: SimpleNamespace(format=rawpy.ThumbFormat.JPEG, data=preview.getvalue()))

        def __enter__(self):
            return self

    monkeypatch.setattr(rawpy, "imread", lambda path: Raw())
    own = name == "a.nef"  # a TIFF, whose EXIF tells more than the preview
    (tmp_path / name).write_bytes(phone_exif().tobytes().removeprefix(b"Exif\0\0") if own else b"no TIFF")
    found = facts(tmp_path / name)
    wanted = {
        "camera": "iPhone 12 mini" if own else "Canon EOS R5",
        "taken": "2023-07-23 04:26:40" if own else "2021-05-06 07:08:09",
        "lens": "back camera 4.2mm f/1.6" if own else "RF24-105mm F4 L IS USM",
    }
    assert {fact: found[fact] for fact in wanted} == wanted
    assert (found["width"], found["height"]) == (640, 480)
    assert ("latitude" in found) == own
    assert collected(read_scaled(tmp_path / name, 8, 8).embedded, SideFacts(), (640, 480)) == found


@pytest.mark.parametrize("name", ["a.jpg", "a.webp"])
def test_xmp_inside_a_photo(tmp_path, name):
    assert facts(save(tmp_path / name, xmp=XMP.encode())) == SAID


def test_iptc_inside_a_photo(tmp_path):
    def record(number: int, value: bytes) -> bytes:
        return struct.pack(">BBBH", 0x1C, 2, number, len(value)) + value

    said = (5, "Dünen".encode()), (25, b"sea"), (25, b"wind"), (55, b"19870514"), (60, b"081500-0330"), (101, b"Canada")
    data = b"".join(record(*pair) for pair in said)
    block = b"Photoshop 3.0\x008BIM\x04\x04\0\0" + struct.pack(">I", len(data)) + data + b"\0" * (len(data) % 2)
    photo = save(tmp_path / "a.jpg")
    content = photo.read_bytes()
    photo.write_bytes(content[:2] + b"\xff\xed" + struct.pack(">H", len(block) + 2) + block + content[2:])
    assert facts(photo) == {
        "taken": "1987-05-14 08:15:00", "taken_zone": "-03:30", "width": 40, "height": 30, "country": "Canada",
        "title": "Dünen", "keywords": "sea; wind",
    }  # fmt: skip


@pytest.mark.parametrize("sidecar", ["a.jpg.xmp", "a.xmp", "a.XMP"])
def test_a_side_car_comes_before_the_photo(tmp_path, sidecar):
    photo = save(tmp_path / "a.jpg", exif=phone_exif())
    (tmp_path / sidecar).write_bytes(XMP.encode())
    found = facts(photo)
    assert {name: found[name] for name in SAID if name not in ("width", "height")} == {
        name: value for name, value in SAID.items() if name not in ("width", "height")
    }
    assert (found["camera"], found["description"]) == ("iPhone 12 mini", "café")


@pytest.mark.parametrize(
    ("photo", "beside"),
    [
        ("IMG_1.jpg", "IMG_1.jpg.json"),
        ("IMG_1.jpg", "IMG_1.jpg.supplemental-metadata.json"),
        ("PXL_20230723_042640123.PORTRAIT-01.COVER.jpg", "PXL_20230723_042640123.PORTRAIT-01.COVER.jpg.s.json"),
        ("IMG_1(2).jpg", "IMG_1.jpg(2).json"),
        ("IMG_1(2).jpg", "IMG_1.jpg.supplemental-metadata(2).json"),
        ("IMG_1-edited.jpg", "IMG_1.jpg.suppl.json"),
        ("urn-uuid-0123456789-0123456789-0123456789-0123.jpg", "urn-uuid-0123456789-0123456789-0123456789-0123.json"),
        (f"{'long' * 14}.jpg", f"{'long' * 14}"[:46] + ".json"),
    ],
)
def test_google_takeout_however_it_names_its_files(tmp_path, photo, beside):
    told = {
        "title": photo,
        "description": "On the beach",
        "photoTakenTime": {"timestamp": "1690079200"},
        "creationTime": {"timestamp": "1700000000"},
        "geoData": {"latitude": 0.0, "longitude": 0.0, "altitude": 0.0},
        "geoDataExif": {"latitude": 48.8583, "longitude": 2.2945, "altitude": 35.0},
    }
    save(tmp_path / photo)
    (tmp_path / beside).write_text(json.dumps(told))
    (tmp_path / "metadata.json").write_text(json.dumps({"title": "the album"}))
    assert facts(tmp_path / photo) == {
        "taken": "2023-07-23 02:26:40", "taken_zone": "+00:00", "width": 40, "height": 30, "latitude": 48.8583,
        "longitude": 2.2945, "altitude": 35.0, "description": "On the beach",
    }  # fmt: skip


def test_what_a_camera_says_of_time_comes_before_takeout(tmp_path):
    photo = save(tmp_path / "a.jpg", exif=phone_exif())
    (tmp_path / "a.jpg.json").write_text(json.dumps({"photoTakenTime": {"timestamp": "0"}, "description": "mine"}))
    found = facts(photo)
    assert (found["taken"], found["taken_zone"], found["description"]) == ("2023-07-23 04:26:40", "+09:00", "mine")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (" Cafe\u0301\0 \n", "Caf\u00e9"), ("a\x1b[31mred\r\nb\x9b", "a[31mred\nb"), ("half \ud83d", "half ?"),
        (b"caf\xe9", "caf\u00e9"), (b"caf\xc3\xa9", "caf\u00e9"), ("  ", None), (7, None), ("x" * 20_000, "x" * 10_000),
    ],
)  # fmt: skip
def test_texts_can_be_stored_and_printed(value, text):
    assert text_of(value) == text


@pytest.mark.parametrize(
    ("text", "taken"),
    [
        ("2023:07:23 04:26:40.12", "2023-07-23 04:26:40"), ("2023-07-23T04:26Z", "2023-07-23 04:26:00"),
        ("2023:7:3 4:06:09", "2023-07-03 04:06:09"), ("1987", "1987"), ("1987-05", "1987-05"),
        ("1987-05-14", "1987-05-14"), ("0000:00:00 00:00:00", None), ("    :  :     :  :  ", None),
        ("2023:02:30 10:00:00", None), ("2023:07:23 24:61:00", None), ("yesterday", None), ("", None),
    ],
)  # fmt: skip
def test_dates_have_one_form_that_sorts(text, taken):
    assert date_facts(text).get("taken") == taken


def test_what_is_no_place_or_date_is_not_known(tmp_path):
    nowhere = phone_exif(taken="0000:00:00 00:00:00", latitude=(IFDRational(0, 0), 1.0, 1.0))
    found = facts(save(tmp_path / "a.jpg", exif=nowhere))
    assert "latitude" not in found
    assert found["taken"] == "2024-01-01 00:00:00"  # of the file's last change, as nothing else is known


@pytest.mark.filterwarnings("ignore")  # as `photos.decode` does for Pillow
def test_damaged_metadata_leave_what_else_is_known(tmp_path):
    photo = save(tmp_path / "a.jpg", exif=b"Exif\0\0II*\0\xff\xff\xff\xff", xmp=b"<x:xmpmeta>")
    assert facts(photo) == {"width": 40, "height": 30}
    bomb = b'<!DOCTYPE x [<!ENTITY a "' + b"a" * 1000 + b'">]><x>&a;</x>'
    (tmp_path / "a.xmp").write_bytes(bomb)
    (fault,) = Sidecars().read(photo).faults
    assert "a.xmp cannot be read" in fault


def test_places_are_named_by_the_nearest_town(monkeypatch):
    if not has_places():
        pytest.skip("the extra `places` is not installed")
    assert place_names(48.8583, 2.2945) == {"town": "Paris", "region": "Île-de-France", "country": "France"}
    assert place_names(48.8846, 2.2697)["town"] == "Neuilly-sur-Seine"  # a town of its own at the edge of Paris
    assert place_names(-16.8, 179.99)["country"] == place_names(-16.8, -179.99)["country"] == "Fiji"
    assert place_names(69.66, 18.94)["town"] == "Tromsø"
    assert place_names(0.0, -30.0) == {}  # the open Atlantic
    monkeypatch.setattr("shan_engine.photos.facts.places.has_places", lambda: False)
    assert place_names(48.8583, 2.2945) == {}
