"""Stream images to a device through two pinned buffers: one is copied while the device scores the other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shan_engine.backends.interface import Images
from shan_engine.backends.torch_cuda.pair_scores import ImageTerms


class Upload:
    """Copies blocks of up to `most` images to `device`, with regions in `dtype`. `most` may be lowered at any time."""

    def __init__(self, images: Images, device: torch.device, dtype: torch.dtype, most: int) -> None:
        self.images, self.device, self.dtype, self.most = images, device, dtype, most

    def blocks(self, start: int) -> Iterator[tuple[int, ImageTerms]]:
        """Yield the place and the terms (regions and mask) of each block of images from `start` on.

        A block's terms stay valid until the next but one is asked for.
        """
        slots = [_Slot(self.device, self.images, self.most) for _ in range(2)]
        copying = torch.cuda.Stream(self.device) if self.device.type == "cuda" else None  # type: ignore[no-untyped-call]
        number, ready = 0, self._fill(slots[0], start, copying)
        while ready:
            slot, now, count = slots[number % 2], start, ready
            terms = slot.taken(count, self.dtype)
            start, number = start + count, number + 1
            yield now, terms
            # The caller has queued its work on these terms. The next block is copied at the same time.
            slot.release()
            ready = self._fill(slots[number % 2], start, copying)

    def _fill(self, slot: _Slot, start: int, copying: torch.cuda.Stream | None) -> int:
        """Start to copy a block. Returns how many images it has."""
        count, most = 0, min(slot.most, len(self.images) - start)
        slot.wait()
        while count < most:
            count += slot.put(self.images.read(start + count, most - count), count)
        slot.send(count, copying)
        return count


class _Slot:
    """A pinned buffer, its twin on the device, and the events that keep copying and use apart."""

    def __init__(self, device: torch.device, images: Images, most: int) -> None:
        self._device, self.most = device, most
        shapes = {"regions": (images.regions, images.dim), "mask": (images.regions,)}
        dtypes = {"regions": torch.from_numpy(np.empty(0, images.dtype)).dtype, "mask": torch.uint8}
        if images.dtype == np.int8:
            shapes["scales"], dtypes["scales"] = (images.regions,), torch.float32
        if images.normalised:
            shapes["hubness"], dtypes["hubness"] = (), torch.float32
        self._pinned, self._held = (
            {
                name: torch.empty((most, *shape), dtype=dtypes[name], device=where, pin_memory=pin)
                for name, shape in shapes.items()
            }
            for where, pin in (("cpu", device.type == "cuda"), (device, False))
        )
        cuda = device.type == "cuda"
        self._copied, self._used = (torch.cuda.Event() if cuda else None for _ in range(2))  # type: ignore[no-untyped-call]
        self.release()  # earlier work on this memory may not be finished

    def wait(self) -> None:
        """Wait until the pinned buffer is free again."""
        if self._copied is not None:
            self._copied.synchronize()

    def put(self, stored: Mapping[str, NDArray[Any]], at: int) -> int:
        """Copy images into the pinned buffer from row `at` on. Returns how many there are."""
        count = len(stored["regions"])
        for name, buffer in self._pinned.items():
            values = stored[name]
            np.copyto(buffer[at : at + count].numpy(), values.view(np.uint8) if values.dtype == np.bool_ else values)
        return count

    def send(self, count: int, copying: torch.cuda.Stream | None) -> None:
        """Start to copy the buffer's first `count` images to the device."""
        if copying is None or self._copied is None or self._used is None:
            self._copy(count)
            return
        with torch.cuda.stream(copying):
            copying.wait_event(self._used)
            self._copy(count)
            self._copied.record(copying)

    def _copy(self, count: int) -> None:
        for name, buffer in self._pinned.items():
            self._held[name][:count].copy_(buffer[:count], non_blocking=True)

    def taken(self, count: int, dtype: torch.dtype) -> ImageTerms:
        """The first `count` images, for work on the current stream."""
        if self._copied is not None:
            torch.cuda.current_stream(self._device).wait_event(self._copied)
        regions: Tensor = self._held["regions"][:count]
        if "scales" in self._held:
            regions = (regions.to(torch.float32) * self._held["scales"][:count, :, None]).to(dtype)
        hubness = self._held["hubness"][:count] if "hubness" in self._held else None
        return ImageTerms(regions.to(dtype), self._held["mask"][:count], hubness=hubness)

    def release(self) -> None:
        """Mark that the work queued on the current stream is the last to use these images."""
        if self._used is not None:
            self._used.record(torch.cuda.current_stream(self._device))
