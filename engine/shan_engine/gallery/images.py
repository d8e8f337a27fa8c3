"""The images of several galleries in a row, numbered from 0 across them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from shan_engine.base.errors import InputError
from shan_engine.base.packing import Arrays
from shan_engine.gallery.blocks import Block
from shan_engine.gallery.manifest import GalleryManifest
from shan_engine.gallery.reader import Gallery


class Images:
    """All images of some galleries, in the galleries' order; places count from 0."""

    def __init__(self, galleries: Sequence[Gallery]) -> None:
        self.galleries = tuple(galleries)
        self.blocks: list[tuple[int, Block]] = [
            (number, block) for number, gallery in enumerate(self.galleries) for block in gallery.blocks
        ]

    @classmethod
    def of_manifests(cls, manifests: Sequence[tuple[Path, GalleryManifest]]) -> Images:
        """Those that another process named by `manifests`."""
        return cls([Gallery(path, manifest) for path, manifest in manifests])

    @property
    def manifests(self) -> list[tuple[Path, GalleryManifest]]:
        """What another process needs to open the same images."""
        return [(gallery.path, gallery.manifest) for gallery in self.galleries]

    def __len__(self) -> int:
        return int(self.ends[-1]) if len(self.ends) else 0

    @cached_property
    def ends(self) -> NDArray[np.int64]:
        """Each block's end among all images."""
        return np.cumsum([len(block) for _, block in self.blocks], dtype=np.int64)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape per image of every stored array, of the first gallery."""
        return self.galleries[0].manifest.arrays

    @cached_property
    def _begins(self) -> list[int]:
        """Each gallery's first place."""
        sizes = [len(gallery) for gallery in self.galleries]
        return [sum(sizes[:number]) for number in range(len(sizes))]

    def names(self) -> list[str]:
        """Galleries as results name them: by their folders, or by whole paths where two folders have one name.

        Raises InputError where a gallery is given twice.
        """
        paths = [gallery.path for gallery in self.galleries]
        twice = [path for path in paths if paths.count(path) > 1]
        if twice:
            raise InputError(f"the gallery {twice[0]} is given twice: name every gallery once")
        names = [path.name for path in paths]
        return names if len(set(names)) == len(names) else [str(path) for path in paths]

    def batches(self, start: int, stop: int, size: int) -> Iterator[tuple[slice, Arrays, Gallery, range]]:
        """Up to `size` images at a time from `start` to before `stop`, never across a block's end.

        Their place among all images, their rows of all files as stored, their gallery and their places in it.
        """
        first = int(np.searchsorted(self.ends, start, side="right"))
        while start < stop:
            number, block = self.blocks[first]
            begins = int(self.ends[first]) - len(block)
            ends = min(stop, int(self.ends[first]))
            while start < ends:
                place = slice(start, min(start + size, ends))
                rows = block.rows[place.start - begins : place.stop - begins]
                gallery, before = self.galleries[number], self._begins[number]
                yield place, block.stored(rows), gallery, range(place.start - before, place.stop - before)
                block.release()
                start = place.stop
            first += 1

    def name(self, places: NDArray[np.int64]) -> tuple[list[int], list[str]]:
        """Gallery's number and id of the images at some places; each block's list is read once."""
        ids = [""] * len(places)
        numbers = np.searchsorted(self.ends, places, side="right")
        for number in np.unique(numbers):
            block = self.blocks[number][1]
            wanted = np.flatnonzero(numbers == number)
            rows, inverse = np.unique(places[wanted] - (int(self.ends[number]) - len(block)), return_inverse=True)
            listed = [image.id for image in block.images_at(rows.tolist())]
            for place, row in zip(wanted.tolist(), inverse.tolist(), strict=True):
                ids[place] = listed[row]
        return [self.blocks[number][0] for number in numbers.tolist()], ids

    def with_only(self, kept: Callable[[int, Block], NDArray[np.int64]]) -> Images:
        """The same galleries with only those rows of each block that `kept` names by gallery's number and block."""
        galleries = []
        for number, gallery in enumerate(self.galleries):
            parts = [block.keeping(kept(number, block)) for block in gallery.blocks]
            blocks = [block for block in parts if len(block)]
            manifest = replace(gallery.manifest, blocks=tuple(block.entry for block in blocks))
            galleries.append(Gallery(gallery.path, manifest, blocks))
        return Images(galleries)

    def places_of(self, part: Images) -> NDArray[np.int64]:
        """For each image of a `part` made by `with_only`, its place here."""
        others = iter(part.blocks)
        number, other = next(others, (-1, None))
        found, begins = [np.empty(0, np.int64)], 0
        for own, block in self.blocks:
            if other and (own, block.name) == (number, other.name):
                found.append(begins + np.searchsorted(block.rows, other.rows))
                number, other = next(others, (-1, None))
            begins += len(block)
        return np.concatenate(found)
