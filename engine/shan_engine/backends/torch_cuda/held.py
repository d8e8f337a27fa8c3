"""SHAN's pair score on CUDA through PyTorch and Triton: the gallery stays on the GPU, only the k best come back.

`device.py` says whether it can run, `pair_kernels.py` holds the kernels and `pair_scores.py` launches them,
`device_gallery.py` keeps or streams (`upload.py`) a gallery and ranks it (`ranking.py`), `several.py` splits it over
GPUs. Nothing but these imports PyTorch, and only when images are to be held.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from shan_engine.backends.interface import HeldGallery
from shan_engine.kernel.shan import ShanConstants

if TYPE_CHECKING:
    from shan_engine.backends.torch_cuda.upload import Images

REGIONS, HUBNESS = "image_regions", "hubness"  # not from gallery/storage.py: a GPU machine may lack xxhash


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
    """As `hold`, for some images by their arrays."""
    return hold(GivenImages(images), constants, device)


def hold(images: Images, constants: ShanConstants, device: str) -> HeldGallery:
    """Images on all of a machine's devices of that kind, for a model's constants.

    Raises BackendError where PyTorch, Triton or a device is missing, BundleError where the constants lack the gates.
    """
    from shan_engine.backends.torch_cuda.device import usable_devices

    devices = usable_devices(device)
    from shan_engine.backends.torch_cuda.several import SplitGallery

    return SplitGallery(images, constants, devices)
