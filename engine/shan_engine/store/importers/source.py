"""What a reader gives the importer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from shan_engine.store.records import RegionRecord


@dataclass(frozen=True)
class Source:
    """An opened import: `records` are read as they are asked for, one image's features K x F at a time.

    `ids` are those of all images, None where only reading everything would tell; `feature_dim` is F and
    `regions` K of the first image.
    """

    ids: Sequence[str] | None
    feature_dim: int
    regions: int
    records: Iterator[RegionRecord]
