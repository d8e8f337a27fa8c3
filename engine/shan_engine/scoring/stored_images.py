"""A gallery on disk, block by block, as the torch back end reads it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from shan_engine.base.packing import SCALES
from shan_engine.gallery.storage import HUBNESS
from shan_engine.kernel.constants import MASK, REGIONS

if TYPE_CHECKING:
    from shan_engine.gallery.blocks import Block
    from shan_engine.gallery.reader import Gallery


class StoredImages:
    """A gallery's images as `backends.interface.Images`: unconverted, checked, and never across a block's end."""

    def __init__(self, gallery: Gallery) -> None:
        self._gallery = gallery
        self._open: Block | None = None

    @property
    def regions(self) -> int:
        """Regions K per image."""
        return self._gallery.manifest.arrays[REGIONS][0]

    @property
    def dim(self) -> int:
        """Dimension D of a region."""
        return self._gallery.manifest.arrays[REGIONS][1]

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of the numbers on disk."""
        return np.dtype(self._gallery.manifest.dtype)

    @property
    def normalised(self) -> bool:
        """Whether each image's hubness is stored."""
        return HUBNESS in self._gallery.manifest.arrays

    def __len__(self) -> int:
        return len(self._gallery)

    def read(self, start: int, most: int) -> Mapping[str, NDArray[Any]]:
        """See `backends.interface.Images`."""
        block, row = self._gallery.find(start)
        if self._open is not None and self._open is not block:
            self._open.release()
        self._open = block
        files = block.stored(block.rows[row : row + most])
        scales = files.get(REGIONS + SCALES)
        held = {"regions": files[REGIONS], "mask": files[MASK]}
        held |= {} if scales is None else {"scales": scales}
        return held | ({"hubness": files[HUBNESS]} if self.normalised else {})
