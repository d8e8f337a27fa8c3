"""Files of features as others publish them."""

from __future__ import annotations

import base64
import csv
from pathlib import Path

import numpy as np
from shan_engine.store.feature_store import FeatureStore
from shan_engine.store.records import RegionRecord

RNG = np.random.default_rng(0)


def features(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def save(path: Path, array: np.ndarray) -> Path:
    np.save(path, array)
    return path


def stored(store: Path) -> dict[str, RegionRecord]:
    with FeatureStore.open(store) as opened:
        ids = opened.ids()
        return dict(zip(ids, opened.read(ids), strict=True))


def tsv_row(id: str, boxes: np.ndarray, regions: np.ndarray, count: int | None = None) -> list[str]:
    encoded = [base64.b64encode(array.tobytes()).decode() for array in (boxes, regions)]
    return [id, "640", "480", str(len(boxes) if count is None else count), *encoded]


def write_tsv(path: Path, rows: list[list[str]]) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file, delimiter="\t").writerows(rows)
    return path
