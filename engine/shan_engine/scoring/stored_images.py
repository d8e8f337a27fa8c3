"""A gallery on disk, block by block, as the torch back end reads it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from shan_engine.backends.interface import HeldGallery
from shan_engine.kernel.shan import ShanConstants

if TYPE_CHECKING:
    from shan_engine.gallery.blocks import Block
    from shan_engine.gallery.reader import Gallery
from shan_engine.backends.torch_cuda.held import HUBNESS, REGIONS, hold


class StoredImages:
    """A gallery's images as `torch_cuda.upload.Images`: as they lie on disk, checked, never across a block's end."""

    def __init__(self, gallery: Gallery) -> None:
        self.regions, self.dim = gallery.manifest.arrays[REGIONS]
        self.dtype = np.dtype(gallery.manifest.dtype)
        self.normalised = HUBNESS in gallery.manifest.arrays
        self._gallery = gallery
        self._open: Block | None = None

    def __len__(self) -> int:
        return len(self._gallery)

    def read(self, start: int, most: int) -> Mapping[str, NDArray[Any]]:
        """See `torch_cuda.upload.Images`."""
        block, row = self._gallery.find(start)
        if self._open is not None and self._open is not block:
            self._open.release()
        self._open = block
        files = block.stored(block.rows[row : row + most])
        scales = files.get(REGIONS + ".scales")
        held = {"regions": files[REGIONS], "mask": files["region_mask"]}
        held |= {} if scales is None else {"scales": scales}
        return held | ({"hubness": files[HUBNESS]} if self.normalised else {})


def hold_gallery(gallery: Gallery, constants: ShanConstants, device: str) -> HeldGallery:
    """A gallery on all of a machine's devices of that kind, for a model's constants.

    Raises BackendError where PyTorch, Triton or a device is missing, BundleError where the constants lack the gates.
    """
    return hold(StoredImages(gallery), constants, device)
