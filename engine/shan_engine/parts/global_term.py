"""The global term: a photo as one vector against a query as one vector."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from shan_engine.base.packing import SCALES, unpacked
from shan_engine.parts.part import Named, Part

TOGETHER = 4096  # photos whose vectors are unpacked together: they stay in the cache
IMAGE_VECTOR, QUERY_VECTOR = "image_vector", "query_vector"


@dataclass(frozen=True)
class GlobalTerm(Part):
    """The cosine of `image_vector` B x D and `query_vector` C x D, both of length 1."""

    name: ClassVar[str] = "global"
    image_arrays: ClassVar[tuple[str, ...]] = (IMAGE_VECTOR,)
    caption_arrays: ClassVar[tuple[str, ...]] = (QUERY_VECTOR,)

    def scores(self, images: Named, captions: Named) -> NDArray[np.float32]:
        """Cosines B x C."""
        queries = captions[QUERY_VECTOR].T
        stored = {name: images[name] for name in (IMAGE_VECTOR, IMAGE_VECTOR + SCALES) if name in images}
        count = len(images[IMAGE_VECTOR])
        found = np.empty((count, queries.shape[1]), np.float32)
        for start in range(0, count, TOGETHER):
            some = slice(start, start + TOGETHER)
            found[some] = unpacked({name: array[some] for name, array in stored.items()})[IMAGE_VECTOR] @ queries
        return found
