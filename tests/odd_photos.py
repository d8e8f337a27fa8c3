"""A folder of 200 odd photos: every format and mode that `extract` is to read, each in sound and damaged copies.

    python tests/odd_photos.py FOLDER            # write the photos
    python tests/odd_photos.py FOLDER --table    # what the decoder makes of each kind, as a Markdown table

The same files each time, from one drawn picture. Formats whose encoder is not installed are left out and named.
Their names are KIND-NUMBER.SUFFIX. A photo is right if its blocks of 8 x 8 pixels differ from those of
the drawn picture by at most 12 levels in the mean, or 60 for damaged, grey and RAW ones. HEIC is not among them: no
package at hand may write it.
"""

from __future__ import annotations

import argparse
import io
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image, ImageCms, PngImagePlugin
from shan_engine.base.errors import InputError
from shan_engine.photos.decode import read_scaled

COPIES = 4
WIDTH, HEIGHT = 96, 64
Pixels = NDArray[np.uint8]


def picture(number: int) -> Pixels:
    """A picture HEIGHT x WIDTH x 3 with soft tones and an edge; other colours for each number."""
    y, x = np.mgrid[0 : 1 : HEIGHT * 1j, 0 : 1 : WIDTH * 1j]
    waves = [np.sin(x * (2 + number) + y * shift) * 0.35 + 0.5 for shift in (1, 2, 3)]
    pixels = np.stack(waves, axis=-1)
    pixels[HEIGHT // 4 : HEIGHT // 2, WIDTH // 4 : WIDTH // 2] *= 0.5
    return np.asarray(pixels * 255, np.uint8)


def blocks(pixels: Pixels) -> Pixels:
    """Means of the 8 x 8 blocks of a picture, HEIGHT/8 x WIDTH/8 x 3."""
    means = pixels.astype(float).reshape(HEIGHT // 8, 8, WIDTH // 8, 8, 3).mean(axis=(1, 3))
    return np.asarray(means.round(), np.uint8)


def _grey(pixels: Pixels) -> Pixels:
    return np.asarray(Image.fromarray(pixels).convert("L"))


def _saved(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def _cut(data: bytes) -> bytes:
    return data[: len(data) * 7 // 10]


def _tiff(samples: NDArray[np.generic], **options: object) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, samples, **options)  # type: ignore[arg-type]
    return buffer.getvalue()


def _text_png(image: Image.Image) -> bytes:
    notes = PngImagePlugin.PngInfo()
    notes.add_text("workflow", "x" * 20_000_000, zip=True)
    return _saved(image, "PNG", pnginfo=notes)


def _bad_note(png: bytes) -> bytes:
    chunk = struct.pack(">I", 4) + b"tEXta\0bc" + b"\0\0\0\0"  # a wrong checksum
    return png[:33] + chunk + png[33:]


def _deep_png(grey: NDArray[np.uint16], clear: int | None = None) -> bytes:
    image = Image.fromarray(grey)
    return _saved(image, "PNG", **({} if clear is None else {"transparency": clear}))


def _rgb16_png(pixels: Pixels) -> bytes:
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels.astype(np.uint16) * 257)
    head = struct.pack(">IIBBBBB", WIDTH, HEIGHT, 16, 2, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    png = b"\x89PNG\r\n\x1a\n"
    for name, data in chunks:
        png += struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
    return png


def _video(pixels: Pixels) -> bytes:
    import av

    buffer = io.BytesIO()
    with av.open(buffer, "w", "mp4") as out:
        stream = out.add_stream("mpeg4", rate=5)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.bit_rate = 2_000_000
        for _ in range(5):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, "rgb24")))
        out.mux(stream.encode(None))
    return buffer.getvalue()


def _dng(pixels: Pixels) -> bytes:
    """A RAW file without a preview: a Bayer pattern, RGGB, of linear samples."""
    linear = np.repeat(np.repeat(np.asarray((pixels / 255.0) ** 2.2 * 65535, np.uint16), 8, axis=0), 8, axis=1)
    mosaic = linear[..., 1].copy()
    mosaic[::2, ::2], mosaic[1::2, 1::2] = linear[::2, ::2, 0], linear[1::2, 1::2, 2]
    ones = (1, 1) * 3
    to_camera = (32404, -15371, -4985, -9692, 18760, 415, 556, -2040, 10572)
    matrix = tuple(part for value in to_camera for part in (value, 10000))
    tags = [
        (50706, "B", 4, (1, 4, 0, 0), True),
        (50708, "s", 0, "Test", True),
        (50721, "2i", 9, matrix, True),
        (33421, "H", 2, (2, 2), True),
        (33422, "B", 4, (0, 1, 1, 2), True),
        (50728, "2I", 3, ones, True),
        (50717, "I", 1, 65535, True),
        (271, "s", 0, "Test", True),
        (272, "s", 0, "Test", True),
        (274, "H", 1, 1, True),
    ]
    return _tiff(mosaic, photometric=32803, extratags=tags)


def kinds(pixels: Pixels) -> Iterator[tuple[str, str, Callable[[], bytes]]]:
    """Each kind's name, its suffix and what makes its bytes."""
    image, grey = Image.fromarray(pixels), _grey(pixels)
    clear = Image.fromarray(np.dstack([pixels, np.full(pixels.shape[:2], 255, np.uint8)]))
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    wide = grey.astype(np.uint16) * 257
    unit = pixels / 255.0
    for suffix in ("jpg", "jpeg", "jpe", "jfif"):
        yield f"JPEG .{suffix}", suffix, lambda: _saved(image, "JPEG", quality=95)
    yield "JPEG progressive", "jpg", lambda: _saved(image, "JPEG", quality=95, progressive=True)
    yield "JPEG grey", "jpg", lambda: _saved(image.convert("L"), "JPEG", quality=95)
    yield "JPEG CMYK", "jpg", lambda: _saved(image.convert("CMYK"), "JPEG", quality=95)
    yield "JPEG with sRGB profile", "jpg", lambda: _saved(image, "JPEG", quality=95, icc_profile=srgb)
    yield "JPEG without its end, damaged", "jpg", lambda: _saved(image, "JPEG", quality=95)[:-2]
    yield "JPEG cut at 70 %, damaged", "jpg", lambda: _cut(_saved(image, "JPEG"))
    yield "PNG", "png", lambda: _saved(image, "PNG")
    yield "PNG RGBA", "png", lambda: _saved(clear, "PNG")
    yield "PNG palette", "png", lambda: _saved(image.quantize(256), "PNG")
    yield "PNG 1 bit, grey", "png", lambda: _saved(image.convert("1"), "PNG")
    yield "PNG grey and alpha", "png", lambda: _saved(clear.convert("LA"), "PNG")
    yield "PNG 16-bit grey", "png", lambda: _deep_png(wide)
    yield "PNG 16-bit grey, tRNS", "png", lambda: _deep_png(wide, 0)
    yield "PNG 16-bit RGB", "png", lambda: _rgb16_png(pixels)
    yield "PNG with 20 MB of text", "png", lambda: _text_png(image)
    yield "PNG with a wrong checksum", "png", lambda: _bad_note(_saved(image, "PNG"))
    yield "PNG cut at 70 %, damaged", "png", lambda: _cut(_saved(image, "PNG"))
    yield "APNG", "apng", lambda: _saved(image, "PNG", save_all=True, append_images=[image.rotate(180)])
    yield "GIF, animated", "gif", lambda: _saved(image, "GIF", save_all=True, append_images=[image.rotate(180)])
    yield "WebP", "webp", lambda: _saved(image, "WEBP", quality=95)
    yield "WebP RGBA, lossless", "webp", lambda: _saved(clear, "WEBP", lossless=True)
    yield "BMP", "bmp", lambda: _saved(image, "BMP")
    yield "AVIF", "avif", lambda: _saved(image, "AVIF", quality=95)
    yield "JPEG 2000", "jp2", lambda: _saved(image, "JPEG2000")
    yield "TIFF", "tif", lambda: _saved(image, "TIFF")
    yield "TIFF LZW", "tiff", lambda: _saved(image, "TIFF", compression="tiff_lzw")
    yield "TIFF JPEG", "tif", lambda: _saved(image, "TIFF", compression="jpeg", quality=95)
    yield "TIFF CMYK", "tif", lambda: _saved(image.convert("CMYK"), "TIFF")
    yield "TIFF Lab", "tif", lambda: _saved(_lab(image), "TIFF")
    yield "TIFF RGBA", "tif", lambda: _saved(clear, "TIFF")
    yield "TIFF 16-bit grey", "tif", lambda: _tiff(wide)
    yield "TIFF 16-bit grey, white is 0", "tif", lambda: _tiff(65535 - wide, photometric="miniswhite")
    yield "TIFF 16-bit RGB", "tif", lambda: _tiff(pixels.astype(np.uint16) * 257, photometric="rgb")
    yield (
        "TIFF 16-bit grey and alpha",
        "tif",
        lambda: _tiff(
            np.dstack([wide, np.full_like(wide, 65535)]),
            photometric="minisblack",
            planarconfig="contig",
            extrasamples=["unassalpha"],
        ),
    )
    yield "TIFF 32-bit grey", "tif", lambda: _tiff(grey.astype(np.uint32) * 16843009)
    yield "TIFF 32-bit grey, small values", "tif", lambda: _tiff(grey.astype(np.int32) * 257)
    yield "TIFF 32-bit RGB", "tif", lambda: _tiff(pixels.astype(np.uint32) * 16843009, photometric="rgb")
    yield "TIFF float grey", "tif", lambda: _tiff((grey / 255.0).astype(np.float32))
    yield "TIFF float RGB", "tif", lambda: _tiff(unit.astype(np.float32), photometric="rgb")
    yield (
        "TIFF float RGB, planar",
        "tif",
        lambda: _tiff(unit.astype(np.float32).transpose(2, 0, 1).copy(), photometric="rgb", planarconfig="separate"),
    )
    yield "TIFF 64-bit float", "tif", lambda: _tiff(unit, photometric="rgb")
    yield "BigTIFF", "tif", lambda: _tiff(pixels, photometric="rgb", bigtiff=True)
    yield "TIFF cut at 70 %, damaged", "tif", lambda: _cut(_saved(image, "TIFF"))
    yield "camera RAW (DNG)", "dng", lambda: _dng(pixels)
    yield "video (MP4)", "mp4", lambda: _video(pixels)
    yield "a text, not a photo", "jpg", lambda: b"not a photo"


def _lab(image: Image.Image) -> Image.Image:
    profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    lab = ImageCms.profileToProfile(image, *profiles, outputMode="LAB")
    assert lab is not None
    return lab


def write(folder: Path) -> list[tuple[str, int, Path]]:
    """Write the photos; their kinds, numbers and paths."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for number in range(COPIES):
        for kind, suffix, make in kinds(picture(number)):
            name = "".join(letter if letter.isalnum() else "-" for letter in kind.lower())
            path = folder / f"{name}-{number}.{suffix}"
            try:
                data = make()
            except (ImportError, OSError, KeyError) as error:
                print(f"left out: {kind}: {error}")
                continue
            path.write_bytes(data)
            written.append((kind, number, path))
    return written


def table(written: list[tuple[str, int, Path]]) -> str:
    """What the decoder makes of each kind: how many are right, and what it says about the others."""
    rows: dict[str, list[str]] = {}
    for kind, number, path in written:
        rows.setdefault(kind, []).append(_outcome(path, picture(number), 60 if _is_rough(kind) else 12))
    lines = ["| kind | photos | what happened |", "|---|---|---|"]
    for kind, outcomes in rows.items():
        told = "; ".join(f"{outcomes.count(outcome)} {outcome}" for outcome in dict.fromkeys(outcomes))
        lines.append(f"| {kind} | {len(outcomes)} | {told} |")
    return "\n".join(lines)


def _is_rough(kind: str) -> bool:
    return "grey" in kind or "damaged" in kind or kind.startswith("camera")


def _outcome(path: Path, wanted: Pixels, tolerance: int) -> str:
    try:
        photo = read_scaled(path, WIDTH, HEIGHT)
    except InputError as error:
        return f"skipped: {str(error).removeprefix(f'{path} ')}"
    difference = np.abs(blocks(photo.pixels).astype(int) - blocks(wanted)).mean()
    said = f"read in part: {photo.damage.split(': ')[-1]}" if photo.damage else "read"
    return said if difference <= tolerance else f"{said}, but {difference:.0f} levels away"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--table", action="store_true")
    arguments = parser.parse_args()
    written = write(arguments.folder)
    print(f"{len(written)} photos in {arguments.folder}")
    if arguments.table:
        print(table(written))


if __name__ == "__main__":
    main()
