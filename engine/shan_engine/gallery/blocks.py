"""One block of a gallery: arrays mapped on first use, checked row by row."""

from __future__ import annotations

import json
import mmap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shan_engine.base.errors import GalleryError
from shan_engine.gallery.manifest import BlockEntry, GalleryManifest
from shan_engine.gallery.storage import Arrays, file_checksum, layout, row_checksums, unpacked

MEND = "delete the gallery and index the store again"


LIST = "images.jsonl"


METADATA = "metadata-"


@dataclass(frozen=True)
class GalleryImage:
    """One image of a gallery: `checksum` is that of its record in the feature store.

    On disk, `path` is relative to the gallery's own folder's parent where the photo lies below that, so
    that a gallery may move together with its photos; opened, it is whole.
    """

    id: str
    path: str
    width: int
    height: int
    checksum: int


_IMAGE_FIELDS = {"id": str, "path": str, "width": int, "height": int, "checksum": int}


class Block:
    """One block, its arrays mapped on first use. Rows are those that count, in order."""

    def __init__(self, gallery: Path, entry: BlockEntry, manifest: GalleryManifest) -> None:
        self._folder, self._beside = gallery / "blocks" / entry.name, gallery.parent
        self._entry, self._manifest = entry, manifest
        self._layout = layout(manifest.arrays, manifest.dtype)
        self._sound: set[str] = set()

    def __len__(self) -> int:
        return self._entry.live

    @property
    def name(self) -> str:
        """The name of its folder, which no other block of any gallery has."""
        return self._entry.name

    @cached_property
    def rows(self) -> NDArray[np.int64]:
        """Rows of the files that count."""
        return np.setdiff1d(np.arange(self._entry.images), np.array(self._entry.deleted, np.int64))

    @cached_property
    def ids(self) -> list[str]:
        """Ids of the images that count."""
        return [fields["id"] for fields in self.listed()]

    @cached_property
    def images(self) -> list[GalleryImage]:
        """The images that count."""
        return [self._image(fields) for fields in self.listed()]

    def images_at(self, rows: Sequence[int]) -> list[GalleryImage]:
        """Some of the images that count, read anew each time: a block's images all together take far more memory."""
        return [self._image(fields) for fields in self.listed(rows)]

    def _image(self, fields: dict[str, Any]) -> GalleryImage:
        return GalleryImage(**{**fields, "path": str(self._beside / fields["path"]) if fields["path"] else ""})

    def checksums(self) -> list[tuple[str, int]]:
        """Id and checksum of the images that count."""
        return [(fields["id"], fields["checksum"]) for fields in self.listed()]

    def listed(self, wanted: Sequence[int] | slice = slice(None)) -> Iterator[dict[str, Any]]:
        """What the list of images says of those that count, or of some of them."""
        lines = self._lines()
        try:
            for row in self.rows[wanted]:
                fields = json.loads(lines[row])
                if {name: type(value) for name, value in fields.items()} != _IMAGE_FIELDS:
                    raise ValueError(f"line {row + 1} is not an image")
                yield fields
        except (ValueError, IndexError, AttributeError) as error:
            raise GalleryError(f"{self._folder / LIST} is damaged: {MEND}") from error

    def _lines(self) -> list[str]:
        path = self._checked_file(LIST)
        try:
            # Not splitlines: it also splits at characters such as U+2028 that may stand inside a name.
            return path.read_text("utf-8").split("\n")
        except (OSError, ValueError) as error:
            raise GalleryError(f"{path} is missing or damaged: {MEND}") from error

    def _checked_file(self, name: str) -> Path:
        """A small file's path. Raises GalleryError, the first time, where its bytes are not those written."""
        path = self._folder / name
        if name not in self._sound:
            try:
                held = file_checksum(path)
            except OSError as error:
                raise GalleryError(f"{path} is missing or damaged: {MEND}") from error
            if held != self._entry.files.get(name):
                raise GalleryError(f"{path} is damaged, its bytes are not those that were written: {MEND}")
            self._sound.add(name)
        return path

    @property
    def metadata_file(self) -> Path | None:
        """The table of what is known of the images, checked; None where the block has none."""
        name = next((name for name in self._entry.files if name.startswith(METADATA)), None)
        return None if name is None else self._checked_file(name)

    @cached_property
    def files(self) -> Arrays:
        """The mapped arrays of all files' rows, by name; not only rows that count, and not checked."""
        # As plain arrays: rows of a memmap are slow to take.
        return {name: np.asarray(mapped) for name, mapped in self._maps.items()}

    @cached_property
    def _maps(self) -> dict[str, np.memmap[Any, Any]]:
        return {name: self._mapped(f"{name}.npy", *kind) for name, kind in self._layout.items()}

    def _mapped(self, name: str, dtype: np.dtype[Any], shape: tuple[int, ...]) -> np.memmap[Any, Any]:
        path = self._folder / name
        try:
            array: np.memmap[Any, Any] = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise GalleryError(f"{path} is missing or truncated: {MEND}") from error
        held = (array.dtype, array.shape) if isinstance(array, np.ndarray) else (np.dtype(object), ())
        expected = (dtype, (self._entry.images, *shape))
        if held != expected:
            said = " not ".join(f"{dtype} {shape}" for dtype, shape in (held, expected))
            raise GalleryError(f"{path} does not fit the gallery's manifest, it holds {said}: {MEND}")
        return array

    def release(self) -> None:
        """Give the memory of mapped files back, as far as they were read; arrays stay valid, read again as needed.

        The system may keep the files in its cache, but they count no longer as this process's.
        """
        if hasattr(mmap, "MADV_DONTNEED"):
            for mapped in self._maps.values():
                mapped._mmap.madvise(mmap.MADV_DONTNEED)  # type: ignore[attr-defined]

    def check(self, rows: NDArray[np.int64]) -> None:
        """Raise GalleryError, naming the image, where some rows of the files, by number, are not as written.

        A row is read once for it as long as the block is open.
        """
        new = rows[~self._rows_sound[rows]]
        wrong = new[row_checksums(list(self.files.values()), new) != self._row_checksums[new]]
        if len(wrong):
            id = json.loads(self._lines()[wrong[0]])["id"]
            raise GalleryError(f"image '{id}' of {self._folder} is damaged, a byte of it has changed: {MEND}")
        self._rows_sound[new] = True

    @cached_property
    def _rows_sound(self) -> NDArray[np.bool_]:
        return np.zeros(self._entry.images, np.bool_)

    @cached_property
    def _row_checksums(self) -> NDArray[np.uint64]:
        return self._mapped(self._checked_file("rows.npy").name, np.dtype(np.uint64), ())

    def rows_of(self, rows: Sequence[int] | NDArray[np.int64]) -> Arrays:
        """The arrays, by name, of some of the images that count."""
        return self.unpacked(self.rows[rows])

    def unpacked(self, rows: NDArray[np.int64]) -> Arrays:
        """The arrays, by name, at some rows of the files, checked."""
        return unpacked(self.stored(rows))

    def stored(self, rows: NDArray[np.int64]) -> Arrays:
        """What all files, by name, hold at some rows, checked: views where rows follow each other."""
        self.check(rows)
        whole = slice(int(rows[0]), int(rows[-1]) + 1) if len(rows) else slice(0)
        taken = whole if whole.stop - whole.start == len(rows) else rows
        return {name: array[taken] for name, array in self.files.items()}

    def boxes(self, row: int) -> NDArray[np.float32]:
        """Boxes K x 4 in pixels of one of the images that count, NaN where unknown."""
        boxes: NDArray[np.float32] = np.array(self._boxes[self.rows[row]])
        return boxes

    @property
    def _boxes(self) -> NDArray[np.float32]:
        name = self._checked_file("boxes.npy").name
        mask = self._layout.get("region_mask")
        regions = mask[1] if mask else np.load(self._folder / name, mmap_mode="r").shape[1:2]
        return self._mapped(name, np.dtype(np.float32), (*regions, 4))

    def raw(self, rows: NDArray[np.int64], centroids: str = "") -> Arrays:
        """Some of the images that count as they lie on disk, checked: their rows of every file, by file."""
        taken = self.rows[rows]
        self.check(taken)
        held = {name: array[taken] for name, array in self.files.items()}
        held |= {"rows": self._row_checksums[taken], "boxes": np.asarray(self._boxes[taken])}
        return held | ({f"codes-{centroids}": self.codes(centroids)[rows]} if centroids else {})

    def codes(self, centroids: str) -> NDArray[np.uint16]:
        """Numbers of the regions' centroids, images x K, of the images that count."""
        path = self._checked_file(f"codes-{centroids}.npy")
        mapped = self._mapped(path.name, np.dtype(np.uint16), self._layout["region_mask"][1])
        codes: NDArray[np.uint16] = mapped[self.rows]
        return codes

    def batches(self, size: int) -> Iterator[tuple[slice, Arrays]]:
        """Up to `size` images at a time: their place among those that count, and their arrays by name.

        Views of the mapped files where no row is deleted and the types agree; copies otherwise.
        """
        for start in range(0, len(self), size):
            place = slice(start, min(start + size, len(self)))
            yield place, self.unpacked(self.rows[place])
