"""The parts of all photos of a gallery. What the parts read of photos is read once and kept."""

from __future__ import annotations

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from shan_engine.base.packing import Arrays
from shan_engine.gallery.reader import Gallery
from shan_engine.parts.part import Named, Parts


class GalleryParts:
    """A bundle's parts over a gallery. Photos' bytes are not checked: whoever returns a photo checks it."""

    def __init__(self, parts: Parts, gallery: Gallery) -> None:
        self._parts, self._gallery = parts, gallery

    @cached_property
    def _images(self) -> Arrays:
        blocks = [self._parts.read(block, block.rows) for block in self._gallery.blocks]
        return {name: np.concatenate([one[name] for one in blocks]) for name in blocks[0]} if blocks else {}

    def totals(self, captions: Named, count: int, places: slice = slice(None)) -> NDArray[np.float32]:
        """Sums N x C of the weighted parts of the photos at some places (all by default) with C = `count` captions."""
        images = {name: array[places] for name, array in self._images.items()}
        return self._parts.totals(images, captions, (len(range(len(self._gallery))[places]), count))
