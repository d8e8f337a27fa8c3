"""Arrays as they lie on disk, as floats or as int8 with a scale for each row, and the floats they stand for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

SCALES = ".scales"


Arrays = dict[str, NDArray[Any]]


def unpacked(files: Mapping[str, NDArray[Any]]) -> Arrays:
    """Arrays by name, float32 or bool, of some images' rows of all files."""
    return {name: _floats(rows, files.get(name + SCALES)) for name, rows in files.items() if not name.endswith(SCALES)}


def _floats(rows: NDArray[Any], scales: NDArray[np.float32] | None) -> NDArray[Any]:
    if scales is not None:
        return rows * scales[..., None]
    return rows.astype(np.float32) if rows.dtype == np.float16 else rows
