"""Pooled vectors: the mean region of every image, by which a large search's first pass knows it.

    GALLERY/blocks/<name>/pooled.npy         images x D int8
    GALLERY/blocks/<name>/pooled-scales.npy  what each of them is multiplied by, float32

They are made of the regions as the gallery stores them, so that they do not depend on when or how often an image was
indexed, copied or merged.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shan_engine.base.packing import SCALES, Arrays, unpacked
from shan_engine.gallery.storage import packed
from shan_engine.kernel.constants import MASK, REGIONS

POOLED, POOLED_SCALES = "pooled", "pooled-scales"
POOLED_FILES = (f"{POOLED}.npy", f"{POOLED_SCALES}.npy")
# A gallery gets them from this size on: below it an exhaustive search is as quick (benchmarks/large_gallery.py).
FROM_IMAGES = 4096
_TOGETHER = 256  # images


@dataclass(frozen=True)
class Pooled:
    """The mean regions of N images: `vectors` N x D (int8) times `scales` N."""

    vectors: NDArray[np.int8]
    scales: NDArray[np.float32]

    @classmethod
    def of(cls, stored: Mapping[str, NDArray[Any]]) -> Pooled:
        """Those of images by the arrays that a gallery stores; they are not checked."""
        count, parts = len(stored[MASK]), []
        names = [name for name in (REGIONS, REGIONS + SCALES, MASK) if name in stored]
        for start in range(0, count, _TOGETHER):
            images = unpacked({name: stored[name][start : start + _TOGETHER] for name in names})
            mask: NDArray[np.bool_] = images[MASK]
            means = np.einsum("bkd,bk->bd", images[REGIONS], mask.astype(np.float32)) / mask.sum(axis=1)[:, None]
            parts.append(packed(POOLED, means, "int8"))
        if not parts:
            return cls(np.zeros((0, stored[REGIONS].shape[2]), np.int8), np.zeros(0, np.float32))
        return cls(*(np.concatenate([part[name] for part in parts]) for name in (POOLED, POOLED + SCALES)))

    def at(self, rows: NDArray[np.int64]) -> Pooled:
        """Those of some images."""
        return Pooled(self.vectors[rows], self.scales[rows])

    @property
    def files(self) -> Arrays:
        """What a block's files hold, by name without `.npy`."""
        return {POOLED: self.vectors, POOLED_SCALES: self.scales}


def has_pooled(files: Container[str]) -> bool:
    """Whether a block with these files has mean regions."""
    return all(name in files for name in POOLED_FILES)
