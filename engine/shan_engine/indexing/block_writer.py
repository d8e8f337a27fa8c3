"""Write the files of one block of a gallery, completely or not at all."""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shan_engine.base.files import NpyWriter, make_folder, sync_folder
from shan_engine.base.metadata import Metadata
from shan_engine.base.packing import Arrays
from shan_engine.gallery.block_files import LIST
from shan_engine.gallery.blocks import GalleryImage
from shan_engine.gallery.filters import Listed, metadata_name
from shan_engine.gallery.id_rows import ID_FILES, id_rows
from shan_engine.gallery.manifest import BlockEntry, GalleryManifest
from shan_engine.gallery.pooled import POOLED, Pooled
from shan_engine.gallery.storage import READ_WHOLE, file_checksum, layout, packed, row_checksums
from shan_engine.indexing.tables import write_table

Encoded = tuple[Arrays, NDArray[np.float32], Sequence[GalleryImage]]
"""Arrays of B images by name, their boxes B x K x 4, and their lines in the list of images."""


class BlockWriter:
    """A block's folder: one `.npy` file of `rows` rows for each array, and a list of JSON lines."""

    def __init__(self, folder: Path, rows: int, list_name: str, open_files: ExitStack) -> None:
        self.folder, self._rows, self._list, self._open = folder, rows, list_name, open_files
        self._lines = open_files.enter_context((folder / list_name).open("w", encoding="utf-8"))
        self._arrays: dict[str, NpyWriter] = {}

    @property
    def name(self) -> str:
        """The block's name, unique among all galleries."""
        return self.folder.name

    def append(self, files: Mapping[str, NDArray[Any]], lines: Iterable[Any]) -> None:
        """Append rows to every file, given by its name without `.npy`, and their lines to the list."""
        for file, values in files.items():
            if file not in self._arrays:
                shape = (self._rows, *values.shape[1:])
                writer = NpyWriter(self.folder / f"{file}.npy", shape, values.dtype)
                self._arrays[file] = self._open.enter_context(writer)
            self._arrays[file].append(values)
        self._lines.writelines(json.dumps(line) + "\n" for line in lines)

    def finish(self) -> list[str]:
        """Close all files and return their names, the list's first."""
        self._open.close()
        return [self._list, *(f"{file}.npy" for file in self._arrays)]

    def checksums(self, names: Iterable[str]) -> dict[str, str]:
        """Checksums of closed files, by name."""
        return {name: file_checksum(self.folder / name) for name in names}


@contextmanager
def new_block(gallery: Path, rows: int, list_name: str) -> Iterator[BlockWriter]:
    """A new block to fill with `rows` rows; it is on disk when the context ends.

    Raises OSError if a write fails. After any exception, nothing of the block is left.
    """
    folder = gallery / "blocks" / uuid.uuid4().hex[:12]
    try:
        make_folder(folder.parent)
        folder.mkdir()
        with ExitStack() as open_files:
            yield BlockWriter(folder, rows, list_name, open_files)
        sync_folder(folder)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def finish_block(block: BlockWriter, images: int, listed: Iterable[Listed], metadata: Metadata | None) -> BlockEntry:
    """Close a block of photos and return its manifest entry, with checksums of the files that are read whole.

    `listed` are all lines of its list; with `metadata` the block gets a table.
    """
    listed = list(listed)
    block.append(id_rows([fields["id"] for _, fields in listed]), ())
    starts = (LIST, "rows.", "boxes.", *ID_FILES, POOLED, *(f"{name}." for name in READ_WHOLE))
    whole = [name for name in block.finish() if name.startswith(starts)]
    checksums = block.checksums(whole)
    if metadata:
        checksums[metadata_name(metadata)] = write_table(block.folder, listed, metadata)
    return BlockEntry(block.name, images, files=checksums)


def write_block(
    gallery: Path,
    manifest: GalleryManifest,
    images: int,
    batches: Iterable[Encoded],
    metadata: Metadata | None = None,
    *,
    pooled: bool = False,
) -> BlockEntry:
    """Write a new block of `images` images that arrive in batches, and return its manifest entry.

    With `metadata` it has a table, with `pooled` its images' mean regions. Raises OSError if a write fails; then no
    block is left.
    """
    files = layout(manifest.arrays, manifest.dtype)
    listed: list[dict[str, Any]] = []
    with new_block(gallery, images, LIST) as block:
        for arrays, boxes, images_of_batch in batches:
            stored: Arrays = {}
            for array, values in arrays.items():
                stored.update(packed(array, values, manifest.dtype))
            rows = {file: np.ascontiguousarray(stored[file]) for file in files}
            rows["rows"] = row_checksums(list(rows.values()), range(len(images_of_batch)))
            rows["boxes"] = np.asarray(boxes, np.float32)
            if pooled:
                rows |= Pooled.of(stored).files
            lines = [asdict(image) for image in images_of_batch]
            block.append(rows, lines)
            listed.extend(lines)
        return finish_block(block, images, enumerate(listed), metadata)
