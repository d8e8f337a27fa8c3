"""The global term: a photo as one vector against a query as one vector."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from shan_engine.base.packing import SCALES
from shan_engine.kernel.pieces import Pieces
from shan_engine.kernel.shan import Kernel
from shan_engine.parts.part import Named, Part

TOGETHER = 1024  # photos whose vectors become float32 together: they stay in the cache
IMAGE_VECTOR, QUERY_VECTOR = "image_vector", "query_vector"


@dataclass(frozen=True)
class GlobalTerm(Part):
    """The cosine of `image_vector` B x D and `query_vector` C x D, both of length 1."""

    name: ClassVar[str] = "global"
    image_arrays: ClassVar[tuple[str, ...]] = (IMAGE_VECTOR,)
    caption_arrays: ClassVar[tuple[str, ...]] = (QUERY_VECTOR,)

    def scores(self, images: Named, captions: Named) -> NDArray[np.float32]:
        """Cosines B x C."""
        vectors, scales = images[IMAGE_VECTOR], images.get(IMAGE_VECTOR + SCALES)
        queries = np.asarray(captions[QUERY_VECTOR], np.float32).T
        found = np.empty((len(vectors), queries.shape[1]), np.float32)
        for start in range(0, len(vectors), TOGETHER):
            some = slice(start, start + TOGETHER)
            found[some] = vectors[some].astype(np.float32, copy=False) @ queries
        if scales is not None:
            found *= scales[:, None]
        return found

    def estimates(self, images: Mapping[str, Pieces], captions: Named, kernel: Kernel) -> NDArray[np.float32]:
        """Cosines B x C; a gallery's int8 numbers are not made floats first."""
        scales = images.get(IMAGE_VECTOR + SCALES)
        if scales is None:
            return super().estimates(images, captions, kernel)
        return kernel.scan(images[IMAGE_VECTOR], scales, np.ascontiguousarray(captions[QUERY_VECTOR], np.float32))
