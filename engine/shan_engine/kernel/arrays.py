"""Check arrays before their addresses go to C."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Shape = tuple[int | None, ...]


def check_array(name: str, array: Array, dtype: type[np.generic], shape: Shape) -> Array:
    """Return the array. Raises ValueError if its type, shape (None: any size) or memory layout is different."""
    if array.dtype != dtype:
        raise ValueError(f"{name} has type {array.dtype}, not {np.dtype(dtype)}")
    if array.ndim != len(shape) or any(
        size not in (None, found) for size, found in zip(shape, array.shape, strict=True)
    ):
        expected = " x ".join("any" if size is None else str(size) for size in shape)
        raise ValueError(f"{name} has shape {' x '.join(map(str, array.shape))}, not {expected}")
    if not array.flags.c_contiguous:
        raise ValueError(f"{name} is not contiguous: pass it through numpy.ascontiguousarray")
    return array


def named_array(arrays: Mapping[str, Array], name: str, dtype: type[np.generic], shape: Shape) -> Array:
    """The array `name`, checked as in `check_array`. Raises ValueError if it is missing, too."""
    if name not in arrays:
        raise ValueError(f"there is no array {name} among {', '.join(arrays)}")
    return check_array(name, arrays[name], dtype, shape)


def check_range(name: str, numbers: Array, limit: int) -> None:
    """Raise ValueError if a number is not from 0 to `limit` - 1."""
    lowest = 0 if numbers.dtype.kind == "u" or not numbers.size else int(numbers.min())
    if numbers.size and not 0 <= lowest <= int(numbers.max()) < limit:
        raise ValueError(f"{name} has numbers from {numbers.min()} to {numbers.max()}, not within 0 to {limit - 1}")
