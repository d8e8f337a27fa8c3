"""Photo files: finding them below a folder and decoding them to upright RGB."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xxhash
from numpy.typing import NDArray
from PIL import ExifTags, Image, UnidentifiedImageError

from shan_engine.base.errors import InputError, first_line

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".tif", ".tiff", ".webp"})
UNREAD = frozenset(
    {".arw", ".avif", ".bmp", ".cr2", ".cr3", ".dng", ".gif", ".heic", ".heif", ".jp2"}
    | {".jxl", ".nef", ".orf", ".raf", ".raw", ".rw2"}
)
"""Endings of photos that are not read."""
MAX_PIXELS = 300_000_000
"""Photos with more are refused before they are decoded; one of this size takes 1.2 GB while it is."""
_LEAST_SHRINK = 4

# Pillow takes 89 megapixels for an attack, but archives hold such scans. Its own limit, which is the process's,
# is raised here once: to change it around each photo would race, as photos are decoded in several threads.
# So are its warnings left out: of large photos, and of broken EXIF, which does a photo no harm.
if Image.MAX_IMAGE_PIXELS is not None:
    Image.MAX_IMAGE_PIXELS = max(Image.MAX_IMAGE_PIXELS, MAX_PIXELS)
warnings.filterwarnings("ignore", module=r"PIL\.")

# EXIF's orientations, as turns that put a photo upright.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIDEWAYS = frozenset(_TURNS[orientation] for orientation in (5, 6, 7, 8))


@dataclass(frozen=True)
class Photo:
    """A photo file: `id` is its path below the folder, with forward slashes; `stamp` changes with it."""

    id: str
    path: Path
    stamp: str


@dataclass(frozen=True)
class FoundPhotos:
    """The photos below a folder, sorted by id, and how many others are passed over, by ending, most first.

    `unreadable` is a sentence for each folder and photo that cannot be looked at.
    """

    photos: list[Photo]
    passed_over: dict[str, int]
    unreadable: tuple[str, ...] = ()


Part = tuple[float, float, float, float]
"""A part of a photo: x0, y0, x1, y1, relative to the whole."""
WHOLE: Part = (0.0, 0.0, 1.0, 1.0)
CROP_SIDES = (0.7, 0.92)


@dataclass(frozen=True)
class ScaledPhoto:
    """A decoded photo, or a `part` of it: `pixels` height x width x 3 (uint8) as asked for.

    `size` (width, height) is that of the whole photo.
    """

    pixels: NDArray[np.uint8]
    size: tuple[int, int]
    part: Part = WHOLE


def crop_of(id: str, number: int) -> Part:
    """A part of photo `id` for training: 0.7 to 0.92 of its sides, chosen by chance, another for each number."""
    random = np.random.default_rng(xxhash.xxh3_64_intdigest(f"{number}:{id}".encode("utf-8", "surrogateescape")))
    side = random.uniform(*CROP_SIDES)
    x, y = random.uniform(0, 1 - side, 2)
    return x, y, x + side, y + side


def _files(folder: Path, on_error: Callable[[OSError], None]) -> Iterator[Path]:
    """Everything below `folder`, hidden files and folders left out."""
    for parent, folders, names in os.walk(folder, onerror=on_error):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(parent, name) for name in names if not name.startswith("."))


def decode_photo(path: Path) -> Image.Image:
    """The photo as upright RGB, transparent parts on white.

    Raises InputError where it cannot be decoded, is gone or has more than MAX_PIXELS.
    """
    return _decode(path)[0]


def read_scaled(path: Path, width: int, height: int, part: Part = WHOLE) -> ScaledPhoto:
    """A part of the upright photo stretched to `width` x `height`.

    A JPEG is decoded at 1/2, 1/4 or 1/8 of its size where both sides stay 4 times those asked for: several
    times faster, and pixels differ by a level or two. Raises InputError as `decode_photo` does.
    """
    image, size = _decode(path, least_side=_LEAST_SHRINK * max(width, height))
    if part != WHOLE:
        left, top, right, bottom = (round(edge * side) for edge, side in zip(part, image.size * 2, strict=True))
        image = image.crop((left, top, right, bottom))
    return ScaledPhoto(resize(image, width, height), size, part)


def _decode(path: Path, least_side: int | None = None) -> tuple[Image.Image, tuple[int, int]]:
    """The upright photo, a JPEG maybe at a fraction of its size but no side below `least_side`; the whole's size."""
    try:
        with Image.open(path) as opened:
            width, height = opened.size
            if width * height > MAX_PIXELS:
                raise InputError(f"{path} has {width} x {height} pixels, {_TOO_LARGE}")
            if least_side is not None:
                opened.draft(None, (least_side, least_side))  # does nothing to other formats and smaller photos
            opened.load()
            if opened.format == "TIFF":  # Pillow has turned it
                width, height = opened.size
            turn = _turn(opened)
            image = _as_rgb(opened if turn is None else opened.transpose(turn))
            return image, (height, width) if turn in _SIDEWAYS else (width, height)
    except InputError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise InputError(f"{path} is {_TOO_LARGE}") from error
    except FileNotFoundError as error:
        raise InputError(f"{path} cannot be decoded: it was deleted or moved meanwhile") from error
    except UnidentifiedImageError as error:
        raise InputError(f"{path} cannot be decoded: it is damaged or no photo at all") from error
    except Exception as error:  # by format and damage, Pillow raises a dozen types
        raise InputError(f"{path} cannot be decoded: {first_line(error)}") from error


_TOO_LARGE = f"more than {MAX_PIXELS // 10**6} megapixels: save a smaller copy in its place"


def _turn(image: Image.Image) -> Image.Transpose | None:
    """What puts a loaded photo upright; None too where its EXIF is broken, as some cameras and editors write it."""
    try:
        return _TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # struct.error, AttributeError, TypeError, ZeroDivisionError, …
        return None


def _as_rgb(image: Image.Image) -> Image.Image:
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    elif image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    return image if image.mode == "RGB" else image.convert("RGB")


def resize(image: Image.Image, width: int, height: int) -> NDArray[np.uint8]:
    """Pixels H x W x 3, uint8, stretched to the asked size (bicubic)."""
    return np.asarray(image.resize((width, height), Image.Resampling.BICUBIC))
