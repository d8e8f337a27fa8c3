"""Arrays over the images of many blocks, as the kernel reads them: the blocks' own arrays in a row, never joined."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from shan_engine.kernel.arrays import Array, Shape, check_array

LARGEST = 2**13  # images of a piece: few enough that threads share the pieces evenly


class Pieces:
    """One array over N images, N x its shape, in pieces; these may be mapped files.

    Arrays over the same images have the same pieces. Raises ValueError where arrays differ in type or shape, or are not
    contiguous.
    """

    def __init__(self, arrays: Sequence[Array]) -> None:
        self.dtype, self.shape = arrays[0].dtype, arrays[0].shape[1:]
        for array in arrays:
            if array.dtype != self.dtype or array.shape[1:] != self.shape:
                raise ValueError(f"pieces of {array.dtype} {array.shape[1:]} and {self.dtype} {self.shape} do not fit")
            if not array.flags.c_contiguous:
                raise ValueError("a piece is not contiguous: pass it through numpy.ascontiguousarray")
        self.arrays = [array[start : start + LARGEST] for array in arrays for start in range(0, len(array), LARGEST)]
        self.counts = np.array([len(array) for array in self.arrays], np.int64)

    @cached_property
    def addresses(self) -> NDArray[np.uint64]:
        """Where each piece begins in memory."""
        return np.array([array.__array_interface__["data"][0] for array in self.arrays], np.uint64)

    @cached_property
    def ends(self) -> NDArray[np.int64]:
        """Each piece's end among all images."""
        return np.cumsum(self.counts)

    @property
    def row_bytes(self) -> int:
        """Bytes of an image."""
        return int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize

    def __len__(self) -> int:
        """How many images there are."""
        return int(self.ends[-1]) if len(self.ends) else 0

    def at(self, places: NDArray[np.int64]) -> Array:
        """The rows of some images, copied."""
        numbers = np.searchsorted(self.ends, places, side="right")
        found = np.empty((len(places), *self.shape), self.dtype)
        for number in sorted(set(numbers.tolist())):
            own = numbers == number
            found[own] = self.arrays[number][places[own] - (self.ends[number] - self.counts[number])]
        return found

    def rows_from(self, places: NDArray[np.int64]) -> NDArray[np.uint64]:
        """Where the rows of some images begin in memory."""
        numbers = np.searchsorted(self.ends, places, side="right")
        rows = places - (self.ends - self.counts)[numbers]
        return self.addresses[numbers] + rows.astype(np.uint64) * np.uint64(self.row_bytes)

    def run(self, pieces: slice) -> Pieces:
        """The images of some pieces that follow each other."""
        part = object.__new__(Pieces)
        part.dtype, part.shape = self.dtype, self.shape
        part.arrays, part.counts, part.addresses = self.arrays[pieces], self.counts[pieces], self.addresses[pieces]
        return part


def runs(counts: NDArray[np.int64], images: int) -> list[tuple[slice, slice]]:
    """Pieces with these counts in runs of about so many images: which pieces, and their places among all images."""
    found, first, begin, held = [], 0, 0, 0
    for number, count in enumerate(counts.tolist(), 1):
        held += count
        if held >= images or number == len(counts):
            found.append((slice(first, number), slice(begin, begin + held)))
            first, begin, held = number, begin + held, 0
    return found


def check_pieces(name: str, pieces: Pieces, dtype: type[np.generic], shape: Shape, like: Pieces) -> None:
    """Raise ValueError if an array has another type or shape of an image, or other pieces than one over the same."""
    check_array(name, np.empty((0, *pieces.shape), pieces.dtype), dtype, (None, *shape))
    if not np.array_equal(pieces.counts, like.counts):
        raise ValueError(f"{name} has {len(pieces):,} images in other pieces than the {len(like):,} beside them")
