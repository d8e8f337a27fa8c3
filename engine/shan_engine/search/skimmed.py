"""What the first pass of a search in stages reads of all images of a gallery: mapped, checked, and kept."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor, Future
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from shan_engine.base.packing import Arrays
from shan_engine.gallery.blocks import Block
from shan_engine.gallery.pooled import Pooled
from shan_engine.gallery.reader import Gallery
from shan_engine.gallery.storage import BANK_HUBNESS, HUBNESS
from shan_engine.kernel.pieces import Pieces
from shan_engine.parts.whole_gallery import GalleryParts

_Read = tuple[Pooled, Arrays, NDArray[np.float32]]


class Skimmed:
    """Mean regions, hubness, and what `parts` read of a gallery's images, by the threads of `pool`.

    Checksums take a while, so a caller may `begin` early. Whoever then asks for what was read hears what is wrong with
    it, and reads it anew the next time.
    """

    def __init__(self, gallery: Gallery, parts: GalleryParts, pool: Executor) -> None:
        self._gallery, self._parts, self._pool = gallery, parts, pool
        self._turn = Lock()
        self._begun: Sequence[Future[_Read]] = ()
        self._kept: tuple[Pieces, Pieces, NDArray[np.float32]] | None = None

    def begin(self) -> None:
        """Begin to read, in other threads."""
        with self._turn:
            self._begin()

    def _begin(self) -> None:
        if self._kept is None and not self._begun:
            self._begun = [self._pool.submit(self._of, block) for block in self._gallery.blocks]

    def _of(self, block: Block) -> _Read:
        pooled = block.pooled.at(block.rows) if block.entry.deleted else block.pooled
        return pooled, self._parts.of(block), hubness_of(self._gallery, block)

    def read(self) -> tuple[Pieces, Pieces, NDArray[np.float32]]:
        """Mean regions, their scales, and hubness N; `parts` then has its own. Raises GalleryError for what is damaged.

        Several threads may ask at once; the first one waits for what was begun.
        """
        with self._turn:
            if self._kept is None:
                self._begin()
                begun, self._begun = self._begun, ()
                pooled, parts, hubness = zip(*[one.result() for one in begun], strict=True)
                self._parts.take(parts)
                vectors, scales = [one.vectors for one in pooled], [one.scales for one in pooled]
                self._kept = Pieces(vectors), Pieces(scales), np.concatenate(hubness)
            return self._kept


def hubness_of(gallery: Gallery, block: Block) -> NDArray[np.float32]:
    """Hubness of the images of a gallery's block; 0 if the gallery is not normalised."""
    if HUBNESS not in gallery.manifest.arrays:
        return np.zeros(len(block), np.float32)
    block.check_whole([BANK_HUBNESS])  # of which a bundle's own hubness is made
    found: NDArray[np.float32] = block.whole(HUBNESS)
    return found
