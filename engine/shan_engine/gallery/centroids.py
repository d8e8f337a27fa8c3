"""Centroids of a gallery's regions: the few vectors that a large search's first pass knows every image by.

    GALLERY/centroids-<checksum>.npy   Q x D float32, rows of length 1

As PLAID has it for late interaction (Santhanam et al., CIKM 2022), each region is known by the number of its nearest
centroid, so that a query meets Q vectors and then only looks numbers up.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shan_engine.base.errors import GalleryError
from shan_engine.base.files import replacing
from shan_engine.gallery.manifest import GalleryManifest
from shan_engine.gallery.reader import Block, Gallery
from shan_engine.gallery.storage import file_checksum

CENTROIDS = 2048
TRAINED_ON = 64  # regions for each centroid
ROUNDS = 8
CODED_TOGETHER = 256  # images
REGIONS = "image_regions"
# A gallery gets centroids from this size on: below it an exhaustive search is as quick (benchmarks/large_gallery.py).
FROM_IMAGES = 4096


@dataclass(frozen=True)
class Centroids:
    """Rows of length 1, Q x D, and the checksum of their file, which stands for them."""

    vectors: NDArray[np.float32]
    checksum: str

    @classmethod
    def train(cls, regions: NDArray[np.float32], gallery: Path) -> Centroids:
        """Spherical k-means over regions R x D of length 1; written into the gallery's folder."""
        import faiss

        count = min(CENTROIDS, max(1, len(regions) // TRAINED_ON))
        means = faiss.Kmeans(regions.shape[1], count, niter=ROUNDS, spherical=True, seed=0, min_points_per_centroid=1)
        means.train(np.ascontiguousarray(regions))
        vectors = np.asarray(means.centroids, np.float32)
        with replacing(gallery / "centroids.npy") as temporary:
            np.save(temporary, vectors)
            checksum = file_checksum(temporary)
        (gallery / "centroids.npy").replace(_path(gallery, checksum))
        return cls(vectors, checksum)

    @classmethod
    def load(cls, gallery: Path, checksum: str) -> Centroids:
        """Those that a gallery's manifest names. Raises GalleryError where they are missing or damaged."""
        path = _path(gallery, checksum)
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


def add_centroids(
    gallery: Path, manifest: GalleryManifest, on_images: Callable[[int], None] = lambda done: None
) -> GalleryManifest:
    """Train centroids on a sample of a gallery's regions and write every block's codes; the manifest that has them."""
    blocks = Gallery(gallery, manifest).blocks
    centroids = Centroids.train(_sample(blocks), gallery)
    name, done, entries = f"codes-{centroids.checksum}.npy", 0, []
    for entry, block in zip(manifest.blocks, blocks, strict=True):
        parts = []
        for start in range(0, entry.images, CODED_TOGETHER):
            rows = block.unpacked(np.arange(start, min(start + CODED_TOGETHER, entry.images)))
            parts.append(centroids.codes(rows[REGIONS], rows["region_mask"]))
            done += len(parts[-1])
            on_images(done)
        path = gallery / "blocks" / entry.name / name
        with replacing(path) as temporary:
            np.save(temporary, np.concatenate(parts))
        entries.append(replace(entry, files={**entry.files, name: file_checksum(path)}))
    return replace(manifest, blocks=tuple(entries), centroids=centroids.checksum)


def copy_centroids(gallery: Path, other: Path, checksum: str) -> None:
    """Copy a gallery's centroids into another one's folder. Raises GalleryError where they are damaged."""
    Centroids.load(gallery, checksum)
    shutil.copyfile(_path(gallery, checksum), _path(other, checksum))


def _sample(blocks: Sequence[Block]) -> NDArray[np.float32]:
    """Regions of images chosen by chance, enough to train on."""
    random = np.random.default_rng(0)
    images = sum(len(block) for block in blocks)
    parts = []
    for block in blocks:
        share = min(1.0, CENTROIDS * TRAINED_ON / (images * block.files[REGIONS].shape[1]))
        rows = np.flatnonzero(random.random(len(block)) < share)
        stored = block.rows_of(rows)
        parts.append(stored[REGIONS][stored["region_mask"]])
    return np.concatenate(parts)


def _path(gallery: Path, checksum: str) -> Path:
    return gallery / f"centroids-{checksum}.npy"
