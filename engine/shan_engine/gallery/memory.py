"""A gallery that is nowhere on disk: images encoded in this process."""

from __future__ import annotations

import hashlib
from collections.abc import Container, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shan_engine.base.packing import Arrays
from shan_engine.bundle.contents import Bundle
from shan_engine.gallery.blocks import Block
from shan_engine.gallery.manifest import BlockEntry, GalleryManifest
from shan_engine.gallery.pooled import Pooled
from shan_engine.gallery.reader import Gallery

PLACE = Path("memory")
"""What errors call such a gallery."""


class MemoryFiles:
    """What `BlockFiles` gives, from arrays N x their shape and boxes N x K x 4; nothing of it can be damaged."""

    metadata_file: Path | None = None

    def __init__(self, ids: Sequence[str], arrays: Arrays, boxes: NDArray[np.float32]) -> None:
        self._ids, self.arrays, self.boxes = list(ids), arrays, boxes

    @property
    def row_checksums(self) -> NDArray[np.uint64]:
        """Zeros: nothing was written that could be compared."""
        return np.zeros(len(self._ids), np.uint64)

    def listed(self, rows: Iterable[int]) -> Iterator[dict[str, Any]]:
        """Ids; such images have no file and no known size."""
        for row in rows:
            yield {"id": self._ids[row], "path": "", "width": 0, "height": 0, "checksum": 0}

    def rows_of(self, ids: Container[str], hashes: NDArray[np.uint64]) -> dict[str, int]:
        """Rows of those of some ids that are there."""
        return {id: row for row, id in enumerate(self._ids) if id in ids}

    def check(self, rows: NDArray[np.int64]) -> None:
        """Nothing to check."""

    def check_whole(self, names: Iterable[str]) -> None:
        """Nothing to check."""

    def release(self) -> None:
        """Nothing to give back: the arrays are the gallery."""

    @property
    def pooled(self) -> Pooled:
        """Mean regions of all images."""
        return Pooled.of(self.arrays)


class MemoryGallery(Gallery):
    """A gallery whose blocks are in memory alone."""

    def renewed(self, bundle: Bundle) -> Gallery:
        """This gallery: nothing on disk can have changed it."""
        return self


def memory_gallery(bundle: Bundle, ids: Sequence[str], arrays: Arrays, boxes: NDArray[np.float32]) -> Gallery:
    """A gallery of images encoded with a bundle; `arrays` are what its image encoder gives, float32 or bool."""
    entry = BlockEntry(_name(ids, arrays), len(ids))
    shapes = {name: array.shape[1:] for name, array in arrays.items()}
    manifest = GalleryManifest(
        bundle.manifest.fingerprint, bundle.manifest.feature_extractor or "", "float32", shapes, (entry,)
    )
    return MemoryGallery(PLACE, manifest, [Block(entry, MemoryFiles(ids, arrays, boxes), PLACE.parent)])


def _name(ids: Sequence[str], arrays: Arrays) -> str:
    """A block's name that stands for its content, as a job's identity needs: 12 hexadecimal characters."""
    digest = hashlib.sha256("\0".join(ids).encode("utf-8", "surrogateescape"))
    for name in sorted(arrays):
        digest.update(name.encode() + np.ascontiguousarray(arrays[name]).tobytes())
    return digest.hexdigest()[:12]
