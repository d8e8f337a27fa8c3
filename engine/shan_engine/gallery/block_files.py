"""The files of one block: mapped on first use, checked before they are read."""

from __future__ import annotations

import json
import mmap
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shan_engine.base.errors import GalleryError
from shan_engine.base.packing import Arrays
from shan_engine.gallery.manifest import BlockEntry
from shan_engine.gallery.storage import Layout, file_checksum, row_checksums

FIX = "delete the gallery and index the store again"
LIST = "images.jsonl"
METADATA = "metadata-"
_IMAGE_FIELDS = {"id": str, "path": str, "width": int, "height": int, "checksum": int}


class BlockFiles:
    """What a block's folder holds, by row of the files; deleted images included.

    One object serves every view of the block, also from several threads, so that nothing is mapped or checked twice.
    With `release_pages` off, `release` leaves pages that were read in this process's memory.
    """

    def __init__(self, folder: Path, entry: BlockEntry, layout: Layout, *, release_pages: bool = True) -> None:
        self.folder, self.release_pages = folder, release_pages
        self._entry, self._layout = entry, layout
        self._sound: set[str] = set()
        self._checking = Lock()

    @cached_property
    def arrays(self) -> Arrays:
        """The mapped arrays of all rows, by name; not checked."""
        # As plain arrays: rows of a memmap are slow to take.
        return {name: np.asarray(mapped) for name, mapped in self._maps.items()}

    @cached_property
    def _maps(self) -> dict[str, np.memmap[Any, Any]]:
        return {name: self._mapped(f"{name}.npy", *kind) for name, kind in self._layout.items()}

    def _mapped(self, name: str, dtype: np.dtype[Any], shape: tuple[int, ...]) -> np.memmap[Any, Any]:
        path = self.folder / name
        try:
            array: np.memmap[Any, Any] = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise GalleryError(f"{path} is missing or truncated: {FIX}") from error
        held = (array.dtype, array.shape) if isinstance(array, np.ndarray) else (np.dtype(object), ())
        expected = (dtype, (self._entry.images, *shape))
        if held != expected:
            said = " not ".join(f"{dtype} {shape}" for dtype, shape in (held, expected))
            raise GalleryError(f"{path} does not fit the gallery's manifest, it holds {said}: {FIX}")
        return array

    def release(self) -> None:
        """Give back the memory of mapped files, unless the gallery was opened to keep it.

        Arrays stay valid and are read again as needed. The system may keep the files in its cache, but they no longer
        count as this process's memory.
        """
        if self.release_pages and hasattr(mmap, "MADV_DONTNEED"):
            for mapped in self._maps.values():
                mapped._mmap.madvise(mmap.MADV_DONTNEED)  # type: ignore[attr-defined]

    def check(self, rows: NDArray[np.int64]) -> None:
        """Raise GalleryError, naming the image, where some rows, by number, are not as they were written.

        A row is read once for it as long as the block is open.
        """
        new = rows[~self._rows_sound[rows]]
        if not len(new):
            return
        with self._checking:
            wrong = new[row_checksums(list(self.arrays.values()), new) != self.row_checksums[new]]
            if len(wrong):
                (fields,) = self.listed(wrong[:1])
                raise GalleryError(
                    f"image '{fields['id']}' of {self.folder} is damaged, a byte of it has changed: {FIX}"
                )
            self._rows_sound[new] = True

    @cached_property
    def _rows_sound(self) -> NDArray[np.bool_]:
        return np.zeros(self._entry.images, np.bool_)

    @cached_property
    def row_checksums(self) -> NDArray[np.uint64]:
        """The checksum of every row, as it was written."""
        return self._mapped(self.checked_file("rows.npy").name, np.dtype(np.uint64), ())

    def checked_file(self, name: str) -> Path:
        """A small file's path. Raises GalleryError, the first time, where its bytes are not those written."""
        path = self.folder / name
        if name not in self._sound:
            try:
                held = file_checksum(path)
            except OSError as error:
                raise GalleryError(f"{path} is missing or damaged: {FIX}") from error
            if held != self._entry.files.get(name):
                raise GalleryError(f"{path} is damaged, its bytes are not those that were written: {FIX}")
            self._sound.add(name)
        return path

    def listed(self, rows: Iterable[int]) -> Iterator[dict[str, Any]]:
        """What the list of images says of some rows. The list is mapped, and only these lines are parsed."""
        path = self.checked_file(LIST)
        if not self._entry.images:
            return
        try:
            with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as lines:
                for row in rows:
                    start, end = self._line_ends[row], self._line_ends[row + 1]
                    fields = json.loads(lines[start:end])
                    if {name: type(value) for name, value in fields.items()} != _IMAGE_FIELDS:
                        raise ValueError(f"line {row + 1} is not an image")
                    yield fields
        except OSError as error:
            raise GalleryError(f"{path} is missing or damaged: {FIX}") from error
        except (ValueError, IndexError, AttributeError) as error:
            raise GalleryError(f"{path} is damaged: {FIX}") from error

    @cached_property
    def _line_ends(self) -> NDArray[np.int64]:
        """Where each line of the list ends, after a 0. Lines end at line feeds alone: a name may hold U+2028."""
        feeds = np.flatnonzero(np.frombuffer(self.checked_file(LIST).read_bytes(), np.uint8) == ord("\n"))
        return np.concatenate([[0], feeds + 1]).astype(np.int64)

    @property
    def metadata_file(self) -> Path | None:
        """The table of the images' metadata, checked; None where the block has none."""
        name = next((name for name in self._entry.files if name.startswith(METADATA)), None)
        return None if name is None else self.checked_file(name)

    @cached_property
    def boxes(self) -> NDArray[np.float32]:
        """Boxes of all rows, N x K x 4 in pixels, NaN where unknown."""
        name = self.checked_file("boxes.npy").name
        mask = self._layout.get("region_mask")
        regions = mask[1] if mask else np.load(self.folder / name, mmap_mode="r").shape[1:2]
        return self._mapped(name, np.dtype(np.float32), (*regions, 4))

    def codes(self, centroids: str) -> NDArray[np.uint16]:
        """Numbers of the regions' centroids of all rows, N x K."""
        path = self.checked_file(f"codes-{centroids}.npy")
        return self._mapped(path.name, np.dtype(np.uint16), self._layout["region_mask"][1])
