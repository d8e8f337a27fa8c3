"""Records and a schema that the tests of feature stores share."""

from __future__ import annotations

import numpy as np
from shan_engine.store.records import RegionRecord, SeenClasses
from shan_engine.store.schema import StoreSchema

F = 16
SCHEMA = StoreSchema("test", F)


def record(id: str, seed: int = 0, regions: int = 3, dim: int = F, **fields: object) -> RegionRecord:
    features = np.random.default_rng(seed).standard_normal((regions, dim)).astype(np.float32)
    return RegionRecord(id, features, **fields)  # type: ignore[arg-type]


def seen_as(*classes: int, regions: int = 3) -> SeenClasses:
    shares = np.float16(0.5) ** np.arange(1, len(classes) + 1, dtype=np.float16)
    return SeenClasses(np.array(classes, np.uint16), shares, np.arange(len(classes), dtype=np.uint8) % regions)


def assert_same(found: RegionRecord, wanted: RegionRecord) -> None:
    np.testing.assert_array_equal(found.features, wanted.features)
    assert (found.boxes is None) == (wanted.boxes is None)
    if wanted.boxes is not None:
        np.testing.assert_array_equal(found.boxes, wanted.boxes)
    assert (found.seen is None) == (wanted.seen is None)
    if found.seen is not None and wanted.seen is not None:
        for array, other in zip(vars(found.seen).values(), vars(wanted.seen).values(), strict=True):
            np.testing.assert_array_equal(array, other, strict=True)
    for name in ("id", "path", "width", "height", "stamp"):
        assert getattr(found, name) == getattr(wanted, name)
