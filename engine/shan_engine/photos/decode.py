"""Decode a photo file to upright sRGB pixels."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, UnidentifiedImageError

from shan_engine.base.errors import InputError, first_line
from shan_engine.photos.colour import to_srgb
from shan_engine.photos.facts.embedded import Embedded, embedded_facts, raw_facts
from shan_engine.photos.fit import STRETCHED, Fit, Part, fitted
from shan_engine.photos.formats import RAW
from shan_engine.photos.loading import CLEAR, NothingDecodedError, flatten, load
from shan_engine.photos.memory import MemoryBudget, decoding_memory
from shan_engine.photos.opening import open_photo, open_tiff

MAX_PIXELS = 300_000_000
"""Photos with more pixels are refused before they are decoded. Decoding one of this size takes 1.2 GB."""
_LEAST_SHRINK = 4  # a JPEG is decoded at no less than this many times the size asked for

# Pillow treats an image of over 89 megapixels as an attack, but archives hold such scans. Its limit belongs to the
# whole process. It is raised here once, because several threads decode photos and changing it for each would race.
# For the same reason Pillow's warnings are silenced here: of large photos, and of broken EXIF, which is harmless.
if Image.MAX_IMAGE_PIXELS is not None:
    Image.MAX_IMAGE_PIXELS = max(Image.MAX_IMAGE_PIXELS, MAX_PIXELS)
warnings.filterwarnings("ignore", module=r"PIL\.")

# For each EXIF orientation, the transposition that puts the photo upright.
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

WHOLE: Part = (0.0, 0.0, 1.0, 1.0)


@dataclass(frozen=True)
class ScaledPhoto:
    """A decoded photo, or a `part` of it, scaled to the size asked for.

    `pixels` is height x width x 3, uint8. `size` is the width and height of the whole photo in pixels. `embedded` is
    what the file says about the photo. `damage` is a sentence if the photo could be read only in part.
    """

    pixels: NDArray[np.uint8]
    size: tuple[int, int]
    part: Part = WHOLE
    embedded: Embedded = field(default_factory=Embedded)
    damage: str = ""

    def in_pixels(self, boxes: NDArray[np.float32]) -> NDArray[np.float64]:
        """Boxes K x 4 in pixels of the whole photo, from those relative to the part."""
        x0, y0, x1, y1 = self.part
        relative = np.array([x0, y0] * 2) + boxes * np.array([x1 - x0, y1 - y0] * 2)
        return np.asarray(relative * np.array(self.size * 2, np.float32), np.float64)


def decode_photo(path: Path, *, strict: bool = False) -> Image.Image:
    """Decode a photo to upright sRGB, with transparent parts on white.

    A damaged photo is read as far as it goes, unless `strict`. Raises InputError if the photo cannot be decoded, no
    longer exists, or has more than MAX_PIXELS pixels.
    """
    with upright(path) as decoded:
        if strict and decoded.damage:
            raise InputError(decoded.damage)
        return to_srgb(decoded.image, decoded.profile)


def thumbnail(path: Path, side: int) -> Image.Image:
    """The upright photo in sRGB, scaled down so that neither side is longer than `side` pixels.

    It takes the time and memory of `read_scaled`. Raises InputError as `decode_photo` does.
    """
    with upright(path, least_side=side) as decoded:
        image = decoded.image
        image.thumbnail((side, side), Image.Resampling.BICUBIC, reducing_gap=2.0)
        return to_srgb(image, decoded.profile)


def refuse_untrusted(path: Path, most_pixels: int) -> None:
    """Raise InputError unless a file without a suffix is a photo of a common format with at most `most_pixels`.

    Nothing but its header is decoded. A suffix would choose the reader, so that whoever sends a photo would choose it.
    """
    try:
        with open_photo(path, most_pixels) as opened:
            kind, (width, height) = opened.format, opened.size
    except InputError:
        raise
    except Exception as error:  # Pillow raises a dozen types, depending on the format and the damage
        raise InputError("this is not a photo that can be read: send a JPEG, PNG or WebP") from error
    if kind not in _COMMON:
        raise InputError(f"a photo of the format {kind} is not accepted: send a JPEG, PNG or WebP")
    if width * height > most_pixels:
        raise InputError(
            f"the photo has {width} x {height} pixels, more than {most_pixels // 10**6} megapixels: send a smaller copy"
        )


_COMMON = frozenset({"AVIF", "BMP", "GIF", "HEIF", "JPEG", "MPO", "PNG", "TIFF", "WEBP"})


def read_scaled(path: Path, width: int, height: int, part: Part = WHOLE, fit: Fit = STRETCHED) -> ScaledPhoto:
    """Decode a part of the upright photo and make `width` x `height` pixels of it, by default by stretching it.

    Unless `fit` is exact, a JPEG is decoded at 1/2, 1/4 or 1/8 of its size if both sides stay at least 4 times those
    asked for. This is several times faster, and pixels differ by one or two levels. Other photos of over 32 megapixels
    are averaged to such a size, so that they need less memory. Raises InputError as `decode_photo` does.
    """
    (scaled,) = read_parts(path, width, height, [part], fit=fit)
    return scaled


def read_parts(
    path: Path, width: int, height: int, parts: Sequence[Part], *, fit: Fit = STRETCHED
) -> list[ScaledPhoto]:
    """`read_scaled` of several parts of a photo, which is decoded once. A cut makes a part smaller."""
    found = []
    with upright(path, least_side=None if fit.exact else _LEAST_SHRINK * max(width, height)) as decoded:
        for part in parts:
            image = decoded.image
            if part != WHOLE:
                left, top, right, bottom = (round(edge * side) for edge, side in zip(part, image.size * 2, strict=True))
                image = image.crop((left, top, right, bottom))
            # The colours of few pixels are converted faster, so this comes last.
            if fit == STRETCHED:
                pixels = resize(image, width, height, decoded.profile)
            else:
                image, part = fitted(image, width, height, part, fit)
                pixels = np.asarray(to_srgb(image, decoded.profile))
            found.append(ScaledPhoto(pixels, decoded.size, part, decoded.embedded, decoded.damage))
    return found


@dataclass(frozen=True)
class DecodedPhoto:
    """An upright image in the colours of `profile`, or RGB; the size of the whole photo; what it says; its damage."""

    image: Image.Image
    profile: bytes
    size: tuple[int, int]
    embedded: Embedded
    damage: str

    def pixels(self, part: Part = WHOLE, scale: float = 1.0) -> NDArray[np.uint8]:
        """Pixels H x W x 3 of a part in sRGB, at `scale` times the size of the image."""
        x1, y1, x2, y2 = (edge * side for edge, side in zip(part, self.image.size * 2, strict=True))
        size = max(1, round(scale * (x2 - x1))), max(1, round(scale * (y2 - y1)))
        image = self.image.resize(size, Image.Resampling.BICUBIC, (x1, y1, x2, y2), reducing_gap=2.0)
        return np.asarray(to_srgb(image, self.profile))


@contextmanager
def upright(path: Path, least_side: int | None = None) -> Iterator[DecodedPhoto]:
    """A decoded photo, which holds its share of the memory for photos while the `with` block runs.

    With `least_side`, it may be decoded at a fraction of its size, but no side falls below `least_side`. Raises
    InputError as `decode_photo` does.
    """
    with ExitStack() as memory:
        yield _decode(path, least_side, memory)


def _decode(path: Path, least_side: int | None, memory: ExitStack) -> DecodedPhoto:
    try:
        try:
            opened = open_photo(path, MAX_PIXELS)
            return _decode_opened(path, opened, least_side, memory)
        except NothingDecodedError:
            if opened.format != "TIFF":
                raise
            memory.close()
            return _decode_opened(path, open_tiff(path, MAX_PIXELS), least_side, memory)
    except InputError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise InputError(f"{path} is {_TOO_LARGE}") from error
    except FileNotFoundError as error:
        raise InputError(f"{path} cannot be decoded: it was deleted or moved during the run") from error
    except UnidentifiedImageError as error:
        raise InputError(f"{path} cannot be decoded: it is damaged or not a photo") from error
    except Exception as error:  # Pillow raises a dozen types, depending on the format and the damage
        raise InputError(f"{path} cannot be decoded: {first_line(error)}") from error


def _decode_opened(path: Path, opened: Image.Image, least_side: int | None, memory: ExitStack) -> DecodedPhoto:
    with opened:
        width, height = opened.size
        if width * height > MAX_PIXELS:
            raise InputError(f"{path} has {width} x {height} pixels, {_TOO_LARGE}")
        if least_side is not None:
            opened.draft(None, (least_side, least_side))  # no effect on other formats and on smaller photos
        memory.enter_context(_BUDGET.held(_cost(opened, width * height)))
        # Pillow reads a TIFF's metadata only before its pixels, a PNG's may follow them.
        raw = path.suffix.lower() in RAW
        embedded = Embedded() if raw or opened.format == "PNG" else embedded_facts(opened)
        profile = opened.info.get("icc_profile") or b""
        damage = load(opened, path.stat().st_size)
        if opened.format == "PNG":
            embedded = embedded_facts(opened)
        if raw:
            embedded = raw_facts(path, opened)
        if opened.format == "TIFF":  # Pillow has already put it upright
            width, height = opened.size
        turn = _turn(opened)
        image, profile = flatten(opened, profile, least_side)
        if turn is not None:
            image = image.transpose(turn)
        if image is not opened:
            opened.close()  # its pixels go before another photo gets the memory
    size = (height, width) if turn in _SIDEWAYS else (width, height)
    return DecodedPhoto(image, profile, size, embedded, damage and f"{path} is damaged: {damage}")


def _cost(opened: Image.Image, pixels: int) -> int:
    """About how many bytes it takes to decode an opened photo; `pixels` are those of the whole photo."""
    decoded = opened.width * opened.height
    if opened.info.get("progressive"):  # libjpeg holds all coefficients, whatever the size it decodes to
        return 8 * decoded + 6 * pixels
    clear = opened.mode in CLEAR or "transparency" in opened.info
    return decoded * (16 if clear or opened.format in _GREEDY else 8)


_GREEDY = ("WEBP", "AVIF", "HEIF", "JPEG2000")
_BUDGET = MemoryBudget(decoding_memory(4 * MAX_PIXELS))
_TOO_LARGE = f"more than {MAX_PIXELS // 10**6} megapixels: replace it with a smaller copy"


def _turn(image: Image.Image) -> Image.Transpose | None:
    """What puts a loaded photo upright; None if nothing is needed or its EXIF is broken, as some cameras write it."""
    try:
        return _TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # struct.error, AttributeError, TypeError, ZeroDivisionError, …
        return None


def resize(image: Image.Image, width: int, height: int, profile: bytes = b"") -> NDArray[np.uint8]:
    """Pixels height x width x 3, uint8, of an image stretched to that size (bicubic), in sRGB."""
    return np.asarray(to_srgb(image.resize((width, height), Image.Resampling.BICUBIC), profile))
