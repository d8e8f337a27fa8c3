"""A gallery: a collection's images as the pair scorer wants them, in memory-mapped blocks.

    GALLERY/manifest.json              bundle fingerprint, arrays, blocks with their deleted rows
    GALLERY/blocks/<name>/<array>.npy  one array a file, images x the array's shape; see gallery/storage.py
    GALLERY/blocks/<name>/boxes.npy    images x K x 4, pixels, NaN where unknown
    GALLERY/blocks/<name>/images.jsonl one image a line: id, path, size, checksum of its features
    GALLERY/blocks/<name>/id-*.npy     the row of an id; see gallery/id_rows.py
    GALLERY/blocks/<name>/rows.npy     checksum of an image's rows of all arrays; pooled*.npy: see gallery/pooled.py
    GALLERY/written-*.words            what is written in the photos; see gallery/written_format.py
    GALLERY/blocks/<name>/metadata-*.sqlite  facts about the images; see gallery/filters.py

Every image read is checked against its checksum, every small file against the one in the manifest. A block never
changes once it is named in the manifest, and the manifest is replaced in one rename. The folder of a block that a new
manifest leaves out stays until the next `index` starts: a process that opened the gallery earlier can keep reading for
one run.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from shan_engine.base.errors import InputError
from shan_engine.bundle.contents import Bundle
from shan_engine.gallery.blocks import Block, GalleryImage
from shan_engine.gallery.id_rows import id_hashes
from shan_engine.gallery.manifest import GalleryManifest, check_same_bundle


class Gallery:
    """An opened gallery."""

    def __init__(
        self,
        path: Path,
        manifest: GalleryManifest,
        blocks: Sequence[Block] | None = None,
        *,
        release_pages: bool = True,
    ) -> None:
        self.path, self.manifest, self._release_pages = path, manifest, release_pages
        self.blocks = (
            [Block.open(path, entry, manifest, release_pages=release_pages) for entry in manifest.blocks]
            if blocks is None
            else list(blocks)
        )

    @classmethod
    def open(cls, path: Path, bundle: Bundle | None = None, *, release_pages: bool = True) -> Gallery:
        """Open a gallery; with `release_pages` off, what was read stays in this process's memory.

        Raises GalleryError where it is missing or damaged, or was not made by `bundle`.
        """
        path = path.resolve()  # photos are named from the real folder's parent
        manifest = GalleryManifest.load(path)
        if bundle is not None:
            check_same_bundle(path, manifest, bundle)
        return cls(path, manifest, release_pages=release_pages)

    def renewed(self, bundle: Bundle) -> Gallery:
        """The gallery as it is on disk now: this one where nothing has changed. Blocks that stayed stay mapped.

        Raises GalleryError where it is damaged or another bundle has remade it.
        """
        manifest = GalleryManifest.load(self.path)
        check_same_bundle(self.path, manifest, bundle)
        if manifest == self.manifest:
            return self
        held = {block.name: block for block in self.blocks}
        blocks = [
            (entry.name in held and held[entry.name].renewed(entry))
            or Block.open(self.path, entry, manifest, release_pages=self._release_pages)
            for entry in manifest.blocks
        ]
        return Gallery(self.path, manifest, blocks, release_pages=self._release_pages)

    def __len__(self) -> int:
        return int(self.ends[-1]) if self.blocks else 0

    @cached_property
    def ends(self) -> NDArray[np.int64]:
        """Each block's end among all images, which are in the blocks' order."""
        return np.cumsum([len(block) for block in self.blocks])

    def find(self, place: int) -> tuple[Block, int]:
        """The block of the image at a place among all images, and its place among those of the block."""
        number = int(np.searchsorted(self.ends, place, side="right"))
        return self.blocks[number], place - int(self.ends[number]) + len(self.blocks[number])

    def restricted_to(self, ids: Iterable[str]) -> Gallery:
        """The same gallery with only the images `ids`. Raises InputError, naming one, where it lacks some."""
        wanted = set(ids)
        hashes = id_hashes(list(wanted))
        rows = [block.rows_of_ids(wanted, hashes) for block in self.blocks]
        if sum(map(len, rows)) < len(wanted):
            listed = (
                block.listed(np.searchsorted(block.rows, own).tolist())
                for block, own in zip(self.blocks, rows, strict=True)
            )
            missing = wanted - {fields["id"] for some in listed for fields in some}
            raise InputError(
                f"the gallery {self.path} has no image '{min(missing)}' ({len(missing)} are missing): "
                "index a store that has it, or choose another gallery or split"
            )
        return self.keeping(rows)

    def keeping(self, rows: Iterable[NDArray[np.int64]]) -> Gallery:
        """The same gallery with only some rows of each block's files; it shares what is mapped and checked."""
        blocks = [block.keeping(kept) for block, kept in zip(self.blocks, rows, strict=True)]
        return self.of_blocks(replace(self.manifest, blocks=tuple(block.entry for block in blocks)), blocks)

    def of_blocks(self, manifest: GalleryManifest, blocks: Sequence[Block]) -> Gallery:
        """The same gallery seen through another manifest and its blocks."""
        return Gallery(self.path, manifest, blocks, release_pages=self._release_pages)

    def ids(self) -> list[str]:
        """Ids of all images, in the order of the columns of a score matrix; cheaper than `images`."""
        return [id for block in self.blocks for id in block.ids]

    def place(self, id: str) -> int:
        """The place of an image among all. Raises InputError where the gallery has none with this id."""
        hashes = id_hashes([id])
        for block, end in zip(self.blocks, self.ends, strict=True):
            for row in block.rows_of_ids((id,), hashes):
                return int(end) - len(block) + int(np.searchsorted(block.rows, row))
        raise InputError(f"the gallery {self.path} has no image '{id}': it may have been deleted since")

    def image(self, id: str) -> GalleryImage:
        """The image with an id. Raises InputError where there is none."""
        block, row = self.find(self.place(id))
        return block.images_at([row])[0]

    def images(self) -> list[GalleryImage]:
        """All images, in the order of the columns of a score matrix."""
        return [image for block in self.blocks for image in block.images]
