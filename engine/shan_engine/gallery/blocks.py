"""One block of a gallery: the rows of its files whose images are not deleted."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from shan_engine.base.packing import Arrays, unpacked
from shan_engine.gallery.block_files import BlockFiles
from shan_engine.gallery.manifest import BlockEntry, GalleryManifest
from shan_engine.gallery.pooled import Pooled
from shan_engine.gallery.storage import layout

Presented = Callable[[Mapping[str, NDArray[Any]]], Mapping[str, NDArray[Any]]]
"""Other arrays, made of those of a block."""


@dataclass(frozen=True)
class GalleryImage:
    """One image of a gallery: `checksum` is that of its record in the feature store.

    On disk, `path` is relative to the gallery's parent folder where the photo lies below that, so that a gallery may
    move together with its photos. Opened, the path is whole.
    """

    id: str
    path: str
    width: int
    height: int
    checksum: int


class _Files(Protocol):
    """A block's files by row, deleted images included; see `BlockFiles`, which reads them from disk."""

    @property
    def arrays(self) -> Mapping[str, NDArray[Any]]: ...
    @property
    def row_checksums(self) -> NDArray[np.uint64]: ...
    @property
    def metadata_file(self) -> Path | None: ...
    @property
    def boxes(self) -> NDArray[np.float32]: ...
    def listed(self, rows: Iterable[int]) -> Iterator[dict[str, Any]]: ...
    def rows_of(self, ids: Container[str], hashes: NDArray[np.uint64]) -> dict[str, int]: ...
    def check(self, rows: NDArray[np.int64]) -> None: ...
    def check_whole(self, names: Iterable[str]) -> None: ...
    def release(self) -> None: ...
    @property
    def pooled(self) -> Pooled: ...


class _Presented:
    """A block's files with other arrays, made of its own when they are first read."""

    def __init__(self, files: _Files, arrays: Presented) -> None:
        self._files, self._made_of = files, arrays

    @cached_property
    def arrays(self) -> Mapping[str, NDArray[Any]]:
        return self._made_of(self._files.arrays)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._files, name)


class Block:
    """The images of one block that are not deleted, in order; rows are numbers in the block's files."""

    def __init__(self, entry: BlockEntry, files: _Files, beside: Path) -> None:
        self.entry, self._files, self._beside = entry, files, beside

    @classmethod
    def open(cls, gallery: Path, entry: BlockEntry, manifest: GalleryManifest, *, release_pages: bool = True) -> Block:
        """The block of a gallery that the manifest's entry names. Nothing is read yet."""
        kinds = layout(manifest.arrays, manifest.dtype)
        files = BlockFiles(gallery / "blocks" / entry.name, entry, kinds, release_pages=release_pages)
        return cls(entry, files, gallery.parent)

    def keeping(self, rows: NDArray[np.int64]) -> Block:
        """The same block with only some rows of its files; it shares what is mapped and checked."""
        deleted = np.setdiff1d(np.arange(self.entry.images), rows).tolist()
        return Block(replace(self.entry, deleted=tuple(deleted)), self._files, self._beside)

    def presented(self, arrays: Presented) -> Block:
        """The same block with other arrays, made of those of all its rows; it shares what is mapped and checked."""
        return Block(self.entry, cast(_Files, _Presented(self._files, arrays)), self._beside)

    def renewed(self, entry: BlockEntry) -> Block | None:
        """The block as a later manifest names it, if only its deleted images differ: it shares what is mapped."""
        same = replace(self.entry, deleted=()) == replace(entry, deleted=())
        return Block(entry, self._files, self._beside) if same else None

    def __len__(self) -> int:
        return self.entry.live

    @property
    def name(self) -> str:
        """The name of its folder, which no other block of any gallery has."""
        return self.entry.name

    @cached_property
    def rows(self) -> NDArray[np.int64]:
        """Rows of the files whose images are not deleted, ascending."""
        rows = np.arange(self.entry.images)
        return np.setdiff1d(rows, np.array(self.entry.deleted, np.int64)) if self.entry.deleted else rows

    @cached_property
    def ids(self) -> list[str]:
        """Ids of the images."""
        return [fields["id"] for fields in self.listed()]

    def rows_of_ids(self, ids: Container[str], hashes: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Rows of the files, ascending, of the images that are not deleted and have one of some ids.

        `hashes` are those of the ids (gallery/id_rows.py).
        """
        found = np.array(sorted(self._files.rows_of(ids, hashes).values()), np.int64)
        if not self.entry.deleted or not len(self.rows):
            return found[: len(self.rows)]
        at = np.minimum(np.searchsorted(self.rows, found), len(self.rows) - 1)
        live: NDArray[np.int64] = found[self.rows[at] == found]
        return live

    @cached_property
    def images(self) -> list[GalleryImage]:
        """The images."""
        return [self._image(fields) for fields in self.listed()]

    def images_at(self, places: Sequence[int]) -> list[GalleryImage]:
        """Some of the images, read anew each time: all images of a block take far more memory."""
        return [self._image(fields) for fields in self.listed(places)]

    def _image(self, fields: dict[str, Any]) -> GalleryImage:
        return GalleryImage(**{**fields, "path": str(self._beside / fields["path"]) if fields["path"] else ""})

    def checksums(self) -> list[tuple[str, int]]:
        """Id and checksum of the images."""
        return [(fields["id"], fields["checksum"]) for fields in self.listed()]

    def listed(self, places: Sequence[int] | slice = slice(None)) -> Iterator[dict[str, Any]]:
        """What the list of images says of them all, or of some."""
        return self._files.listed(self.rows[places].tolist())

    @property
    def metadata_file(self) -> Path | None:
        """The table of the images' metadata, checked; None where the block has none."""
        return self._files.metadata_file

    @property
    def files(self) -> Mapping[str, NDArray[Any]]:
        """The mapped arrays of all files, by name: rows of deleted images too, and not checked."""
        return self._files.arrays

    def release(self) -> None:
        """Give back the memory of mapped files, unless the gallery was opened to keep it."""
        self._files.release()

    def check(self, rows: NDArray[np.int64]) -> None:
        """Raise GalleryError, naming the image, where some rows of the files are not as they were written."""
        self._files.check(rows)

    def whole(self, name: str) -> NDArray[Any]:
        """An array of all images, as stored. Raises GalleryError where its file is not as it was written.

        Of an older gallery it comes unchecked.
        """
        self._files.check_whole([name])
        return self.files[name][self.rows]

    def check_whole(self, names: Iterable[str]) -> None:
        """As `whole`, without reading what is not checked."""
        self._files.check_whole(names)

    def rows_of(self, places: Sequence[int] | NDArray[np.int64]) -> Arrays:
        """The arrays, by name, of some of the images."""
        return self.unpacked(self.rows[places])

    def unpacked(self, rows: NDArray[np.int64]) -> Arrays:
        """The arrays, by name, at some rows of the files, checked, as float32 or bool."""
        return unpacked(self.stored(rows))

    def stored(self, rows: NDArray[np.int64]) -> Arrays:
        """What all files, by name, hold at some rows, checked: views where rows follow each other."""
        self.check(rows)
        whole = slice(int(rows[0]), int(rows[-1]) + 1) if len(rows) else slice(0)
        chosen = whole if whole.stop - whole.start == len(rows) else rows
        return {name: array[chosen] for name, array in self.files.items()}

    def boxes(self, place: int) -> NDArray[np.float32]:
        """Boxes K x 4 in pixels of one of the images, NaN where unknown."""
        return np.array(self._files.boxes[self.rows[place]])

    def raw(self, places: NDArray[np.int64], *, pooled: bool = False) -> Arrays:
        """Some of the images as they lie on disk, checked: their rows of every file, by file.

        With `pooled`, their mean regions are among them, also where the block has no files of these.
        """
        rows = self.rows[places]
        self.check(rows)
        held = {name: array[rows] for name, array in self.files.items()}
        held |= {"rows": self._files.row_checksums[rows], "boxes": np.asarray(self._files.boxes[rows])}
        return held | (self.pooled.at(rows).files if pooled else {})

    @property
    def pooled(self) -> Pooled:
        """Mean regions of the images at all rows of the files, also of deleted ones."""
        return self._files.pooled

    def batches(self, size: int) -> Iterator[tuple[slice, Arrays]]:
        """Up to `size` images at a time: their place among the block's images, and their arrays by name."""
        for start in range(0, len(self), size):
            place = slice(start, min(start + size, len(self)))
            yield place, self.unpacked(self.rows[place])
