"""One image's record in the feature store, and its bytes.

Layout (little-endian): `crc32 u32 | regions u16 | flags u16 | metadata bytes u32 | classes u32`, then the features
(K x F, the schema's dtype), the boxes (K x 4 float32, if flag 1), the classes seen (m u16, m float16, m u8, where m is
the header's `classes`), then the metadata as JSON. The checksum covers everything after itself.
"""

from __future__ import annotations

import json
import shlex
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shan_engine.base.errors import InputError, StoreError
from shan_engine.base.ids import MAX_ID_BYTES, decode_id, encode_id, spelt_out
from shan_engine.base.json_rows import decode_row
from shan_engine.base.manifests import demand

_HEADER = struct.Struct("<IHHII")
_HAS_BOXES = 1
MAX_REGIONS = 2**16 - 1
_SEEN_BYTES = 5  # a class seen: its number, probability and region


@dataclass(frozen=True)
class SeenClasses:
    """What an extractor's classifier saw in one image: m of its classes, the most probable first.

    `classes` are their numbers (uint16), `probabilities` those of the whole image (float16), and `regions` the region
    where each is most probable (uint8). All have length m.
    """

    classes: NDArray[np.uint16]
    probabilities: NDArray[np.float16]
    regions: NDArray[np.uint8]


@dataclass(frozen=True)
class RegionRecord:
    """The regions that a detector or backbone found in one image.

    `features` is K x F, float. `boxes` is K x 4 in pixels (x0, y0, x1, y1), or None. `width` and `height` are in
    pixels, 0 if unknown. `path` is the photo's file, empty if unknown; `stamp` changes when that file does. `seen` is
    None if the extractor has no classifier.
    """

    id: str
    features: NDArray[np.floating]
    boxes: NDArray[np.float32] | None = None
    path: str = ""
    width: int = 0
    height: int = 0
    stamp: str = ""
    seen: SeenClasses | None = None


@dataclass(frozen=True)
class RecordInfo:
    """A record without its arrays, for listing a store. `checksum` identifies the content.

    `classes` is how many classes the photo was seen as, 0 if that is unknown.
    """

    id: str
    checksum: int
    regions: int
    path: str
    stamp: str
    classes: int = 0


def how_to_replace(store: Path, id: str) -> str:
    """How to replace an image's damaged record. `extract` alone would not, because the photo has not changed."""
    command = shlex.join(["shan-engine", "store", "delete", str(store), spelt_out(id)])
    return f"remove it with `{command}`, then extract or import it again"


def already_held(store: Path, ids: Sequence[str]) -> InputError:
    """The error for images that a store has already."""
    images = f"the image '{ids[0]}' is" if len(ids) == 1 else f"{len(ids)} images, such as '{ids[0]}', are"
    return InputError(
        f"{images} in the store {store} already: give these other ids (--ids for an .npy), use another store, or pass "
        "--replace to replace those there"
    )


def check_record(record: RegionRecord, *, feature_dim: int, max_regions: int) -> None:
    """Raise InputError, naming the image, if a record does not fit a store's schema."""
    name = f"image '{record.id}'"
    if not record.id.strip():
        raise InputError("an image has an empty id: give each image a non-empty id")
    if len(encode_id(record.id)) > MAX_ID_BYTES:
        raise InputError(f"the id '{record.id[:60]}…' is longer than {MAX_ID_BYTES} bytes: shorten it")
    shape = record.features.shape
    if len(shape) != 2 or shape[0] == 0:
        raise InputError(f"{name} has features of shape {shape}: give regions x {feature_dim}")
    if shape[1] != feature_dim:
        raise InputError(
            f"{name} has features of size {shape[1]}, the store holds size {feature_dim}: "
            "use the extractor that this store was made with, or a new store"
        )
    if shape[0] > min(max_regions, MAX_REGIONS):
        most = min(max_regions, MAX_REGIONS)
        raise InputError(f"{name} has {shape[0]} regions, the store's maximum is {most}: keep its best ones")
    if not np.isfinite(record.features).all():
        raise InputError(f"{name} has NaN or infinite features: extract it again")
    if record.boxes is not None and (record.boxes.shape != (shape[0], 4) or not np.isfinite(record.boxes).all()):
        raise InputError(
            f"{name} has boxes of shape {record.boxes.shape}, or NaN in them: give {shape[0]} x 4 finite numbers"
        )
    if record.seen is not None:
        _check_seen(name, record.seen, shape[0])


def _check_seen(name: str, seen: SeenClasses, regions: int) -> None:
    arrays = (seen.classes, seen.probabilities, seen.regions)
    if len({array.shape for array in arrays}) != 1 or arrays[0].ndim != 1 or not len(arrays[0]):
        shapes = ", ".join(str(array.shape) for array in arrays)
        raise InputError(f"{name} has classes, probabilities and regions of shapes {shapes}: give one row of each")
    if not ((seen.probabilities >= 0) & (seen.probabilities <= 1)).all():
        raise InputError(f"{name} has classes with probabilities outside 0 to 1: extract it again")
    if (seen.regions >= regions).any():
        raise InputError(f"{name} has classes in region {seen.regions.max()}, but {regions} regions: extract it again")


def encode_record(record: RegionRecord, dtype: np.dtype[np.floating]) -> bytes:
    """Encode a checked record to bytes. Raises InputError if a feature overflows float16."""
    with np.errstate(over="ignore", invalid="ignore"):
        features = np.ascontiguousarray(record.features, dtype=dtype)
    if not np.isfinite(features).all():
        raise InputError(f"image '{record.id}' has features beyond {dtype.name}: use a float32 store")
    boxes = b"" if record.boxes is None else np.ascontiguousarray(record.boxes, np.float32).tobytes()
    metadata = {
        "id": record.id,
        "path": record.path,
        "size": [record.width, record.height],
        "stamp": record.stamp,
    }
    text = json.dumps(metadata, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogateescape")
    flags = _HAS_BOXES if boxes else 0
    classes, seen = 0, b""
    if record.seen is not None:
        classes = len(record.seen.classes)
        seen = record.seen.classes.tobytes() + record.seen.probabilities.tobytes() + record.seen.regions.tobytes()
    header = _HEADER.pack(0, len(features), flags, len(text), classes)
    body = b"".join([header[4:], features.tobytes(), boxes, seen, text])
    return struct.pack("<I", zlib.crc32(body)) + body


def decode_record(value: memoryview | bytes, *, dtype: np.dtype[np.floating], feature_dim: int) -> RegionRecord:
    """Decode a record, copying its arrays as float32. Raises StoreError if the bytes are damaged."""
    view = memoryview(value)
    _, regions, flags, text_bytes, classes = _checked_header(view)
    end_features = _HEADER.size + regions * feature_dim * dtype.itemsize
    end_boxes = end_features + (regions * 16 if flags & _HAS_BOXES else 0)
    end_seen = end_boxes + classes * _SEEN_BYTES
    if end_seen + text_bytes != len(view):
        raise StoreError("a record's length does not match its header")
    features = np.frombuffer(view[_HEADER.size : end_features], dtype).reshape(regions, feature_dim)
    boxes = None
    if flags & _HAS_BOXES:
        boxes = np.frombuffer(view[end_features:end_boxes], np.float32).reshape(regions, 4).copy()
    id, path, stamp, (width, height) = _metadata(view[end_seen:])
    return RegionRecord(
        id=id,
        features=features.astype(np.float32),
        boxes=boxes,
        path=path,
        width=width,
        height=height,
        stamp=stamp,
        seen=_decode_seen(view[end_boxes:end_seen]) if classes else None,
    )


def _decode_seen(view: memoryview) -> SeenClasses:
    count = len(view) // _SEEN_BYTES
    return SeenClasses(
        np.frombuffer(view[: 2 * count], np.uint16).copy(),
        np.frombuffer(view[2 * count : 4 * count], np.float16).copy(),
        np.frombuffer(view[4 * count :], np.uint8).copy(),
    )


def peek_record(value: memoryview | bytes) -> RecordInfo:
    """Decode a record's metadata, without checking or copying its arrays. Raises StoreError if it cannot be read."""
    view = memoryview(value)
    try:
        checksum, regions, _, text_bytes, classes = _HEADER.unpack_from(view)
    except struct.error as error:
        raise StoreError("its header or metadata cannot be read") from error
    id, path, stamp, _ = _metadata(view[max(0, len(view) - text_bytes) :])
    return RecordInfo(id, checksum, regions, path, stamp, classes)


def _metadata(text: memoryview) -> tuple[str, str, str, tuple[int, int]]:
    """A record's id, path, stamp and size. Raises StoreError where one is missing or of another type."""
    try:
        held = decode_row(text)
        (width, height), texts = held["size"], (held["id"], held["path"], held["stamp"])
        demand(all(type(text) is str for text in texts), "a text is none")
        demand(all(isinstance(size, int | float) for size in (width, height)), "a size is no number")
        return *texts, (width, height)
    except (ValueError, LookupError, TypeError) as error:
        raise StoreError("its header or metadata cannot be read") from error


def id_of(key: bytes, value: memoryview | bytes | None) -> str:
    """The id in a record whose key is shortened; where the record is damaged, text that names it."""
    try:
        return decode_id(key) if value is None else peek_record(value).id
    except StoreError:
        return decode_id(key)


def _checked_header(view: memoryview) -> tuple[int, int, int, int, int]:
    if len(view) < _HEADER.size:
        raise StoreError("a record is shorter than its header")
    header = _HEADER.unpack_from(view)
    if zlib.crc32(view[4:]) != header[0]:
        raise StoreError("a record's checksum does not match its bytes")
    return header


def pad_regions(records: Sequence[RegionRecord]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Features B x K x F, zero-padded to the largest K, and mask B x K, true for real regions."""
    counts = [len(record.features) for record in records]
    features = np.zeros((len(records), max(counts), records[0].features.shape[1]), np.float32)
    for row, record in enumerate(records):
        features[row, : counts[row]] = record.features
    return features, np.arange(max(counts)) < np.array(counts)[:, None]


def pad_classes(
    seen: Sequence[SeenClasses | None], classes: int
) -> tuple[NDArray[np.uint16], NDArray[np.float16], NDArray[np.uint8]]:
    """Class numbers, probabilities and regions of B images, each B x `classes`; 0 after an image's own."""
    shape = len(seen), classes
    numbers, shares, regions = np.zeros(shape, np.uint16), np.zeros(shape, np.float16), np.zeros(shape, np.uint8)
    for row, own in enumerate(seen):
        if own is not None:
            count = min(classes, len(own.classes))
            numbers[row, :count], shares[row, :count] = own.classes[:count], own.probabilities[:count]
            regions[row, :count] = own.regions[:count]
    return numbers, shares, regions
