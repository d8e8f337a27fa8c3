"""Read SCAN's precomputed features: a `.npy` of N x K x F, which may repeat each image five times, or a folder."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shan_engine.base.errors import InputError
from shan_engine.base.packing import read_npy
from shan_engine.store.importers.source import NUMBERS, Records, Source, as_float32, unpadded
from shan_engine.store.records import RegionRecord
from shan_engine.text.captions import CAPTIONS_AN_IMAGE, SCAN_FEATURES, scan_image

_FOLD = CAPTIONS_AN_IMAGE  # SCAN's dev and test files repeat an image for each of its captions
_SAMPLED_GROUPS = 20


def open_npy(path: Path, ids_path: Path | None = None) -> Source:
    """Open features N x K x F, or N x F with K = 1, of any numbers, byte order and memory order.

    Without an ids file, the ids are 0, 1, 2 and so on. If each group of rows 5i to 5i+4 is the same, each group is one
    image; the ids file may then have a line for each row or each image. Raises InputError if a file is missing,
    truncated or of another type, or the ids do not fit.
    """
    array = _load(path)
    if array.ndim == 2:
        array = array[:, None, :]
    rows, regions, feature_dim = array.shape
    fold = _FOLD if _looks_repeated(array) else 1
    images = rows // fold
    ids = [str(row) for row in range(images)]
    if ids_path is not None:
        ids = _read_ids(ids_path)
        if len(ids) not in (rows, images):
            wanted = f"{rows} rows" if fold == 1 else f"{rows} rows of {images} images"
            raise InputError(f"{ids_path} has {len(ids)} ids, {path} has {wanted}: give one id a line")
        if len(ids) != images:
            ids = ids[::fold]
        _refuse_twice(ids, ids_path)
    return Source(ids, feature_dim, regions, _records(path, array, ids, fold))


def open_scan_folder(folder: Path) -> Source:
    """Open all files `<split>_ims.npy` in a folder as one. The images' ids are `<split>-0`, `<split>-1` and so on.

    Raises InputError if a file cannot be used or the files differ in F.
    """
    parts, ids, largest = [], [], 0
    feature_dim = None
    for path in sorted(folder.glob(f"*{SCAN_FEATURES}")):
        source = open_npy(path)
        if feature_dim not in (None, source.feature_dim):
            raise InputError(
                f"{path} has features of size {source.feature_dim}, the other files of {feature_dim}: "
                "use files of one extractor"
            )
        feature_dim, largest = source.feature_dim, max(largest, source.regions)
        split = path.name.removesuffix(SCAN_FEATURES)
        names = [scan_image(split, row) for row in range(len(source.ids or ()))]
        parts.append(_named(source.records, names))
        ids += names
    return Source(ids, feature_dim or 0, largest, chain.from_iterable(parts))


def _named(records: Records, names: list[str]) -> Records:
    for record, name in zip(records, names, strict=True):
        yield replace(record, id=name) if isinstance(record, RegionRecord) else record


def _load(path: Path) -> NDArray[Any]:
    try:
        array = read_npy(path, mapped=True)
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"{path} is not a whole .npy file of numbers ({error}): copy or make it again") from error
    if array.dtype.kind not in NUMBERS:
        raise InputError(f"{path} holds {array.dtype}: save the features as numbers, such as float32")
    if array.ndim not in (2, 3):
        raise InputError(f"{path} has shape {array.shape}: save images x regions x size, or images x size")
    if array.size == 0:
        raise InputError(f"{path} is empty (shape {array.shape}): make it again")
    return array


def _looks_repeated(array: NDArray[Any]) -> bool:
    groups, rest = divmod(len(array), _FOLD)
    if rest:
        return False
    sample = np.unique(np.linspace(0, groups - 1, _SAMPLED_GROUPS).astype(np.int64))
    return all(_is_repeated(array[_FOLD * group : _FOLD * (group + 1)]) for group in sample)


def _is_repeated(group: NDArray[Any]) -> bool:
    return bool((group[1:] == group[0]).all())


def _records(path: Path, array: NDArray[Any], ids: list[str], fold: int) -> Records:
    for image, id in enumerate(ids):
        row = image * fold
        group = np.asarray(array[row : row + fold])
        features = as_float32(group[0])
        if not np.isfinite(features).all():
            yield InputError(f"{path} has NaN or infinite features in row {row}: extract that image again")
        elif fold > 1 and not _is_repeated(group):
            yield InputError(
                f"{path} repeats most images in {fold} rows, but rows {row} to {row + fold - 1} differ: "
                "repeat every image or none"
            )
        else:
            yield RegionRecord(id, unpadded(features)[0])


def _read_ids(path: Path) -> list[str]:
    try:
        lines = path.read_text("utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"the ids file {path} cannot be read ({error}): give a UTF-8 file, one id a line") from error
    ids = [line.strip() for line in lines]
    while ids and not ids[-1]:
        ids.pop()
    for number, id in enumerate(ids, 1):
        if not id:
            raise InputError(f"{path}, line {number}, is empty: give one id a line")
    return ids


def _refuse_twice(ids: list[str], path: Path) -> None:
    first: dict[str, int] = {}
    for number, id in enumerate(ids, 1):
        if first.setdefault(id, number) != number:
            raise InputError(f"{path} has the id '{id}' twice: give every image its own id")
