"""A gallery: a collection's images as the pair scorer wants them, in memory-mapped blocks.

    GALLERY/manifest.json              bundle fingerprint, arrays, blocks with their deleted rows
    GALLERY/blocks/<name>/<array>.npy  one array a file, images x the array's shape
    GALLERY/blocks/<name>/boxes.npy    images x K x 4, pixels, NaN where unknown
    GALLERY/blocks/<name>/images.jsonl one image a line: id, path, size, checksum of its features

A block never changes once it is named in the manifest, and the manifest is replaced in one rename. The
folder of a block that a new manifest leaves out stays until the next `index` starts: whoever opened the
gallery before can read on for one run.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .bundle import Bundle
from .errors import GalleryError, InputError
from .gallery_manifest import BlockEntry, GalleryManifest

MEND = "delete the gallery and index the store again"


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

    def __len__(self) -> int:
        return self._entry.live

    @cached_property
    def rows(self) -> NDArray[np.int64]:
        """Rows of the files that count."""
        return np.setdiff1d(np.arange(self._entry.images), np.array(self._entry.deleted, np.int64))

    @cached_property
    def ids(self) -> list[str]:
        """Ids of the images that count."""
        return [fields["id"] for fields in self._listed()]

    @cached_property
    def images(self) -> list[GalleryImage]:
        """The images that count."""
        return [self._image(fields) for fields in self._listed()]

    def image(self, row: int) -> GalleryImage:
        """One of the images that count, read anew each time: a block's images all together take far more memory."""
        return self._image(next(self._listed([row])))

    def _image(self, fields: dict[str, Any]) -> GalleryImage:
        return GalleryImage(**{**fields, "path": str(self._beside / fields["path"]) if fields["path"] else ""})

    def checksums(self) -> list[tuple[str, int]]:
        """Id and checksum of the images that count."""
        return [(fields["id"], fields["checksum"]) for fields in self._listed()]

    def _listed(self, wanted: Sequence[int] | slice = slice(None)) -> Iterator[dict[str, Any]]:
        """What the list of images says of those that count, or of some of them."""
        path = self._folder / "images.jsonl"
        try:
            # Not splitlines: it also splits at characters such as U+2028 that may stand inside a name.
            lines = path.read_text("utf-8").split("\n")
            for row in self.rows[wanted]:
                fields = json.loads(lines[row])
                if {name: type(value) for name, value in fields.items()} != _IMAGE_FIELDS:
                    raise ValueError(f"line {row + 1} is not an image")
                yield fields
        except (OSError, ValueError, IndexError, AttributeError) as error:
            raise GalleryError(f"{path} is missing or damaged: {MEND}") from error

    def array(self, name: str) -> NDArray[Any]:
        """The mapped array of all the block's files' rows, `name` or 'boxes'; not only those that count."""
        path = self._folder / f"{name}.npy"
        try:
            array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise GalleryError(f"{path} is missing or truncated: {MEND}") from error
        held = (array.dtype, array.shape) if isinstance(array, np.ndarray) else (np.dtype(object), ())
        expected = self._expected(name, held[1])
        if held != expected:
            said = " not ".join(f"{dtype} {shape}" for dtype, shape in (held, expected))
            raise GalleryError(f"{path} does not fit the gallery's manifest, it holds {said}: {MEND}")
        return array

    def _expected(self, name: str, shape: tuple[int, ...]) -> tuple[np.dtype[Any], tuple[int, ...]]:
        arrays, images = self._manifest.arrays, self._entry.images
        if name == "boxes":
            return np.dtype(np.float32), (images, *arrays.get("region_mask", shape[1:2]), 4)
        return np.dtype(np.bool_ if name == "region_mask" else self._manifest.dtype), (images, *arrays[name])

    def rows_of(self, rows: list[int]) -> dict[str, NDArray[Any]]:
        """The arrays, by name, of some of the images that count."""
        return {name: _widen(self.array(name)[self.rows[rows]]) for name in self._manifest.arrays}

    def boxes(self, row: int) -> NDArray[np.float32]:
        """Boxes K x 4 in pixels of one of the images that count, NaN where unknown."""
        boxes: NDArray[np.float32] = np.array(self.array("boxes")[self.rows[row]])
        return boxes

    def batches(self, size: int) -> Iterator[tuple[slice, dict[str, NDArray[Any]]]]:
        """Up to `size` images at a time: their place among those that count, and their arrays by name.

        Views of the mapped files where no row is deleted and the types agree; copies otherwise.
        """
        mapped = {name: self.array(name) for name in self._manifest.arrays}
        for start in range(0, len(self), size):
            place = slice(start, min(start + size, len(self)))
            rows: slice | NDArray[np.int64] = self.rows[place] if self._entry.deleted else place
            yield place, {name: _widen(array[rows]) for name, array in mapped.items()}


def _widen(array: NDArray[Any]) -> NDArray[Any]:
    return array.astype(np.float32) if array.dtype == np.float16 else array


class Gallery:
    """An opened gallery."""

    def __init__(self, path: Path, manifest: GalleryManifest) -> None:
        self.path = path
        self.manifest = manifest
        self.blocks = [Block(path, entry, manifest) for entry in manifest.blocks]

    @classmethod
    def open(cls, path: Path, bundle: Bundle | None = None) -> Gallery:
        """Raises GalleryError where it is missing or damaged, or was not made by `bundle`."""
        path = path.resolve()  # photos are named from the real folder's parent
        manifest = GalleryManifest.load(path)
        if bundle is not None:
            check_same_bundle(path, manifest, bundle)
        return cls(path, manifest)

    def __len__(self) -> int:
        return sum(len(block) for block in self.blocks)

    def restricted_to(self, ids: Iterable[str]) -> Gallery:
        """The same gallery with only the images `ids`. Raises InputError, naming one, where it lacks some."""
        wanted = set(ids)
        missing = wanted - set(self.ids())
        if missing:
            raise InputError(
                f"the gallery {self.path} has no image '{min(missing)}' ({len(missing)} are missing): "
                "index a store that has it, or choose another gallery or split"
            )
        entries = []
        for entry, block in zip(self.manifest.blocks, self.blocks, strict=True):
            left_out = {int(row) for row, id in zip(block.rows, block.ids, strict=True) if id not in wanted}
            entries.append(replace(entry, deleted=tuple(sorted(left_out | set(entry.deleted)))))
        return Gallery(self.path, replace(self.manifest, blocks=tuple(entries)))

    def ids(self) -> list[str]:
        """Ids of all images, in the order of the columns of a score matrix; cheaper than `images`."""
        return [id for block in self.blocks for id in block.ids]

    def images(self) -> list[GalleryImage]:
        """All images, in the order of the columns of a score matrix."""
        return [image for block in self.blocks for image in block.images]


def check_same_bundle(path: Path, manifest: GalleryManifest, bundle: Bundle) -> None:
    """Raise GalleryError where a gallery was not made by `bundle`."""
    if manifest.fingerprint != bundle.manifest.fingerprint:
        raise GalleryError(
            f"the gallery {path} was made by bundle {manifest.fingerprint[:12]}, not by {bundle.path} "
            f"({bundle.manifest.fingerprint[:12]}): name the bundle that made it with --model (or in SHAN_MODEL), "
            f"or run `shan-engine index STORE --model {bundle.path} --output NEW`"
        )
