"""Arrays checked before their addresses go to C."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Shape = tuple[int | None, ...]


def checked(name: str, array: Array, dtype: type[np.generic], shape: Shape) -> Array:
    """The array itself. Raises ValueError where type, shape (None: any size) or layout is another."""
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


def taken(arrays: Mapping[str, Array], name: str, dtype: type[np.generic], shape: Shape) -> Array:
    """`checked` of the array of that name. Raises ValueError where there is none, too."""
    if name not in arrays:
        raise ValueError(f"there is no array {name} among {', '.join(arrays)}")
    return checked(name, arrays[name], dtype, shape)


def within(name: str, numbers: Array, limit: int) -> None:
    """Raise ValueError where a number is not in 0 .. limit - 1."""
    lowest = 0 if numbers.dtype.kind == "u" or not numbers.size else int(numbers.min())
    if numbers.size and not 0 <= lowest <= int(numbers.max()) < limit:
        raise ValueError(f"{name} has numbers from {numbers.min()} to {numbers.max()}, not within 0 to {limit - 1}")
