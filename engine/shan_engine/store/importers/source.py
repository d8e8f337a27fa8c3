"""What a reader of features gives to the importer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from shan_engine.store.records import RegionRecord


@dataclass(frozen=True)
class Source:
    """An opened import. `records` are read one image at a time, when asked for.

    `ids` are the ids of all images, or None if they are known only after reading everything. `feature_dim` is F, and
    `regions` is K of the first image.
    """

    ids: Sequence[str] | None
    feature_dim: int
    regions: int
    records: Iterator[RegionRecord]
