"""A gallery over several devices. Each holds a part of the images and has its own thread."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from shan_engine.backends.interface import Images
from shan_engine.backends.torch_cuda.device_gallery import Best, Captions, DeviceGallery
from shan_engine.kernel.constants import ShanConstants


class Part:
    """The images from `start` to before `stop` of other images."""

    def __init__(self, images: Images, start: int, stop: int) -> None:
        self.regions, self.dim, self.dtype = images.regions, images.dim, images.dtype
        self.normalised = images.normalised
        self._images, self._start, self._stop = images, start, stop

    def __len__(self) -> int:
        return self._stop - self._start

    def read(self, start: int, most: int) -> Mapping[str, NDArray[Any]]:
        """See `Images`."""
        return self._images.read(self._start + start, min(most, len(self) - start))


class SplitGallery:
    """Images spread evenly over `devices`. The results are those of a single device."""

    def __init__(
        self,
        images: Images,
        constants: ShanConstants,
        devices: Sequence[torch.device],
        *,
        budget: int | None = None,
    ) -> None:
        devices = devices[: max(1, len(images))]
        edges = np.linspace(0, len(images), len(devices) + 1).astype(int).tolist()
        self._starts = edges[:-1]

        def hold(number: int) -> DeviceGallery:
            part = Part(images, edges[number], edges[number + 1])
            return DeviceGallery(part, constants, devices[number], budget=budget)

        with ThreadPoolExecutor(len(devices)) as pool:
            self._parts = list(pool.map(hold, range(len(devices))))

    def scores(self, batches: Sequence[Captions]) -> Iterator[tuple[int, slice, NDArray[np.float32]]]:
        """See `DeviceGallery.scores`. Devices work one after another."""
        for first, part in zip(self._starts, self._parts, strict=True):
            for number, place, scores in part.scores(batches):
                yield number, slice(first + place.start, first + place.stop), scores

    def top_k(self, batches: Sequence[Captions], k: int) -> list[Best]:
        """See `DeviceGallery.top_k`."""
        with ThreadPoolExecutor(len(self._parts)) as pool:
            found = list(pool.map(lambda part: part.top_k(batches, k), self._parts))
        return [self._merged([best[batch] for best in found], k) for batch in range(len(batches))]

    def _merged(self, parts: Sequence[Best], k: int) -> Best:
        scores = np.concatenate([scores for scores, _ in parts], axis=1)
        places = np.concatenate([place + first for first, (_, place) in zip(self._starts, parts, strict=True)], axis=1)
        # NaN comes first, as in `DeviceGallery.top_k`.
        order = np.argsort(np.where(np.isnan(scores), -np.inf, -scores), axis=1, kind="stable")[:, :k]
        return np.take_along_axis(scores, order, axis=1), np.take_along_axis(places, order, axis=1)
