"""Load the pixels of an opened photo, as far as they go, and bring them to 8 bits without transparency."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
from PIL import Image, ImageFile

from shan_engine.base.errors import first_line
from shan_engine.photos.colour import profile_mode
from shan_engine.photos.tones import Levels, is_deep, levels_of, to_bytes

_LARGE = 32_000_000  # photos with more pixels are averaged to a smaller size while they are converted
_STRIP = 4_000_000  # pixels that are converted at a time
_DENSEST = 1000  # a damaged file of fewer bytes per pixel claims a size that it does not have
_END_OF_JPEG = b"\xff\xd9"
CLEAR = ("RGBA", "LA", "PA", "RGBa", "La")
"""Modes of Pillow with transparency."""
_UNSIGNED, _BITS, _FORMAT, _PHOTOMETRIC = 1, 258, 339, 262  # TIFF tags and the sample format of unsigned integers


class NothingDecodedError(Exception):
    """Not one pixel of a photo could be decoded."""


def load(opened: Image.Image, file_size: int) -> str:
    """Load the pixels and say what is wrong with them; empty if nothing is.

    What cannot be decoded is black, or grey in a JPEG, as in most viewers. Raises NothingDecodedError if
    that is the whole photo, or almost all of it.
    """
    if not isinstance(opened, ImageFile.ImageFile):
        return ""
    believable = opened.width * opened.height <= _DENSEST * file_size
    pretend = believable and opened.format in ("JPEG", "MPO")
    ended = _pretend_end(opened) if pretend else lambda: False
    try:
        opened.load()
        damage = "it ends early" if ended() else ""
    except Exception as error:  # Pillow raises a dozen types, depending on the format and the damage
        if opened._im is None or not believable:
            raise NothingDecodedError(first_line(error)) from error
        damage = first_line(error)
        opened.tile = []  # so that Pillow takes what is decoded for the photo
        opened.load()
    if damage and _is_plain(opened):
        raise NothingDecodedError(damage)
    return damage


def _pretend_end(opened: Any) -> Callable[[], bool]:
    """Let a JPEG that is cut off end at the cut; the answer tells whether it was."""
    read = opened.load_read
    cut: list[bool] = []

    def load_read(count: int) -> bytes:
        data: bytes = read(count)
        if not data and not cut:
            cut.append(True)
            return _END_OF_JPEG
        return data

    opened.load_read = load_read
    return lambda: bool(cut)


def _is_plain(image: Image.Image) -> bool:
    extrema = image.getextrema()
    bands = extrema if isinstance(extrema[0], tuple) else (extrema,)
    return all(least == most for least, most in bands)


def flatten(image: Image.Image, profile: bytes, least_side: int | None) -> tuple[Image.Image, bytes]:
    """The image with 8 bits per sample and transparent parts on white, and its profile.

    It is RGB if it has no profile, else in the profile's mode. With `least_side`, a large image is averaged, but no
    side falls below `least_side`.
    """
    mode, depth = profile_mode(profile), _Depth.of(image)
    shrink = 1
    if least_side is not None and image.width * image.height > _LARGE:
        shrink = max(1, min(image.size) // least_side)
    if shrink == 1:
        flat = _flat(image, mode, depth)
    else:
        width, height = -(-image.width // shrink), -(-image.height // shrink)
        rows = shrink * max(1, _STRIP // (image.width * shrink))
        strips = (
            _flat(image.crop((0, top, image.width, min(top + rows, image.height))), mode, depth).reduce(shrink)
            for top in range(0, image.height, rows)
        )
        first = next(strips)
        flat, place = Image.new(first.mode, (width, height)), 0
        for strip in chain([first], strips):
            flat.paste(strip, (0, place))
            place += strip.height
    return flat, profile if flat.mode == mode else b""


@dataclass(frozen=True)
class _Depth:
    """How samples of more than 8 bits become pixels. `clear` is the sample that is transparent."""

    levels: Levels
    unsigned: bool
    inverted: bool
    clear: int | None

    @classmethod
    def of(cls, image: Image.Image) -> _Depth | None:
        """None if the image has 8 bits per sample."""
        if not is_deep(image):
            return None
        unsigned = image.mode == "I" and image.format == "TIFF" and _tag(image, _FORMAT) in (None, _UNSIGNED)
        step = max(1, round((image.width * image.height / _STRIP) ** 0.5))
        few = image.resize((-(-image.width // step), -(-image.height // step)), Image.Resampling.NEAREST)
        samples = np.asarray(few).view(np.uint32) if unsigned else np.asarray(few)
        bits = None if image.mode == "F" else _tag(image, _BITS)
        levels = levels_of(samples, 2.0**bits - 1 if bits else None)
        clear = image.info.get("transparency")
        inverted = image.format == "TIFF" and _tag(image, _PHOTOMETRIC) == 0
        return cls(levels, unsigned, inverted, clear if isinstance(clear, int) else None)

    def flat(self, image: Image.Image) -> Image.Image:
        """A strip of the image in mode L."""
        samples = np.asarray(image)
        pixels = to_bytes(samples.view(np.uint32) if self.unsigned else samples, self.levels)
        if self.inverted:
            pixels = 255 - pixels
        return Image.fromarray(pixels if self.clear is None else np.where(samples == self.clear, np.uint8(255), pixels))


def _tag(image: Image.Image, tag: int) -> int | None:
    value = getattr(image, "tag_v2", {}).get(tag)
    return value[0] if isinstance(value, tuple) else value


def _flat(image: Image.Image, mode: str | None, depth: _Depth | None) -> Image.Image:
    """The image, or a strip of it, in RGB or in the profile's `mode`."""
    if depth is not None:
        image = depth.flat(image)
    elif image.mode in CLEAR or "transparency" in image.info:
        grey = image.mode in ("L", "LA", "La")
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        image = image.convert("L" if grey and mode == "L" else "RGB")
    if image.mode in ("LAB", mode):
        return image
    return image if image.mode == "RGB" else image.convert("RGB")
