"""What SHAN's score has beside the arrays of images and captions, and the file of a bundle that holds it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from shan_engine.base.errors import BundleError

if TYPE_CHECKING:
    from shan_engine.bundle.contents import Bundle

REGIONS, MASK = "image_regions", "region_mask"
"""SHAN's arrays of an image in a gallery: K x D of length 1, and K (bool), true where a region is real."""

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


def load_constants(bundle: Bundle) -> ShanConstants | None:
    """A bundle's constants; None where its model is not SHAN's. Raises BundleError where they are damaged."""
    if KERNEL_CONSTANTS not in bundle.manifest.files:
        return None
    path = bundle.path / KERNEL_CONSTANTS
    try:
        with np.load(path, allow_pickle=False) as held:
            arrays = {name: held[name] for name in held.files}
        numbers = {name: array.item() for name, array in arrays.items() if array.ndim == 0}
        return ShanConstants(**{**arrays, **numbers})
    except (OSError, ValueError, TypeError) as error:
        raise BundleError(f"{path} is not what the kernel reads ({error}): export the bundle again") from error
