"""Read a folder with one `.npz` for each image; the file's stem is the image's id."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shan_engine.base.errors import InputError
from shan_engine.base.packing import read_npz
from shan_engine.store.importers.source import NUMBERS, Records, Source, as_float32, unpadded
from shan_engine.store.records import RegionRecord

_FEATURES = ("features", "feat", "x")
_BOXES = ("boxes", "bbox")
_SIZE = ("image_w", "image_h")
_MOST_BYTES = 2**28  # as many as 2^16 regions of 1,024 floats


def open_npz_folder(folder: Path) -> Source:
    """Open the `.npz` files in `folder`, except hidden ones, sorted by name.

    Each file holds features K x F as `features`, `feat` or `x`. It may hold boxes K x 4 in pixels as `boxes` or
    `bbox`, and `image_w` and `image_h`. Raises InputError, naming a file, if none can be used.
    """
    files = sorted(path for path in folder.glob("*.npz") if not path.name.startswith("."))
    if not files:
        raise InputError(f"{folder} has no .npz file: give the folder that holds one for each image")
    return Source.of(_records(files), [path.stem for path in files], f"{folder} is empty")


def _records(files: list[Path]) -> Records:
    for path in files:
        try:
            yield _record(path)
        except InputError as error:
            yield error


def _record(path: Path) -> RegionRecord:
    try:
        arrays = read_npz(path, most_bytes=_MOST_BYTES, names=(*_FEATURES, *_BOXES, *_SIZE))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is not a whole .npz file of numbers ({error}): copy or make it again") from error
    features = _first(arrays, _FEATURES)
    if features is None:
        held = ", ".join(_names(path)) or "nothing"
        raise InputError(f"{path} holds {held}: name its features 'features', 'feat' or 'x'")
    features = _floats(path, "features", features)
    if features.ndim != 2 or not features.size:
        raise InputError(f"{path} has features of shape {features.shape}: save regions x size")
    boxes = _first(arrays, _BOXES)
    if boxes is not None:
        boxes = _floats(path, "boxes", boxes)
        if boxes.shape != (len(features), 4):
            raise InputError(f"{path} has boxes of shape {boxes.shape}: save {len(features)} x 4")
    width, height = (_pixels(path, name, arrays.get(name)) for name in _SIZE)
    return RegionRecord(path.stem, *unpadded(features, boxes), "", width, height)


def _names(path: Path) -> list[str]:
    with zipfile.ZipFile(path) as archive:
        return [name.removesuffix(".npy") for name in archive.namelist()]


def _first(arrays: Mapping[str, NDArray[Any]], names: tuple[str, ...]) -> NDArray[Any] | None:
    return next((arrays[name] for name in names if name in arrays), None)


def _floats(path: Path, name: str, array: NDArray[Any]) -> NDArray[np.float32]:
    if array.dtype.kind not in NUMBERS:
        raise InputError(f"{path} has {name} of type {array.dtype}: save them as float32")
    values = as_float32(array)
    if not np.isfinite(values).all():
        raise InputError(f"{path} has NaN or infinite {name}: extract that image again")
    return values


def _pixels(path: Path, name: str, array: NDArray[Any] | None) -> int:
    if array is None:
        return 0
    if array.size != 1 or array.dtype.kind not in "fiu" or not np.isfinite(array).all() or array.item() < 0:
        raise InputError(f"{path} has an {name} that is not a single number of pixels: save it as one")
    return int(array.item())
