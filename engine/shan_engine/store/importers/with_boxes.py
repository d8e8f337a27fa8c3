"""Features that end in their boxes, for models that read where a region is, such as TERN."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from shan_engine.base.errors import InputError
from shan_engine.store.importers.source import Records, Source
from shan_engine.store.records import RegionRecord

ADDED = 5


def with_boxes(source: Source) -> Source:
    """A source whose features have five numbers more: x0, y0, x1, y1 as shares of width and height, then the area.

    An image without boxes, or without width and height, becomes an error that names it.
    """
    return replace(source, feature_dim=source.feature_dim + ADDED, records=_records(source.records))


def _records(records: Records) -> Records:
    for record in records:
        yield _with_boxes(record) if isinstance(record, RegionRecord) else record


def _with_boxes(record: RegionRecord) -> RegionRecord | InputError:
    if record.boxes is None or not record.width or not record.height:
        lacks = "boxes" if record.boxes is None else "width and height"
        return InputError(f"image '{record.id}' has no {lacks}, which --boxes needs: give features that have them")
    x0, y0, x1, y1 = (record.boxes / np.array([record.width, record.height] * 2, np.float32)).T
    added = np.stack([x0, y0, x1, y1, (x1 - x0) * (y1 - y0)], axis=1)
    return replace(record, features=np.concatenate([record.features, added], axis=1))
