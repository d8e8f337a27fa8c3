"""Photos with the metadata that a phone or a program for photos writes."""

from __future__ import annotations

from PIL import Image
from PIL.ExifTags import GPS, IFD, Base
from shan_engine.photos.facts.collect import collected, read_embedded
from shan_engine.photos.facts.sidecars import Sidecars

XMP = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmlns:dc="http://purl.org/dc/elements/1.1/"
  xmlns:exif="http://ns.adobe.com/exif/1.0/" xmlns:photoshop="http://ns.adobe.com/photoshop/1.0/" xmp:Rating="4"
  photoshop:City="Łódź" exif:GPSLatitude="51,46.5N" exif:GPSLongitude="19,27,30.0E" exif:GPSAltitude="2100/10">
<exif:DateTimeOriginal>2019-05-03T14:00:07.25+02:00</exif:DateTimeOriginal>
<dc:title><rdf:Alt><rdf:li xml:lang="fr">Maison</rdf:li><rdf:li xml:lang="x-default">House</rdf:li></rdf:Alt></dc:title>
<dc:subject><rdf:Bag><rdf:li>holiday</rdf:li><rdf:li>sea; sand</rdf:li><rdf:li>holiday</rdf:li></rdf:Bag></dc:subject>
</rdf:Description></rdf:RDF></x:xmpmeta>
<?xpacket end="w"?>"""


SAID = {
    "taken": "2019-05-03 14:00:07", "taken_zone": "+02:00", "width": 40, "height": 30, "latitude": 51.775,
    "longitude": 19.4583333, "altitude": 210.0, "town": "Łódź", "title": "House", "keywords": "holiday; sea; sand",
    "rating": 4,
}  # fmt: skip


def phone_exif(**changes) -> Image.Exif:
    exif = Image.Exif()
    exif[Base.Make], exif[Base.Model] = "Apple", "iPhone 12 mini\0"
    exif[Base.Orientation] = 6
    exif[Base.DateTime] = "2024:01:01 00:00:00"
    exif[Base.ImageDescription] = "café".encode()  # UTF-8 in a tag meant for ASCII
    details = exif.get_ifd(IFD.Exif)
    details[Base.DateTimeOriginal] = changes.get("taken", "2023:07:23 04:26:40")
    details[Base.OffsetTimeOriginal] = "+09:00"
    details[Base.LensModel] = "back camera 4.2mm f/1.6"
    exif.get_ifd(IFD.GPSInfo).update(
        {
            GPS.GPSLatitudeRef: "S", GPS.GPSLatitude: changes.get("latitude", (33.0, 51.0, 54.0)),
            GPS.GPSLongitudeRef: "E", GPS.GPSLongitude: (151.0, 12.0, 36.0),
            GPS.GPSAltitudeRef: b"\1", GPS.GPSAltitude: 5.5,
        }
    )  # fmt: skip
    return exif


def save(path, **options):
    Image.new("RGB", (40, 30), (200, 30, 30)).save(path, **options)
    return path


def facts(path) -> dict:
    embedded, size = read_embedded(path)
    beside = Sidecars().read(path)
    assert beside.faults == ()
    return dict(collected(embedded, beside, size))
