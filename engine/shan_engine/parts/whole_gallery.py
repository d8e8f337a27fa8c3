"""The parts of all photos of a gallery. What the parts read of photos stays mapped, or is read once and kept."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from shan_engine.base.packing import Arrays
from shan_engine.gallery.blocks import Block
from shan_engine.gallery.reader import Gallery
from shan_engine.kernel.pieces import Pieces
from shan_engine.kernel.shan import Kernel
from shan_engine.parts.part import Named, Parts


class GalleryParts:
    """A bundle's parts over a gallery.

    Arrays are checked as wholes where the gallery has their checksums, as older ones have not; photos are checked by
    whoever returns them.
    """

    def __init__(self, parts: Parts, gallery: Gallery) -> None:
        self._parts, self._gallery = parts, gallery

    @cached_property
    def pieces(self) -> dict[str, Pieces]:
        """What the parts read of all photos, by name."""
        return _in_pieces([self.of(block) for block in self._gallery.blocks])

    def take(self, read: Sequence[Arrays]) -> None:
        """Keep what the caller has read of all blocks with `of`."""
        self.pieces = _in_pieces(read)

    def of(self, block: Block) -> Arrays:
        """What the parts read of the photos of a block, checked as a whole."""
        read = self._parts.read(block, block.rows)
        block.check_whole(read)
        return read

    @cached_property
    def _joined(self) -> Arrays:
        return {name: np.concatenate(pieces.arrays) for name, pieces in self.pieces.items()}

    def totals(
        self, captions: Named, count: int, places: slice | NDArray[np.int64] = slice(None)
    ) -> NDArray[np.float32]:
        """Sums N x C of the weighted parts of the photos at some places (all by default) with C = `count` captions."""
        if isinstance(places, slice):
            images, photos = self._joined, len(range(len(self._gallery))[places])
            return self._parts.totals({name: held[places] for name, held in images.items()}, captions, (photos, count))
        chosen = {name: pieces.at(places) for name, pieces in self.pieces.items()}
        return self._parts.totals(chosen, captions, (len(places), count))

    def estimates(self, captions: Named, shape: tuple[int, int], kernel: Kernel, run: slice) -> NDArray[np.float32]:
        """As `totals`, but for rounding, of the photos of some pieces, `shape` B x C."""
        return self._parts.estimates({n: held.run(run) for n, held in self.pieces.items()}, captions, shape, kernel)


def _in_pieces(read: Sequence[Arrays]) -> dict[str, Pieces]:
    names = [name for name in read[0] if all(name in one for one in read)] if read else []
    return {name: Pieces([one[name] for one in read]) for name in names}
