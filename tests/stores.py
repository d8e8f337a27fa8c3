"""Records and a schema that the tests of feature stores share."""

from __future__ import annotations

import numpy as np
from shan_engine.store.records import RegionRecord
from shan_engine.store.schema import StoreSchema

F = 16
SCHEMA = StoreSchema("test", F)


def record(id: str, seed: int = 0, regions: int = 3, dim: int = F, **fields: object) -> RegionRecord:
    features = np.random.default_rng(seed).standard_normal((regions, dim)).astype(np.float32)
    return RegionRecord(id, features, **fields)  # type: ignore[arg-type]


def assert_same(found: RegionRecord, wanted: RegionRecord) -> None:
    np.testing.assert_array_equal(found.features, wanted.features)
    assert (found.boxes is None) == (wanted.boxes is None)
    if wanted.boxes is not None:
        np.testing.assert_array_equal(found.boxes, wanted.boxes)
    for name in ("id", "path", "width", "height", "stamp"):
        assert getattr(found, name) == getattr(wanted, name)
