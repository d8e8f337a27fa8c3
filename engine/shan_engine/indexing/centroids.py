"""Train and write the centroids of a gallery's regions during indexing."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from shan_engine.base.files import replacing
from shan_engine.gallery.blocks import Block
from shan_engine.gallery.centroids import CENTROIDS, Centroids, centroids_path
from shan_engine.gallery.manifest import GalleryManifest
from shan_engine.gallery.reader import Gallery
from shan_engine.gallery.storage import file_checksum
from shan_engine.kernel.constants import REGIONS

TRAINED_ON = 64  # training regions per centroid
ROUNDS = 8
CODED_TOGETHER = 256  # images


def train_centroids(regions: NDArray[np.float32], gallery: Path) -> Centroids:
    """Run spherical k-means over regions R x D of length 1, and write the centroids into the gallery's folder."""
    import faiss

    count = min(CENTROIDS, max(1, len(regions) // TRAINED_ON))
    means = faiss.Kmeans(regions.shape[1], count, niter=ROUNDS, spherical=True, seed=0, min_points_per_centroid=1)
    means.train(np.ascontiguousarray(regions))
    vectors = np.asarray(means.centroids, np.float32)
    with replacing(gallery / "centroids.npy") as temporary:
        np.save(temporary, vectors)
        checksum = file_checksum(temporary)
    (gallery / "centroids.npy").replace(centroids_path(gallery, checksum))
    return Centroids(vectors, checksum)


def add_centroids(
    gallery: Path, manifest: GalleryManifest, on_images: Callable[[int], None] = lambda done: None
) -> GalleryManifest:
    """Train centroids on a sample of a gallery's regions, write every block's codes, and return the new manifest."""
    blocks = Gallery(gallery, manifest).blocks
    centroids = train_centroids(_sample(blocks), gallery)
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
    """Copy a gallery's centroids into another's folder. Raises GalleryError if they are damaged."""
    Centroids.load(gallery, checksum)
    shutil.copyfile(centroids_path(gallery, checksum), centroids_path(other, checksum))


def _sample(blocks: Sequence[Block]) -> NDArray[np.float32]:
    """Regions of randomly chosen images, enough to train on."""
    random = np.random.default_rng(0)
    images = sum(len(block) for block in blocks)
    parts = []
    for block in blocks:
        share = min(1.0, CENTROIDS * TRAINED_ON / (images * block.files[REGIONS].shape[1]))
        rows = np.flatnonzero(random.random(len(block)) < share)
        stored = block.rows_of(rows)
        parts.append(stored[REGIONS][stored["region_mask"]])
    return np.concatenate(parts)
