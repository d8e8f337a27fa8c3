"""The row of an id in a block, found by its hash, so that no list of images is parsed for it.

    GALLERY/blocks/<name>/id-hashes.npy  XXH3 of every image's id (uint64), ascending
    GALLERY/blocks/<name>/id-rows.npy    the row of each of them (uint32)

Hashes only say where to look: whoever finds a row compares its id. A block of an earlier version has no such files.
"""

from __future__ import annotations

from collections.abc import Container, Sequence

import numpy as np
import xxhash
from numpy.typing import NDArray

from shan_engine.base.packing import Arrays

ID_HASHES, ID_ROWS = "id-hashes", "id-rows"
ID_FILES = (f"{ID_HASHES}.npy", f"{ID_ROWS}.npy")


def has_id_rows(files: Container[str]) -> bool:
    """Whether a block with these files has its rows by hash."""
    return all(name in files for name in ID_FILES)


def id_hashes(ids: Sequence[str]) -> NDArray[np.uint64]:
    """A hash N of each of some ids; these may hold bytes of file names that are no text."""
    return np.array([xxhash.xxh3_64_intdigest(id.encode("utf-8", "surrogatepass")) for id in ids], np.uint64)


def id_rows(ids: Sequence[str]) -> Arrays:
    """What a block's files hold for the ids of all its rows, by name without `.npy`."""
    hashes = id_hashes(ids)
    order = np.argsort(hashes, kind="stable")
    return {ID_HASHES: hashes[order], ID_ROWS: order.astype(np.uint32)}


def rows_at(held: Arrays, hashes: NDArray[np.uint64]) -> list[int]:
    """Rows, ascending, whose id has one of some hashes."""
    known, rows = held[ID_HASHES], held[ID_ROWS]
    begins, ends = np.searchsorted(known, hashes, "left"), np.searchsorted(known, hashes, "right")
    found = [rows[begin:end] for begin, end in zip(begins, ends, strict=True) if end > begin]
    return np.unique(np.concatenate(found)).tolist() if found else []
