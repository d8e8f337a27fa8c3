"""Read bottom-up attention features (Anderson et al., 2018; LXMERT's files too): a `.tsv` with one image a line."""

from __future__ import annotations

import base64
import csv
from collections.abc import Sequence
from pathlib import Path
from textwrap import shorten

import numpy as np
from numpy.typing import NDArray

from shan_engine.base.errors import InputError
from shan_engine.store.importers.source import Records, Source, unpadded
from shan_engine.store.records import RegionRecord

COLUMNS = ("image_id", "image_w", "image_h", "num_boxes", "boxes", "features")
_LXMERT = (
    "image_id", "image_h", "image_w", "objects_id", "objects_conf", "attrs_id", "attrs_conf", "num_boxes", "boxes",
    "features",
)  # fmt: skip
_ORDERS = {len(order): order for order in (COLUMNS, _LXMERT)}  # by the number of columns of a file without a header
_SAME = {"img_id": "image_id", "img_w": "image_w", "img_h": "image_h"}
_MAX_FIELD_CHARACTERS = 2**31 - 1


def open_tsv(path: Path) -> Source:
    """Open a tab-separated file of COLUMNS, or of LXMERT's ten. Boxes K x 4 and features K x F are float32 in base64.

    A first line with the columns' names may give them in any order, among others. The number of images is not known in
    advance. Raises InputError, naming file and line, if no line can be used.
    """
    return Source.of(_records(path), None, f"{path} is empty: make it again")


def _records(path: Path) -> Records:
    # One image's features far exceed the csv module's default limit of 128 KiB a field.
    csv.field_size_limit(_MAX_FIELD_CHARACTERS)
    line = 0
    columns: Sequence[str] = ()
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, delimiter="\t")
            for row in reader:
                line = reader.line_num
                where = f"{path}, line {line},"
                if not any(field.strip() for field in row):
                    continue
                if header := _header(where, row):
                    columns = header
                    continue
                try:
                    yield _record(where, columns or _ORDERS.get(len(row), COLUMNS), row)
                except InputError as error:
                    yield error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} cannot be read after line {line} ({error}): copy or make it again") from error


def _header(where: str, row: Sequence[str]) -> list[str]:
    """The names of the columns, if that is what a line holds."""
    names = [_SAME.get(name, name) for name in (field.strip().lower() for field in row)]
    if "features" not in names:
        return []
    missing = [name for name in COLUMNS if name not in names]
    if missing:
        raise InputError(f"{where} names no column {missing[0]}: it needs {', '.join(COLUMNS)}")
    return names


def _record(where: str, columns: Sequence[str], row: Sequence[str]) -> RegionRecord:
    if len(row) != len(columns):
        named = shorten(", ".join(columns), 120)
        raise InputError(f"{where} has {len(row)} columns, not {len(columns)} ({named}): copy or make the file again")
    fields = dict(zip(columns, row, strict=True))
    try:
        width, height, count = (int(float(fields[name])) for name in ("image_w", "image_h", "num_boxes"))
    except (ValueError, OverflowError) as error:
        raise InputError(
            f"{where} has a width, height or number of boxes that is not a number: fix that line"
        ) from error
    if count < 1 or width < 0 or height < 0:
        raise InputError(f"{where} has {count} boxes in {width} x {height} pixels: leave that image out")
    boxes = _floats(where, "boxes", fields["boxes"])
    if boxes.size != count * 4:
        raise InputError(f"{where} has {boxes.size} numbers for boxes, not {count} x 4: make the file again")
    features = _floats(where, "features", fields["features"])
    if not features.size or features.size % count:
        raise InputError(
            f"{where} has {features.size} numbers for features, not a multiple of its {count} boxes: "
            "the line is cut short, make the file again"
        )
    return RegionRecord(
        _text(fields["image_id"]), *unpadded(features.reshape(count, -1), boxes.reshape(count, 4)), "", width, height
    )


def _text(field: str) -> str:
    # Python 3 writes bytes like this; Python 2's csv did not.
    field = field.strip()
    return field[2:-1] if field[:2] in ("b'", 'b"') and field[-1:] == field[1] else field


def _floats(where: str, name: str, field: str) -> NDArray[np.float32]:
    try:
        values = np.frombuffer(base64.b64decode(_text(field), validate=True), "<f4").astype(np.float32)
    except ValueError as error:
        raise InputError(f"{where} has {name} that are not base64 float32 ({error}): make the file again") from error
    if not np.isfinite(values).all():
        raise InputError(f"{where} has NaN or infinite {name}: extract that image again")
    return values
