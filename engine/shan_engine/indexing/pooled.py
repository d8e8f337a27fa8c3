"""Write the mean regions of blocks that have none: of a gallery that grew, or that an earlier version made."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from msgspec.structs import replace

from shan_engine.base.files import replacing
from shan_engine.gallery.blocks import Block
from shan_engine.gallery.manifest import BlockEntry, GalleryManifest
from shan_engine.gallery.pooled import POOLED_FILES, has_pooled
from shan_engine.gallery.reader import Gallery
from shan_engine.gallery.storage import file_checksum

CENTROIDS, CODES = "centroids-", "codes-"
"""What files of an earlier version's first pass begin with: those of the gallery, and those of its blocks."""


def add_pooled(
    gallery: Path, manifest: GalleryManifest, on_images: Callable[[int], None] = lambda done: None
) -> GalleryManifest:
    """Write the files that blocks lack, and return the new manifest. Raises OSError where a write fails.

    It names no files of an earlier version's first pass any more.
    """
    entries, done = [], 0
    for entry, block in zip(manifest.blocks, Gallery(gallery, manifest).blocks, strict=True):
        files = {name: checksum for name, checksum in entry.files.items() if not name.startswith(CODES)}
        if not has_pooled(entry.files):
            files |= _written(gallery / "blocks" / entry.name, block, entry)
            done += entry.images
            on_images(done)
        entries.append(replace(entry, files=files))
    return replace(manifest, blocks=tuple(entries), centroids="")


def _written(folder: Path, block: Block, entry: BlockEntry) -> dict[str, str]:
    """Write a block's files and return their checksums by name."""
    block.check(np.arange(entry.images))
    found = {}
    for name, array in zip(POOLED_FILES, block.pooled.files.values(), strict=True):
        with replacing(folder / name) as temporary:
            np.save(temporary, array)
        found[name] = file_checksum(folder / name)
    block.release()
    return found


def remove_earlier(gallery: Path, manifest: GalleryManifest) -> None:
    """Delete the files of an earlier version's first pass where the manifest does not name them."""
    if not manifest.centroids:
        for file in (*gallery.glob(f"{CENTROIDS}*.npy"), *gallery.glob(f"blocks/*/{CODES}*.npy")):
            file.unlink(missing_ok=True)
