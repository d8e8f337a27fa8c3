"""How a gallery's numbers lie on disk: as floats, or as int8 with a scale for each row of the last axis.

Every image has a checksum over its rows of all files, so that a changed byte is found when the image is read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray

from shan_engine.base.packing import SCALES, Arrays

HUBNESS = "hubness"  # one number an image (indexing/querybank.py); only in a gallery that is normalised
BANK_HUBNESS = "bank_hubness"  # the same by the bundle's own querybank, before its weight; searches subtract it
# The m classes that an image was seen as, the most probable first (parts/class_evidence.py): their numbers, their
# probabilities, the region where each is most probable.
SEEN_CLASSES, SEEN_PROBABILITIES, SEEN_REGIONS = "seen_classes", "seen_probabilities", "seen_regions"
SEEN = (SEEN_CLASSES, SEEN_PROBABILITIES, SEEN_REGIONS)
NOT_ENCODED = (HUBNESS, BANK_HUBNESS, *SEEN)
"""Arrays of a gallery that do not come from the image encoder."""
READ_WHOLE = ("region_mask", "image_vector", *NOT_ENCODED)
"""Arrays that a search reads for all images at once, before it checks those that it finds."""
_TYPES = {
    "region_mask": "bool",
    HUBNESS: "float32",
    BANK_HUBNESS: "float32",
    SEEN_CLASSES: "uint16",
    SEEN_PROBABILITIES: "float16",
    SEEN_REGIONS: "uint8",
}
_READ_TOGETHER = 1 << 20  # bytes
Layout = dict[str, tuple[np.dtype[Any], tuple[int, ...]]]


def layout(arrays: Mapping[str, tuple[int, ...]], dtype: str) -> Layout:
    """Type and shape per image of every file, by its name, for `arrays` (name -> shape) stored as `dtype`."""
    files: Layout = {}
    for name, shape in arrays.items():
        files[name] = (_type(name, dtype), shape)
        if files[name][0] == np.int8:
            files[name + SCALES] = (np.dtype(np.float32), shape[:-1])
    return files


def _type(name: str, dtype: str) -> np.dtype[Any]:
    """Type of an array on disk in a gallery of `dtype`."""
    if name == "class_weights" and dtype == "int8":
        return np.dtype(np.float16)  # of a caption's weights a few are large, and the many small ones count too
    return np.dtype(_TYPES.get(name, dtype))


def packed(name: str, values: NDArray[Any], dtype: str) -> Arrays:
    """Array `name` of some images as it is written, by file.

    int8: each row of the last axis is divided by its largest absolute value / 127, which is its scale.
    """
    stored = values.dtype if values.dtype == np.bool_ else _type(name, dtype)
    if stored != np.int8:
        return {name: values.astype(stored)}
    scales = np.abs(values).max(axis=-1) / np.float32(127)
    steps = np.rint(values / np.where(scales > 0, scales, 1)[..., None])
    return {name: steps.astype(np.int8), name + SCALES: scales.astype(np.float32)}


def row_checksums(files: Sequence[NDArray[Any]], rows: Iterable[int]) -> NDArray[np.uint64]:
    """XXH3 of each of some rows' bytes, each file's the seed of the next one's."""
    found = []
    for row in rows:
        checksum = 0
        for array in files:
            checksum = xxhash.xxh3_64_intdigest(array[row], checksum)
        found.append(checksum)
    return np.array(found, np.uint64)


def file_checksum(path: Path) -> str:
    """XXH3 of a file's bytes, hexadecimal."""
    state = xxhash.xxh3_64()
    with path.open("rb") as file:
        while part := file.read(_READ_TOGETHER):
            state.update(part)
    return state.hexdigest()


def held_checksum(path: Path) -> str:
    """As `file_checksum`; empty where the file is missing or cannot be read."""
    try:
        return file_checksum(path)
    except OSError:
        return ""
