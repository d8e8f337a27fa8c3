"""What a reader of features gives to the importer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shan_engine.base.errors import InputError
from shan_engine.store.records import RegionRecord

Records = Iterator[RegionRecord | InputError]
"""Images one at a time, read when asked for; an image that cannot be used is the error that says why."""
NUMBERS = "fiub"
"""Kinds of NumPy dtypes that features may have: float, integer, unsigned and boolean."""


@dataclass(frozen=True)
class Source:
    """An opened import.

    `ids` are the ids of all images, or None if they are known only after reading everything. `feature_dim` is F, and
    `regions` is K of the first image that can be used.
    """

    ids: Sequence[str] | None
    feature_dim: int
    regions: int
    records: Records

    @classmethod
    def of(cls, records: Records, ids: Sequence[str] | None, empty: str) -> Source:
        """Records with F and K of the first that can be used; `empty` is said where there are none.

        Raises InputError if no image can be used: the first one's.
        """
        broken: list[RegionRecord | InputError] = []
        for record in records:
            if isinstance(record, RegionRecord):
                regions, feature_dim = record.features.shape
                return cls(ids, feature_dim, regions, chain(broken, [record], records))
            broken.append(record)
        raise next((error for error in broken if isinstance(error, InputError)), InputError(empty))


def unpadded(
    features: NDArray[np.float32], boxes: NDArray[np.float32] | None = None
) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
    """Regions K x F and boxes K x 4 without the rows of zeros that pad them at the end; the first region stays."""
    real = np.flatnonzero(features.any(axis=1))
    count = int(real[-1]) + 1 if len(real) else 1
    return features[:count], None if boxes is None else boxes[:count]


def as_float32(array: NDArray[Any]) -> NDArray[np.float32]:
    """Numbers of any size, byte order and memory order as float32; those beyond it become infinite."""
    with np.errstate(over="ignore", invalid="ignore"):
        return np.ascontiguousarray(array, np.float32)
