"""Pairs scored by a bundle's own pair scorer graph, whatever runs it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np

from shan_engine.backends.interface import (
    Array,
    Call,
    Graph,
    HeldGallery,
    Images,
    Key,
    OutOfDeviceMemoryError,
)
from shan_engine.base.packing import Arrays, unpacked

# Floats of intermediate results that one call may need: what a core's caches hold decides the speed, so this is far
# below what memory allows (benchmarks/batching.py).
CALL_FLOATS = 4_000_000
MOST_IMAGES = 256


class GraphPairScorer:
    """See `backends.interface.PairScorer`; `complete` adds the image arrays that the graph reads beside the stored."""

    def __init__(
        self,
        name: str,
        graph: Callable[[], Graph],
        complete: Callable[[Arrays], Arrays],
        *,
        device: str,
        concurrent: bool = True,
        most_images: int | None = None,
    ) -> None:
        self.name, self.device, self.concurrent = name, device, concurrent
        self._graph, self._complete, self._most_images = graph, complete, most_images

    def prepare(self, stored: Mapping[str, Array]) -> Arrays:
        """All arrays of images that the graph reads, as float32 or bool."""
        return self._complete(unpacked(stored))

    def scores(self, calls: Iterable[Call[Key]], outputs: Sequence[str] = ("scores",)) -> Iterator[tuple[Key, Arrays]]:
        """Outputs of each call. A GPU gets the next call before one is done; one it has no memory for is split."""
        graph = self._graph()
        waiting: tuple[Key, Callable[[], Arrays]] | None = None
        for key, images, captions in calls:
            try:
                begun = key, graph.begin({**images, **captions}, outputs)
            except OutOfDeviceMemoryError:
                if waiting:
                    yield waiting[0], waiting[1]()
                waiting = None
                yield key, self._in_halves(images, captions, outputs)
                continue
            if waiting:
                yield waiting[0], waiting[1]()
            waiting = begun
        if waiting:
            yield waiting[0], waiting[1]()

    def _in_halves(self, images: Mapping[str, Array], captions: Mapping[str, Array], outputs: Sequence[str]) -> Arrays:
        count = len(next(iter(images.values())))
        if count == 1:
            return self._graph().run({**images, **captions}, outputs)
        parts = (slice(count // 2), slice(count // 2, None))
        calls = ((None, {name: array[part] for name, array in images.items()}, captions) for part in parts)
        found = [results for _, results in self.scores(calls, outputs)]
        return {name: np.concatenate([results[name] for results in found]) for name in outputs}

    def images_per_call(self, shapes: Mapping[str, tuple[int, ...]], captions: int, words: int) -> int:
        """As many as keep a call's intermediate results in the caches, or what a plan was made for."""
        if self._most_images is not None:
            return self._most_images
        per_image = max(math.prod(shape) for shape in shapes.values())
        regions = shapes.get("region_mask", (1,))[0]
        per_pair = 4 * per_image * (1 + words / regions)
        return max(1, min(MOST_IMAGES, int(CALL_FLOATS / (per_pair * captions))))

    def hold(self, images: Images) -> HeldGallery | None:
        """None: images come with each call."""
        return None
