"""One vector per photo, for other indexes: the mean of its regions."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from shan_engine.base.errors import InputError
from shan_engine.gallery.reader import Gallery
from shan_engine.kernel.constants import MASK, REGIONS

BATCH = 1024  # photos


def mean_region_vectors(gallery: Gallery) -> NDArray[np.float32]:
    """The mean of each photo's regions, divided by its length, N x D in the gallery's order.

    Raises InputError if the model stores no regions, GalleryError for a damaged photo.
    """
    if REGIONS not in gallery.manifest.arrays:
        raise InputError("this model stores no regions: score its photos with `score`")
    parts = []
    for block in gallery.blocks:
        for _, images in block.batches(BATCH):
            parts.append(unit_means(images[REGIONS], images[MASK]))
        block.release()
    return np.concatenate(parts) if parts else np.zeros((0, 1), np.float32)


def unit_means(regions: NDArray[np.float32], mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """The means of regions B x K x D where mask B x K is true, divided by their lengths: B x D."""
    means = (regions * mask[..., None]).sum(axis=1) / mask.sum(axis=1, keepdims=True)
    lengths = np.linalg.norm(means, axis=1, keepdims=True)
    return np.asarray(means / np.maximum(lengths, 1e-8), np.float32)
