"""A part of a score: one number for a photo and a caption, added to the steps of the model.

A part has two sides. Of a photo it reads some arrays, which a gallery stores beside the model's own. Of a caption it
takes outputs of the text encoder. Neither is an input of the pair scorer, so every back end computes the same parts.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from shan_engine.base.packing import SCALES, Arrays
from shan_engine.gallery.blocks import Block
from shan_engine.kernel.pieces import Pieces
from shan_engine.kernel.shan import Kernel

Named = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Part(ABC):
    """One part with its weight; `name` is that of its column in tables, explanations and the bundle's manifest."""

    name: ClassVar[str]
    image_arrays: ClassVar[tuple[str, ...]]
    caption_arrays: ClassVar[tuple[str, ...]]
    weight: float

    @property
    def stored(self) -> tuple[str, ...]:
        """Arrays that a gallery must store for the part to know anything of its images."""
        return self.image_arrays

    def read(self, block: Block, rows: NDArray[np.int64]) -> Arrays:
        """What the part needs of the photos in some rows of a block, B x its shape; empty where nothing is known.

        It comes as stored, and unchecked; of a whole block without deleted photos, it is what is mapped. A part with a
        file of its own beside the gallery reads it here.
        """
        files, whole = block.files, rows is block.rows and not block.entry.deleted
        return {name: files[name] if whole else files[name][rows] for name in self.read_names if name in files}

    @abstractmethod
    def scores(self, images: Named, captions: Named) -> NDArray[np.float32]:
        """The part B x C before its weight, from `image_arrays` B x their shape and `caption_arrays` C x theirs."""

    def estimates(self, images: Mapping[str, Pieces], captions: Named, kernel: Kernel) -> NDArray[np.float32]:
        """As `scores`, but for rounding, for the images of a first pass, which come in pieces.

        A part may be faster with the kernel. It works on the caller's thread.
        """
        names = [name for name in self.read_names if name in images]
        pieces = zip(*(images[name].arrays for name in names), strict=True)
        return np.concatenate([self.scores(dict(zip(names, piece, strict=True)), captions) for piece in pieces])

    @property
    def read_names(self) -> tuple[str, ...]:
        """Names of what `read` may give."""
        return tuple(file for name in self.image_arrays for file in (name, name + SCALES))

    def knows(self, images: Mapping[str, object], captions: Named) -> bool:
        """Whether both sides have what the part needs; without it the part is 0."""
        return all(name in images for name in self.image_arrays) and all(
            name in captions for name in self.caption_arrays
        )


class Parts:
    """A bundle's parts in order; empty for most."""

    def __init__(self, parts: Sequence[Part] = ()) -> None:
        self._parts = tuple(parts)

    def __len__(self) -> int:
        return len(self._parts)

    def __iter__(self) -> Iterator[Part]:
        return iter(self._parts)

    def and_also(self, part: Part) -> Parts:
        """These and one more."""
        return Parts([*self._parts, part])

    @property
    def names(self) -> tuple[str, ...]:
        """Their names."""
        return tuple(part.name for part in self._parts)

    def read(self, block: Block, rows: NDArray[np.int64]) -> Arrays:
        """What the parts need of the photos in some rows of a block, B x its shape; see `Part.read`."""
        return {name: array for part in self._parts for name, array in part.read(block, rows).items()}

    def scores(self, images: Named, captions: Named, shape: tuple[int, int]) -> NDArray[np.float32]:
        """Weighted parts B x C x P of B photos with C captions (`shape` is B, C), from arrays as a gallery stores them.

        Names that no part reads are ignored. A part is 0 where either side lacks what it needs.
        """
        found = np.zeros((*shape, len(self)), np.float32)
        for place, part in self._known(images, captions):
            found[:, :, place] = part
        return found

    def totals(self, images: Named, captions: Named, shape: tuple[int, int]) -> NDArray[np.float32]:
        """Sums B x C of the weighted parts, as in `scores`."""
        found = np.zeros(shape, np.float32)
        for _, part in self._known(images, captions):
            found += part
        return found

    def estimates(
        self, images: Mapping[str, Pieces], captions: Named, shape: tuple[int, int], kernel: Kernel
    ) -> NDArray[np.float32]:
        """As `totals`, but for rounding, of images in pieces; see `Part.estimates`. A caption's lie in a row."""
        found = np.zeros(shape, np.float32, order="F")
        for part in self._parts:
            if part.knows(images, captions):
                found += part.estimates(images, captions, kernel) * np.float32(part.weight)
        return found

    def _known(self, images: Named, captions: Named) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Place and weighted scores B x C of the parts for which both sides have what they need."""
        for place, part in enumerate(self._parts):
            if part.knows(images, captions):
                yield place, part.scores(images, captions) * np.float32(part.weight)

    def without_data(self, arrays: Mapping[str, object]) -> list[str]:
        """Names of the parts for which a gallery with these arrays has nothing."""
        return [part.name for part in self._parts if any(name not in arrays for name in part.stored)]

    def joined(self, captions: Sequence[Named]) -> Arrays:
        """What the parts take of captions that were encoded alone, together: C x its shape."""
        names = [name for part in self._parts for name in part.caption_arrays if all(name in one for one in captions)]
        return {name: np.concatenate([one[name] for one in captions]) for name in names}
