"""Encode images of a feature store for a gallery's blocks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shan_engine.base.errors import InputError
from shan_engine.gallery.blocks import GalleryImage
from shan_engine.gallery.storage import BANK_HUBNESS, SEEN, SEEN_CLASSES
from shan_engine.indexing.block_writer import Encoded
from shan_engine.indexing.querybank import ImageHubness
from shan_engine.parts.class_evidence import ClassEvidence
from shan_engine.scoring.scorer import Scorer
from shan_engine.store.feature_store import FeatureStore
from shan_engine.store.records import RecordInfo, RegionRecord, pad_classes, pad_regions

ENCODE_BATCH = 32


def array_shapes(scorer: Scorer, infos: Sequence[RecordInfo]) -> dict[str, tuple[int, ...]]:
    """Shape per image of every array of a new gallery of a store's images."""
    shapes = scorer.encoders.image_array_shapes(max(info.regions for info in infos))
    classes = max(info.classes for info in infos) if ClassEvidence.name in scorer.parts.names else 0
    shapes |= dict.fromkeys(SEEN, (classes,)) if classes else {}
    return shapes | ({BANK_HUBNESS: ()} if scorer.bundle.querybank and scorer.parts else {})


def encoded(
    store: FeatureStore,
    scorer: Scorer,
    ids: Sequence[str],
    checksums: Mapping[str, int],
    *,
    beside: Path,
    shapes: Mapping[str, tuple[int, ...]],
    hubness: ImageHubness,
    on_images: Callable[[int], None],
) -> Iterator[Encoded]:
    """Encode images of the store for a block, a batch at a time. `shapes` are those per image of its arrays."""
    (regions,), (seen,) = shapes["region_mask"], shapes.get(SEEN_CLASSES, (0,))
    for start in range(0, len(ids), ENCODE_BATCH):
        records = store.read(ids[start : start + ENCODE_BATCH])
        arrays = scorer.encoders.encode_images(*pad_to(records, regions))
        if seen:
            arrays |= zip(SEEN, pad_classes([record.seen for record in records], seen), strict=True)
        arrays |= hubness.arrays(arrays, shapes)
        listed = [
            GalleryImage(
                record.id, relative_path(record.path, beside), record.width, record.height, checksums[record.id]
            )
            for record in records
        ]
        yield arrays, _boxes(records, regions), listed
        on_images(start + len(records))


def relative_path(path: str, beside: Path) -> str:
    """A photo's path as a gallery keeps it: relative to the folder `beside` if the photo is below that."""
    return str(Path(path).relative_to(beside)) if path and Path(path).is_relative_to(beside) else path


def _boxes(records: Sequence[RegionRecord], regions: int) -> NDArray[np.float32]:
    boxes = np.full((len(records), regions, 4), np.nan, np.float32)
    for row, record in enumerate(records):
        if record.boxes is not None:
            boxes[row, : len(record.boxes)] = record.boxes
    return boxes


def pad_to(records: Sequence[RegionRecord], regions: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Features B x regions x F and mask B x regions. Raises InputError for an image with more regions."""
    features, mask = pad_regions(records)
    if features.shape[1] > regions:
        raise InputError(
            f"an image of this batch has {features.shape[1]} regions, the gallery's images have at most {regions}: "
            "index the store into a new gallery"
        )
    extra: list[Any] = [(0, 0), (0, regions - features.shape[1])]
    return np.pad(features, [*extra, (0, 0)]), np.pad(mask, extra)
