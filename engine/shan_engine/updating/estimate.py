"""How long the first update of a collection takes, and how much space, measured on a few of its photos."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from shan_engine.base.errors import InputError
from shan_engine.bundle.contents import Bundle
from shan_engine.photos.decode import read_scaled
from shan_engine.photos.extractor import FeatureExtractor
from shan_engine.photos.find import Photo

MEASURED = 4
_OF_GALLERY = 1.15  # a gallery takes this share of its store more


@dataclass(frozen=True)
class Estimate:
    """Seconds and bytes on disk for all photos."""

    seconds: float
    bytes: int


def estimated(photos: Sequence[Photo], extractor: FeatureExtractor, itemsize: int, bundle: Bundle) -> Estimate | None:
    """What extracting and storing numbers of `itemsize` bytes takes for these photos; the gallery keeps the bundle.

    A few photos spread over all of them are extracted for it. None where none of those can be read.
    """
    seconds, sizes = [], []
    for photo in photos[:: max(1, len(photos) // (MEASURED + 1))][: MEASURED + 1]:
        began = time.monotonic()
        try:
            recipe = extractor.recipe
            pixels = read_scaled(photo.path, recipe.width, recipe.height, fit=recipe.fit).pixels
            (regions,) = extractor(pixels[np.newaxis])
        except InputError:
            continue
        seconds.append(time.monotonic() - began)
        sizes.append(regions.features.size * itemsize)
    if not seconds:
        return None
    later = seconds[1:] or seconds  # the first one warms up
    copied = sum((bundle.path / name).stat().st_size for name in bundle.manifest.files)
    mean = sum(sizes) / len(sizes) * _OF_GALLERY
    return Estimate(sum(later) / len(later) * len(photos), round(mean * len(photos)) + copied)
