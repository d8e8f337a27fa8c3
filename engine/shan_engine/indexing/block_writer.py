"""One block of a gallery, written to the end or not at all."""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shan_engine.base.files import NpyWriter, sync_folder
from shan_engine.base.metadata import Metadata
from shan_engine.base.packing import Arrays
from shan_engine.gallery.block_files import LIST
from shan_engine.gallery.blocks import GalleryImage
from shan_engine.gallery.centroids import Centroids
from shan_engine.gallery.filters import Listed, metadata_name
from shan_engine.gallery.manifest import BlockEntry, GalleryManifest
from shan_engine.gallery.storage import file_checksum, layout, packed, row_checksums
from shan_engine.indexing.tables import write_table

Part = tuple[Arrays, NDArray[np.float32], Sequence[GalleryImage]]
"""Some images' arrays by name, their boxes B x K x 4, and what the list says of them."""


def write_block(
    gallery: Path,
    manifest: GalleryManifest,
    images: int,
    parts: Iterable[Part],
    centroids: Centroids | None = None,
    metadata: Metadata | None = None,
) -> BlockEntry:
    """Write a new block of `images` images that come in parts; what its entry in the manifest is to be.

    With `centroids` it has codes, with `metadata` a table. Raises OSError as a write does; then no block is left.
    """
    name = uuid.uuid4().hex[:12]
    folder = gallery / "blocks" / name
    files = layout(manifest.arrays, manifest.dtype)
    shapes = {file: (dtype, (images, *shape)) for file, (dtype, shape) in files.items()}
    shapes["rows"] = (np.dtype(np.uint64), (images,))
    mask_shape = manifest.arrays.get("region_mask")
    codes = f"codes-{centroids.checksum}" if centroids else ""
    if centroids and mask_shape:
        shapes[codes] = (np.dtype(np.uint16), (images, *mask_shape))
    known: list[Listed] = []
    try:
        folder.mkdir(parents=True)
        with ExitStack() as stack:
            writers = {
                file: stack.enter_context(NpyWriter(folder / f"{file}.npy", shape, dtype))
                for file, (dtype, shape) in shapes.items()
            }
            lines = stack.enter_context((folder / LIST).open("w", encoding="utf-8"))
            for arrays, boxes, listed in parts:
                rows: Arrays = {}
                for array, values in arrays.items():
                    rows.update(packed(array, values, manifest.dtype))
                rows = {file: np.ascontiguousarray(rows[file]) for file in files}
                rows["rows"] = row_checksums(list(rows.values()), range(len(listed)))
                if centroids and codes in writers:
                    rows[codes] = centroids.codes(arrays["image_regions"], arrays["region_mask"])
                if "boxes" not in writers:
                    shape = (images, *boxes.shape[1:])
                    writers["boxes"] = stack.enter_context(NpyWriter(folder / "boxes.npy", shape, np.float32))
                rows["boxes"] = boxes
                for file, values in rows.items():
                    writers[file].append(values)
                fields = [asdict(image) for image in listed]
                lines.writelines(json.dumps(image, ensure_ascii=True) + "\n" for image in fields)
                known.extend(enumerate(fields, len(known)))
        whole = [f"{file}.npy" for file in ("rows", "boxes", codes) if file in writers]
        checksums = {file: file_checksum(folder / file) for file in (LIST, *whole)}
        if metadata:
            checksums[metadata_name(metadata)] = write_table(folder, known, metadata)
        sync_folder(folder)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return BlockEntry(name, images, files=checksums)
