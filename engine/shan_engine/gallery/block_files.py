"""The files of one block: mapped on first use, checked before they are read."""

from __future__ import annotations

import mmap
from collections.abc import Callable, Collection, Container, Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray

from shan_engine.base.errors import GalleryError, unread
from shan_engine.base.json_rows import decode_row
from shan_engine.base.packing import Arrays, map_npy, read_npy
from shan_engine.collections.repairing import repair_gallery_command
from shan_engine.gallery.id_rows import ID_HASHES, ID_ROWS, has_id_rows, id_rows, rows_at
from shan_engine.gallery.manifest import BlockEntry, unreadable
from shan_engine.gallery.pooled import POOLED_FILES, Pooled, has_pooled
from shan_engine.gallery.storage import Layout, file_checksum, row_checksums
from shan_engine.kernel.constants import REGIONS

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
        self._open: dict[str, tuple[mmap.mmap, NDArray[Any]]] = {}
        self._checking = Lock()

    @cached_property
    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """The arrays of all rows, by name, each mapped when it is first read; not checked."""
        return _Mapped(self._layout, lambda name: self._mapped(f"{name}.npy", *self._layout[name]))

    def _mapped(self, name: str, dtype: np.dtype[Any], shape: tuple[int, ...]) -> NDArray[Any]:
        """A file's array, mapped once, as a plain array: rows of a memmap are slow to take."""
        if name not in self._open:
            self._open[name] = map_npy(self.folder / name, dtype, (self._entry.images, *shape)) or self._opened(
                name, dtype, shape
            )
        return self._open[name][1]

    def _opened(self, name: str, dtype: np.dtype[Any], shape: tuple[int, ...]) -> tuple[mmap.mmap, NDArray[Any]]:
        """As `map_npy`, of a file with another header. Raises GalleryError for what is wrong with it."""
        path, array = self.folder / name, self._read(name)
        if not isinstance(array, np.memmap) or not array.flags.c_contiguous:
            raise GalleryError(f"{path} is damaged, its header is not as it was written: {self.fix}")
        held = (array.dtype, array.shape)
        expected = (dtype, (self._entry.images, *shape))
        if held != expected:
            said = " not ".join(f"{dtype} {shape}" for dtype, shape in (held, expected))
            raise GalleryError(f"{path} does not fit the gallery's manifest, it holds {said}: {self.fix}")
        return array._mmap, np.asarray(array)  # type: ignore[attr-defined]

    @property
    def fix(self) -> str:
        """The clause that tells how to repair the block."""
        return repair_gallery_command(self.folder.parent.parent)

    def check_shape(self, name: str) -> None:
        """Raise GalleryError where the file of an array, or of the rows' checksums, cannot be mapped as was written."""
        kind = self._layout.get(name, (np.dtype(np.uint64), ()))
        self._mapped(f"{name}.npy", *kind)

    def _read(self, name: str) -> NDArray[Any]:
        path = self.folder / name
        try:
            return read_npy(path, mapped=True)
        except (OSError, ValueError) as error:
            raise self._unreadable(path, "missing or truncated", error) from error
        except TypeError as error:
            raise GalleryError(f"{path} does not fit the gallery's manifest, {error}: {self.fix}") from error

    def _unreadable(self, path: Path, how: str, error: Exception | None = None) -> GalleryError:
        if isinstance(error, PermissionError):
            return GalleryError(unread(path, error, ""))
        entry = self._entry
        return unreadable(
            self.folder.parent.parent,
            GalleryError(f"{path} is {how}: {self.fix}"),
            lambda manifest: any((one.name, one.files) == (entry.name, entry.files) for one in manifest.blocks),
        )

    def release(self) -> None:
        """Give back the memory of mapped files, unless the gallery was opened to keep it.

        Arrays stay valid and are read again as needed. The system may keep the files in its cache, but they no longer
        count as this process's memory.
        """
        if self.release_pages and hasattr(mmap, "MADV_DONTNEED"):
            for mapped, _ in list(self._open.values()):
                mapped.madvise(mmap.MADV_DONTNEED)

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
                    f"image '{fields['id']}' of {self.folder} is damaged, a byte of it has changed: {self.fix}"
                )
            self._rows_sound[new] = True

    def check_whole(self, names: Iterable[str]) -> None:
        """Raise GalleryError where one of some arrays, read for all rows at once, is not as it was written.

        The manifest of an older gallery has no checksums of such arrays: then only `check` finds a changed byte.
        """
        for name in names:
            if (file := f"{name}.npy") in self._entry.files:
                self._mapped(file, *self._layout[name])
                self.checked_file(file)

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
                mapped = self._open[name][0] if name in self._open else b""
                whole = mapped and len(mapped) == path.stat().st_size
                held = xxhash.xxh3_64_hexdigest(mapped) if whole else file_checksum(path)
            except OSError as error:
                raise self._unreadable(path, "missing or damaged", error) from error
            if held != self._entry.files.get(name):
                raise GalleryError(f"{path} is damaged, its bytes are not those that were written: {self.fix}")
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
                    fields = decode_row(lines[start:end])
                    if {name: type(value) for name, value in fields.items()} != _IMAGE_FIELDS:
                        raise ValueError(f"line {row + 1} is not an image")
                    yield fields
        except OSError as error:
            raise self._unreadable(path, "missing or damaged", error) from error
        except (ValueError, IndexError, AttributeError) as error:
            raise GalleryError(f"{path} is damaged: {self.fix}") from error

    def rows_of(self, ids: Container[str], hashes: NDArray[np.uint64]) -> dict[str, int]:
        """Rows, deleted ones too, of those of some ids that the block has; `hashes` are theirs."""
        rows = rows_at(self._id_rows, hashes)
        named = zip(rows, self.listed(rows), strict=True) if rows else ()
        return {fields["id"]: row for row, fields in named if fields["id"] in ids}

    @cached_property
    def _id_rows(self) -> Arrays:
        if not has_id_rows(self._entry.files):
            return id_rows([fields["id"] for fields in self.listed(range(self._entry.images))])
        kinds: dict[str, np.dtype[Any]] = {ID_HASHES: np.dtype(np.uint64), ID_ROWS: np.dtype(np.uint32)}
        return {name: self._mapped(self.checked_file(f"{name}.npy").name, kind, ()) for name, kind in kinds.items()}

    @cached_property
    def _line_ends(self) -> NDArray[np.int64]:
        """Where each line of the list ends, after a 0. Lines end at line feeds alone: a name may hold U+2028."""
        feeds = np.flatnonzero(np.frombuffer(self.checked_file(LIST).read_bytes(), np.uint8) == ord("\n"))
        return np.concatenate([[0], feeds + 1]).astype(np.int64)

    @property
    def metadata_file(self) -> Path | None:
        """The table of the images' metadata, checked; None where the block has none."""
        name = next((name for name in self._entry.files if name.startswith(METADATA)), None)
        if name is None:
            return None
        path = self.checked_file(name)
        if not path.exists():  # checked before, and removed since
            raise self._unreadable(path, "missing or damaged")
        return path

    @cached_property
    def boxes(self) -> NDArray[np.float32]:
        """Boxes of all rows, N x K x 4 in pixels, NaN where unknown."""
        name = self.checked_file("boxes.npy").name
        mask = self._layout.get("region_mask")
        regions = mask[1] if mask else self._read(name).shape[1:2]
        return self._mapped(name, np.dtype(np.float32), (*regions, 4))

    @cached_property
    def pooled(self) -> Pooled:
        """Mean regions of all rows. A block of an earlier version has no files of them: they are computed once."""
        if not has_pooled(self._entry.files):
            return Pooled.of(self.arrays)
        (vectors, scales), dim = POOLED_FILES, self._layout[REGIONS][1][-1:]
        found = Pooled(self._mapped(vectors, np.dtype(np.int8), dim), self._mapped(scales, np.dtype(np.float32), ()))
        for name in POOLED_FILES:
            self.checked_file(name)  # of what is mapped, so that a scan finds it in memory
        return found


class _Mapped(Mapping[str, NDArray[Any]]):
    """Arrays by name, each opened when it is first asked for."""

    def __init__(self, names: Collection[str], open: Callable[[str], NDArray[Any]]) -> None:
        self._names, self._open = names, open

    def __getitem__(self, name: str) -> NDArray[Any]:
        if name not in self._names:
            raise KeyError(name)
        return self._open(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)
