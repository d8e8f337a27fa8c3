"""Centroids of a gallery's regions: the few vectors that a large search's first pass knows every image by.

    GALLERY/centroids-<checksum>.npy   Q x D float32, rows of length 1

As PLAID has it for late interaction (Santhanam et al., CIKM 2022), each region is known by the number of its nearest
centroid, so that a query meets Q vectors and then only looks numbers up.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shan_engine.base.errors import GalleryError
from shan_engine.gallery.storage import file_checksum

CENTROIDS = 2048
# A gallery gets centroids from this size on: below it an exhaustive search is as quick (benchmarks/large_gallery.py).
FROM_IMAGES = 4096


@dataclass(frozen=True)
class Centroids:
    """Rows of length 1, Q x D, and the checksum of their file, which stands for them."""

    vectors: NDArray[np.float32]
    checksum: str

    @classmethod
    def load(cls, gallery: Path, checksum: str) -> Centroids:
        """Those that a gallery's manifest names. Raises GalleryError where they are missing or damaged."""
        path = centroids_path(gallery, checksum)
        try:
            if file_checksum(path) == checksum:
                return cls(np.load(path, allow_pickle=False), checksum)
        except (OSError, ValueError) as error:
            raise GalleryError(f"{path} cannot be read: search with --exhaustive, or index the store anew") from error
        raise GalleryError(f"{path} is damaged: search with --exhaustive, or index the store anew")

    def codes(self, regions: NDArray[np.float32], region_mask: NDArray[np.bool_]) -> NDArray[np.uint16]:
        """The nearest centroid's number of every region, B x K: first those of an image's real regions, then 0."""
        nearest = (regions.reshape(-1, regions.shape[2]) @ self.vectors.T).argmax(axis=1).reshape(region_mask.shape)
        order = np.argsort(~region_mask, axis=1, kind="stable")
        codes = np.take_along_axis(np.where(region_mask, nearest, 0), order, axis=1)
        return codes.astype(np.uint16)


def centroids_path(gallery: Path, checksum: str) -> Path:
    """The file of the centroids with this checksum."""
    return gallery / f"centroids-{checksum}.npy"
