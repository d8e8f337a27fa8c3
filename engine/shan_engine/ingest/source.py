"""What a reader gives the importer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from shan_engine.records import RegionRecord


@dataclass(frozen=True)
class Source:
    """An opened import: `records` are read as they are asked for, one image's features K x F at a time.

    `total` images, None where only reading everything would tell; `feature_dim` is F and `regions` K of
    the first image.
    """

    total: int | None
    feature_dim: int
    regions: int
    records: Iterator[RegionRecord]
