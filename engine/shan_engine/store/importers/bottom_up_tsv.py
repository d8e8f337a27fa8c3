"""Read bottom-up attention features (Anderson et al., 2018): a `.tsv` with one image a line."""

from __future__ import annotations

import base64
import csv
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shan_engine.base.errors import InputError
from shan_engine.store.importers.source import Source
from shan_engine.store.records import RegionRecord

COLUMNS = ("image_id", "image_w", "image_h", "num_boxes", "boxes", "features")
_MAX_FIELD_CHARACTERS = 2**31 - 1


def open_tsv(path: Path) -> Source:
    """Open a tab-separated file of COLUMNS. Boxes K x 4 and features K x F are float32 in base64.

    A first line with the column names is skipped. The number of images is not known in advance. Raises InputError,
    naming file and line, if a line cannot be used.
    """
    records = _records(path)
    first = next(records, None)
    if first is None:
        raise InputError(f"{path} is empty: make it again")
    regions, feature_dim = first.features.shape
    return Source(None, feature_dim, regions, chain([first], records))


def _records(path: Path) -> Iterator[RegionRecord]:
    # One image's features far exceed the csv module's default limit of 128 KiB a field.
    csv.field_size_limit(_MAX_FIELD_CHARACTERS)
    line = 0
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.reader(file, delimiter="\t")
            for row in reader:
                line = reader.line_num
                if row and tuple(row) != COLUMNS:
                    yield _record(f"{path}, line {line},", row)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} cannot be read after line {line} ({error}): copy or make it again") from error


def _record(where: str, row: list[str]) -> RegionRecord:
    if len(row) != len(COLUMNS):
        raise InputError(
            f"{where} has {len(row)} columns, not {len(COLUMNS)} ({', '.join(COLUMNS)}): copy or make the file again"
        )
    try:
        width, height, count = (int(float(value)) for value in row[1:4])
    except (ValueError, OverflowError) as error:
        raise InputError(
            f"{where} has a width, height or number of boxes that is not a number: fix that line"
        ) from error
    if count < 1 or width < 0 or height < 0:
        raise InputError(f"{where} has {count} boxes in {width} x {height} pixels: leave that image out")
    boxes = _floats(where, "boxes", row[4])
    if boxes.size != count * 4:
        raise InputError(f"{where} has {boxes.size} numbers for boxes, not {count} x 4: make the file again")
    features = _floats(where, "features", row[5])
    if not features.size or features.size % count:
        raise InputError(
            f"{where} has {features.size} numbers for features, not a multiple of its {count} boxes: "
            "the line is cut short, make the file again"
        )
    return RegionRecord(row[0], features.reshape(count, -1), boxes.reshape(count, 4), "", width, height)


def _floats(where: str, name: str, text: str) -> NDArray[np.float32]:
    if text[:2] in ("b'", 'b"'):  # Python 3 writes bytes like this; Python 2's csv did not
        text = text[2:-1]
    try:
        values = np.frombuffer(base64.b64decode(text, validate=True), "<f4").astype(np.float32)
    except ValueError as error:
        raise InputError(f"{where} has {name} that are not base64 float32 ({error}): make the file again") from error
    if not np.isfinite(values).all():
        raise InputError(f"{where} has NaN or infinite {name}: extract that image again")
    return values
