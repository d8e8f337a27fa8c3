"""SHAN's pair score on CUDA through PyTorch and Triton: the gallery stays on the GPU, only the k best come back.

`device.py` says whether it can run, `pair_kernels.py` holds the kernels and `pair_scores.py` launches them,
`device_gallery.py` keeps or streams (`upload.py`) a gallery and ranks it (`ranking.py`), `several.py` splits it over
GPUs. Nothing but these imports PyTorch, and only when images are to be held.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from shan_engine.backends.interface import HeldGallery
from shan_engine.kernel.shan import ShanConstants

if TYPE_CHECKING:
    from shan_engine.backends.torch_cuda.upload import Images
    from shan_engine.gallery.reader import Block, Gallery

REGIONS, HUBNESS = "image_regions", "hubness"  # not from gallery_storage: a GPU machine may lack xxhash


class StoredImages:
    """A gallery's images as `upload.Images`: as they lie on disk, checked, never across a block's end."""

    def __init__(self, gallery: Gallery) -> None:
        self.regions, self.dim = gallery.manifest.arrays[REGIONS]
        self.dtype = np.dtype(gallery.manifest.dtype)
        self.normalised = HUBNESS in gallery.manifest.arrays
        self._gallery = gallery
        self._open: Block | None = None

    def __len__(self) -> int:
        return len(self._gallery)

    def read(self, start: int, most: int) -> Mapping[str, NDArray[Any]]:
        """See `upload.Images`."""
        block, row = self._gallery.find(start)
        if self._open is not None and self._open is not block:
            self._open.release()
        self._open = block
        files = block.stored(block.rows[row : row + most])
        scales = files.get(REGIONS + ".scales")
        held = {"regions": files[REGIONS], "mask": files["region_mask"]}
        held |= {} if scales is None else {"scales": scales}
        return held | ({"hubness": files[HUBNESS]} if self.normalised else {})


class GivenImages:
    """Some images as `upload.Images`, from their arrays as a gallery gives them; scores are not normalised."""

    normalised = False

    def __init__(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        self._regions, self._mask = arrays[REGIONS], arrays["region_mask"]
        _, self.regions, self.dim = self._regions.shape
        self.dtype = self._regions.dtype

    def __len__(self) -> int:
        return len(self._mask)

    def read(self, start: int, most: int) -> Mapping[str, NDArray[Any]]:
        """See `upload.Images`."""
        some = slice(start, start + most)
        return {"regions": self._regions[some], "mask": self._mask[some]}


def hold_images(images: Mapping[str, NDArray[Any]], constants: ShanConstants, device: str) -> HeldGallery:
    """As `hold_gallery`, for some images by their arrays."""
    return _hold(GivenImages(images), constants, device)


def hold_gallery(gallery: Gallery, constants: ShanConstants, device: str) -> HeldGallery:
    """A gallery on all of a machine's devices of that kind, for a model's constants.

    Raises BackendError where PyTorch, Triton or a device is missing, BundleError where the constants lack the gates.
    """
    return _hold(StoredImages(gallery), constants, device)


def _hold(images: Images, constants: ShanConstants, device: str) -> HeldGallery:
    from shan_engine.backends.torch_cuda.device import usable_devices

    devices = usable_devices(device)
    from shan_engine.backends.torch_cuda.several import SplitGallery

    return SplitGallery(images, constants, devices)
