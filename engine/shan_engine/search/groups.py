"""Near-identical photos among the hits: bursts, and copies in another size or crop.

Two photos are near-identical where the cosine of their mean regions is at least NEAR. Among the demo's photos, two
pairs are the same photo in two sizes, at 0.98; the nearest two different photos, of hammers, have 0.966.

Receipts and slides look alike though they are not: photos whose text differs are kept apart.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shan_engine.gallery.reader import Gallery
from shan_engine.kernel.constants import MASK, REGIONS
from shan_engine.scoring.vectors import unit_means
from shan_engine.text.written import looks, words_of

NEAR = 0.97
MISREAD = 0.1
"""The share of a photo's words that a reader may have got wrong: text that differs by more is other text."""
_WIDER = 4  # times k images are looked at for k groups, at least 100 more than k


def looked_at(top_k: int) -> int:
    """How many of the best images are put into groups, to show the best `top_k` groups."""
    return max(_WIDER * top_k, top_k + 100)


@dataclass(frozen=True)
class SeenText:
    """What is written in a photo, without order: words as they look, and those that are numbers."""

    words: frozenset[str] = frozenset()
    numbers: frozenset[str] = frozenset()

    @classmethod
    def of(cls, lines: Iterable[str]) -> SeenText:
        """Of some lines. Single letters are left out: textures are read as such."""
        found = [
            word for line in lines for word in words_of(line) if len(word) > 1 or not word.isascii() or word.isdigit()
        ]
        numbers = (word for word in found if any(map(str.isdigit, word)))
        return cls(frozenset(map(looks, found)), frozenset(map(looks, numbers)))

    def differs(self, other: SeenText) -> bool:
        """Whether each has words, or numbers, that the other has not, more than a reader gets wrong.

        A part of the same text, as a crop or a smaller copy has, does not differ.
        """
        both = (self.words, other.words), (self.numbers, other.numbers)
        return any(min(len(one - two), len(two - one)) > MISREAD * min(len(one), len(two)) for one, two in both)


def grouped(vectors: NDArray[np.float32], top_k: int, texts: Sequence[SeenText] | None = None) -> list[list[int]]:
    """The first `top_k` groups of ranked images with vectors N x D, each as ranks from 0; its best image comes first.

    An image joins the first group whose best image it resembles, unless their `texts` N differ.
    """
    groups: list[list[int]] = []
    near = vectors @ vectors.T >= NEAR

    def alike(rank: int, head: int) -> bool:
        return bool(near[rank, head]) and not (texts and texts[rank].differs(texts[head]))

    for rank in range(len(vectors)):
        own = next((group for group in groups if alike(rank, group[0])), None)
        if own is not None:
            own.append(rank)
        elif len(groups) < top_k:
            groups.append([rank])
    return groups


class NearVectors:
    """The vectors by which a gallery's images are grouped; those it has read are kept for further queries."""

    def __init__(self, gallery: Gallery) -> None:
        self._gallery, self._vectors = gallery, dict[int, NDArray[np.float32]]()

    def of(self, places: Sequence[int]) -> NDArray[np.float32] | None:
        """The mean regions of images, N x D, of length 1; None where there are none or the model stores no regions.

        A block's are read together.
        """
        if not places or REGIONS not in self._gallery.manifest.arrays:
            return None
        new = np.array(sorted(set(places) - self._vectors.keys()), np.int64)
        numbers = np.searchsorted(self._gallery.ends, new, side="right")
        for number in sorted(set(numbers.tolist())):
            block, own = self._gallery.blocks[number], new[numbers == number]
            images = block.rows_of(own - (int(self._gallery.ends[number]) - len(block)))
            self._vectors.update(zip(own.tolist(), unit_means(images[REGIONS], images[MASK]), strict=True))
        return np.array([self._vectors[place] for place in places], np.float32)
