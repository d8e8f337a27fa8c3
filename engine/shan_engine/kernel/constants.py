"""What SHAN's score has beside the arrays of images and captions, and the file of a bundle that holds it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from shan_engine.base.errors import BundleError
from shan_engine.base.packing import read_npz

if TYPE_CHECKING:
    from shan_engine.bundle.contents import Bundle

REGIONS, MASK = "image_regions", "region_mask"
"""SHAN's arrays of an image in a gallery: K x D of length 1, and K (bool), true where a region is real."""

CAPTION_TERMS = ("caption_words", "caption_queries", "caption_gate_term", "caption_attended_gate_term")
"""And of a caption, beside `word_mask`, each C x n x D; step 1 reads the first two."""

MAX_STEPS = 3
_MOST_BYTES = 2**30
_AXES = {"image_pool": 1, "text_pool": 1, "image_gate": 2, "image_gate_bias": 1, "image_attended_gate": 2}

KERNEL_CONSTANTS = "kernel.npz"
"""The file of a bundle with the constants; only bundles of SHAN have one."""


@dataclass(frozen=True)
class ShanConstants:
    """A model's pools, weights and temperature.

    `image_pool` and `text_pool` are D floats (None for step 1 alone). `region_weight` and `word_weight` are a and b of
    the direction; `steps` is how many of L2L, G2L and G2G count. A GPU makes gate terms of regions V (K x D) itself:
    V `image_gate`^T + `image_gate_bias`, and V `image_attended_gate`^T. Bundles for step 1 alone lack the three, and
    so do early bundles.
    """

    image_pool: NDArray[np.float32] | None
    text_pool: NDArray[np.float32] | None
    temperature: float
    region_weight: float
    word_weight: float
    steps: int
    image_gate: NDArray[np.float32] | None = None
    image_gate_bias: NDArray[np.float32] | None = None
    image_attended_gate: NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        """Raise ValueError for what no model has. C code trusts these values."""
        if type(self.steps) is not int or not 1 <= self.steps <= MAX_STEPS:
            raise ValueError(f"steps is {self.steps}, not 1 to {MAX_STEPS}")
        for name in ("temperature", "region_weight", "word_weight"):
            value = getattr(self, name)
            if not isinstance(value, int | float) or not math.isfinite(value):
                raise ValueError(f"{name} is {value}, not a finite number")
        for name, axes in _AXES.items():
            array = getattr(self, name)
            if array is not None and not (
                isinstance(array, np.ndarray)
                and array.dtype == np.float32
                and array.ndim == axes
                and len(set(array.shape)) == 1
                and np.isfinite(array).all()
            ):
                raise ValueError(f"{name} is not {'D' if axes == 1 else 'D x D'} finite float32")

    @property
    def caption_arrays(self) -> tuple[str, ...]:
        """The arrays of a caption that all steps read."""
        return ("word_mask", *CAPTION_TERMS[: 2 if self.steps == 1 else 4])


def load_constants(bundle: Bundle) -> ShanConstants | None:
    """A bundle's constants; None where its model is not SHAN's. Raises BundleError where they are damaged."""
    if KERNEL_CONSTANTS not in bundle.manifest.files:
        return None
    path = bundle.path / KERNEL_CONSTANTS
    try:
        arrays = read_npz(path, most_bytes=_MOST_BYTES)
        numbers = {name: array.item() for name, array in arrays.items() if array.ndim == 0}
        return ShanConstants(**{**arrays, **numbers})
    except (OSError, ValueError, TypeError) as error:
        raise BundleError(f"{path} is not what the kernel reads ({error}): export the bundle again") from error
