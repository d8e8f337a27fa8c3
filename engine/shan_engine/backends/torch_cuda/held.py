"""Hold images on this machine's GPUs. PyTorch is imported only when images are to be held."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from shan_engine.backends.interface import HeldGallery
from shan_engine.kernel.constants import MASK, REGIONS, ShanConstants

if TYPE_CHECKING:
    from shan_engine.backends.interface import Images


class GivenImages:
    """Images given as a gallery's arrays. Their scores are not normalised."""

    normalised = False

    def __init__(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        self._regions, self._mask = arrays[REGIONS], arrays[MASK]
        _, self.regions, self.dim = self._regions.shape
        self.dtype = self._regions.dtype

    def __len__(self) -> int:
        return len(self._mask)

    def read(self, start: int, most: int) -> Mapping[str, NDArray[Any]]:
        """See `backends.interface.Images`."""
        some = slice(start, start + most)
        return {"regions": self._regions[some], "mask": self._mask[some]}


def hold_images(images: Mapping[str, NDArray[Any]], constants: ShanConstants, device: str) -> HeldGallery:
    """As `hold`, for images given as arrays."""
    return hold(GivenImages(images), constants, device)


def hold(images: Images, constants: ShanConstants, device: str) -> HeldGallery:
    """Hold images on all of this machine's devices that `device` means, to be scored with a model's constants.

    Raises BackendError if PyTorch, Triton or a device is missing, and BundleError if the constants lack the gates.
    """
    from shan_engine.backends.torch_cuda.available import usable_devices

    devices = usable_devices(device)
    from shan_engine.backends.torch_cuda.several import SplitGallery

    return SplitGallery(images, constants, devices)
