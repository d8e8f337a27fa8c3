"""Photo files: finding them below a folder and decoding them to upright RGB."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from .errors import InputError

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp"})


@dataclass(frozen=True)
class Photo:
    """A photo file: `id` is its path below the folder, with forward slashes; `stamp` changes with it."""

    id: str
    path: Path
    stamp: str


def find_photos(folder: Path) -> list[Photo]:
    """All JPEG, PNG and WebP files below `folder`, hidden ones left out, sorted by id.

    Raises InputError where there is no such folder or no photo in it.
    """
    if not folder.is_dir():
        raise InputError(f"there is no folder {folder}: give the folder that holds your photos")
    photos = sorted(_walk(folder), key=lambda photo: photo.id)
    if not photos:
        raise InputError(f"no photos in {folder}: it has no file ending in {', '.join(sorted(SUFFIXES))}")
    return photos


def _walk(folder: Path) -> Iterator[Photo]:
    for path in folder.rglob("*"):
        relative = path.relative_to(folder)
        if (
            path.suffix.lower() in SUFFIXES
            and not any(part.startswith(".") for part in relative.parts)
            and path.is_file()
        ):
            status = path.stat()
            yield Photo(relative.as_posix(), path.resolve(), f"{status.st_size}:{status.st_mtime_ns}")


def decode_photo(path: Path) -> Image.Image:
    """The photo as upright RGB, transparent parts on white. Raises InputError where it cannot be decoded."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as opened:
                image = ImageOps.exif_transpose(opened)
                if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
                    image = image.convert("RGBA")
                    white = Image.new("RGBA", image.size, "white")
                    image = Image.alpha_composite(white, image)
                elif image.mode.startswith("I;16"):
                    image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
                return image.convert("RGB")
    except (OSError, ValueError, SyntaxError, EOFError, Warning, Image.DecompressionBombError) as error:
        raise InputError(f"{path} cannot be decoded: {error}") from error


def resize(image: Image.Image, width: int, height: int) -> NDArray[np.uint8]:
    """Pixels H x W x 3, uint8, stretched to the asked size (bicubic)."""
    return np.asarray(image.resize((width, height), Image.Resampling.BICUBIC))
