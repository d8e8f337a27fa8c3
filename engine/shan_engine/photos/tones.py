"""Scale samples of more than 8 bits to what a viewer shows."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from shan_engine.base.errors import InputError

_RANGES = (255.0, 65535.0, 4294967295.0)
_DIMMEST = 1 / 16  # samples that use less than this share of their range would look black
_TAILS = (0.1, 99.9)  # percentiles that become black and white when samples are stretched
_SAMPLES = 4_000_000  # at most about this many samples decide the levels

Levels = tuple[float, float]
"""The samples that become black and white."""


def is_deep(image: Image.Image) -> bool:
    """Whether Pillow holds the image with more than 8 bits per sample."""
    return image.mode in ("I", "F") or image.mode.startswith("I;")


def levels_of(samples: NDArray[Any], full: float | None = None) -> Levels:
    """The levels at which a viewer shows these samples.

    Floats from 0 to 1 and integers that use their range keep it. All others are stretched, so that no photo becomes
    black or white. `full` is the largest sample that the file allows, if it is known. Raises InputError if no sample
    is a finite number.
    """
    samples = samples.reshape(-1)[:: max(1, samples.size // _SAMPLES)]
    real = samples.dtype.kind == "f"
    if real:
        samples = samples[np.isfinite(samples)]
    if not samples.size:
        raise InputError("it has no finite sample")
    least, most = float(samples.min()), float(samples.max())
    if real and least >= 0 and most <= 1:
        return 0.0, 1.0
    ranges = (full, *_RANGES) if full else _RANGES
    high = next((top for top in sorted(ranges) if most <= top), most)
    if least >= 0 and (most >= high * _DIMMEST or most == 0):
        return 0.0, high
    low, high = (float(level) for level in np.percentile(samples, _TAILS))
    return (low, high) if high > low else (least, max(most, least + 1))


def to_bytes(samples: NDArray[Any], levels: Levels) -> NDArray[np.uint8]:
    """Samples as uint8 of the same shape; those that are no number become black."""
    low, high = levels
    if (low, high) == (0.0, 65535.0) and samples.dtype == np.uint16:
        return (samples >> 8).astype(np.uint8)
    with np.errstate(all="ignore"):  # samples beyond float32
        scaled = (np.asarray(samples, np.float32) - np.float32(low)) * np.float32(255 / (high - low))
    scaled = np.clip(np.nan_to_num(scaled, nan=0.0, posinf=255.0, neginf=0.0), 0, 255)
    return np.asarray(scaled.round(), np.uint8)
