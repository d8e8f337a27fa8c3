"""Open a photo, RAW file or video as a Pillow image, by whichever package reads it."""

from __future__ import annotations

import ctypes
import io
import logging
import math
import struct
import zlib
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from PIL import ExifTags, Image, PngImagePlugin, UnidentifiedImageError, _imaging

from shan_engine.base.errors import InputError
from shan_engine.photos.formats import HEIF, RAW, VIDEO, require_reader
from shan_engine.photos.tones import levels_of, to_bytes

_PNG = b"\x89PNG\r\n\x1a\n"
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_TIFF_BYTES = 6  # a pixel of the largest photo, as in 16-bit RGB; smaller ones may have more
_LARGE_CHUNK = 1 << 20
_LEAST_PREVIEW = 480  # an embedded preview with a shorter side is too coarse, so that the RAW file is developed
_FORMATS = ("JPEG", "PNG", "GIF", "BMP", "DIB", "PPM", "WEBP", "TIFF", "JPEG2000", "AVIF", "ICO", "TGA", "PCX")
"""What a file may be, whatever its suffix says. Not EPS: Pillow would have Ghostscript run the program in it."""
_FLIPS = {3: 3, 5: 8, 6: 6}  # LibRaw's turns as EXIF orientations

# What decoders say about damaged photos would come between the lines of progress; exceptions say enough. Pillow's log
# and libtiff's messages on standard error belong to the process, as its limits do.
logging.getLogger("PIL").setLevel(logging.CRITICAL)
if hasattr(libtiff := ctypes.CDLL(_imaging.__file__), "TIFFSetErrorHandler"):
    libtiff.TIFFSetErrorHandler(None)
    libtiff.TIFFSetWarningHandler(None)

# Programs write whole workflows into a PNG's text. Pillow refuses a text of over
# 1 MB. Its limit belongs to the process.
PngImagePlugin.MAX_TEXT_CHUNK = max(PngImagePlugin.MAX_TEXT_CHUNK, 16 << 20)


def open_photo(path: Path, most_pixels: int) -> Image.Image:
    """An image whose pixels may not be loaded yet.

    Raises InputError if the photo needs a package that is not installed, and the errors of the package that reads it.
    A photo that has to be decoded here is refused if it has more than `most_pixels`.
    """
    require_reader(path)
    suffix = path.suffix.lower()
    if suffix in RAW:
        return _raw(path)
    if suffix in VIDEO:
        return _frame(path)
    if suffix in HEIF:
        _register_heif()
    try:
        return identified(path)
    except FileNotFoundError:
        raise
    except Exception as error:
        with path.open("rb") as file:
            head = file.read(12)
        if head.startswith(_PNG):
            return identified(_without_notes(path))
        if head.startswith(_TIFF):
            return open_tiff(path, most_pixels)
        if head[4:8] == b"ftyp" and isinstance(error, UnidentifiedImageError) and find_spec("pi_heif"):
            _register_heif()
            return identified(path)
        raise


def identified(source: Path | io.BytesIO) -> Image.Image:
    """A photo in one of the formats that Pillow decodes by itself; no other program is run for it."""
    return Image.open(source, formats=[*_FORMATS, *(["HEIF"] if "HEIF" in Image.OPEN else [])])


@cache
def _register_heif() -> None:
    import pi_heif

    pi_heif.register_heif_opener()


def _without_notes(path: Path) -> io.BytesIO:
    """A PNG without the text, profile and other notes that are damaged or too large to read."""
    kept = [_PNG]
    for kind, data, crc in _chunks(path.read_bytes()):
        note = bool(kind[0] & 0x20)  # a small first letter: the pixels do not depend on this chunk
        if note and (zlib.crc32(kind + data) != crc or kind in (b"zTXt", b"iTXt") or len(data) > _LARGE_CHUNK):
            continue
        kept += [struct.pack(">I", len(data)), kind, data, struct.pack(">I", crc)]
    return io.BytesIO(b"".join(kept))


def _chunks(png: bytes) -> Iterator[tuple[bytes, bytes, int]]:
    place = len(_PNG)
    while place + 8 <= len(png):
        length, kind = struct.unpack_from(">I4s", png, place)
        data, crc = png[place + 8 : place + 8 + length], png[place + 8 + length : place + 12 + length]
        yield kind, data, int.from_bytes(crc.ljust(4, b"\0"))
        place += 12 + length


def open_tiff(path: Path, most_pixels: int) -> Image.Image:
    """A TIFF in a mode or compression that Pillow does not read: RGB of floats, 16-bit grey with alpha, and so on."""
    import tifffile

    logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # it tells each broken tag; its exceptions say enough
    with tifffile.TiffFile(path) as tiff:
        page = tiff.pages.first
        sizes = (page.imagewidth, page.imagelength, page.imagedepth), (page.tilewidth, page.tilelength, page.tiledepth)
        if not all(isinstance(size, int) for size in (*sizes[0], *sizes[1], page.samplesperpixel)):
            raise InputError(f"{path} cannot be decoded: its header has several numbers for one size")
        itemsize = page.dtype.itemsize if page.dtype else 1
        if max(map(math.prod, sizes)) * page.samplesperpixel * itemsize > _TIFF_BYTES * most_pixels:
            raise Image.DecompressionBombError
        samples = page.asarray()
        if samples.ndim == 3 and page.planarconfig == 2:
            samples = samples.transpose(1, 2, 0)
        if samples.ndim not in (2, 3):
            raise InputError(f"{path} cannot be decoded: its samples have the shape {samples.shape}")
        colours = min(page.samplesperpixel - len(page.extrasamples), 3) if samples.ndim == 3 else 1
        samples = samples.reshape(*samples.shape[:2], -1)
        full = float(2**page.bitspersample - 1) if samples.dtype.kind == "u" else None
        pixels = to_bytes(samples[..., :colours], levels_of(samples[..., :colours], full))
        if page.photometric == 0:  # white is zero
            pixels = 255 - pixels
        image = Image.fromarray(pixels[..., 0] if colours == 1 else pixels)
        if page.extrasamples and page.extrasamples[0] in (1, 2):
            alpha = samples[..., colours]
            top = 1.0 if alpha.dtype.kind == "f" else full or float(alpha.max())
            image.putalpha(Image.fromarray(to_bytes(alpha, (0.0, top or 1.0))))
        if page.iccprofile:
            image.info["icc_profile"] = page.iccprofile
        if "Orientation" in page.tags:
            image.getexif()[ExifTags.Base.Orientation] = int(page.tags["Orientation"].value)
    return image


def _raw(path: Path) -> Image.Image:
    """The preview that a camera has put into its RAW file, or the developed file if the preview is small.

    Its EXIF is the preview's own, or what LibRaw knows: camera, date and place; and the lens.
    """
    import rawpy

    with rawpy.imread(str(path)) as raw:
        orientation = _FLIPS.get(raw.sizes.flip, 1)
        try:
            preview: Any = raw.extract_thumb()
            if preview.format == rawpy.ThumbFormat.JPEG:
                image: Image.Image = identified(io.BytesIO(preview.data))
            else:
                image = Image.fromarray(preview.data)
            if min(image.size) >= _LEAST_PREVIEW:
                if orientation != 1 and (image.width > image.height) == (raw.sizes.width > raw.sizes.height):
                    image.getexif().setdefault(ExifTags.Base.Orientation, orientation)
                return _with_lens(image, raw.lens.model)
        except (rawpy.LibRawNoThumbnailError, rawpy.LibRawUnsupportedThumbnailError, OSError):
            pass
        half = min(raw.sizes.width, raw.sizes.height) >= 4 * _LEAST_PREVIEW
        return _with_lens(Image.fromarray(raw.postprocess(use_camera_wb=True, half_size=half)), raw.lens.model)


def _with_lens(image: Image.Image, lens: str) -> Image.Image:
    if lens:
        image.getexif().get_ifd(ExifTags.IFD.Exif).setdefault(ExifTags.Base.LensModel, lens)
    return image


def _frame(path: Path) -> Image.Image:
    """The frame at the first key frame from the middle of a video back; the first frame if there is no other."""
    import av

    with av.open(str(path)) as video:
        if not video.streams.video:
            raise InputError(f"{path} has no pictures: it holds only sound")
        if video.duration:
            video.seek(video.duration // 2 + (video.start_time or 0))
        frame = next(video.decode(video=0), None)
        if frame is None:
            video.seek(0)
            frame = next(video.decode(video=0))
        image: Image.Image = Image.fromarray(frame.to_ndarray(format="rgb24"))
        turn = round(getattr(frame, "rotation", 0)) % 360
        return image.rotate(turn, expand=True) if turn else image
