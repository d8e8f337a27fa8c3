"""Near-identical photos among the hits: bursts, and copies in another size or crop.

Two photos are near-identical where the cosine of their mean regions is at least NEAR. Among the demo's photos, two
pairs are the same photo in two sizes, at 0.98; the nearest two different photos, of hammers, have 0.966.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from shan_engine.gallery.reader import Gallery
from shan_engine.kernel.constants import MASK, REGIONS
from shan_engine.scoring.vectors import unit_means

NEAR = 0.97
_WIDER = 4  # times k images are looked at for k groups, at least 100 more than k


def looked_at(top_k: int) -> int:
    """How many of the best images are put into groups, to show the best `top_k` groups."""
    return max(_WIDER * top_k, top_k + 100)


class NearGroups:
    """Groups of a gallery's images; the vectors of those it has met are kept for further queries."""

    def __init__(self, gallery: Gallery) -> None:
        self._gallery, self._vectors = gallery, dict[int, NDArray[np.float32]]()

    def of(self, places: Sequence[int], top_k: int) -> list[list[int]]:
        """The first `top_k` groups of ranked images, each as ranks from 0; a group's best image comes first.

        An image joins the first group whose best image it resembles. Each is a group of its own where the model stores
        no regions.
        """
        if REGIONS not in self._gallery.manifest.arrays:
            return [[rank] for rank in range(min(top_k, len(places)))]
        groups: list[list[int]] = []
        leaders: list[NDArray[np.float32]] = []
        for rank, place in enumerate(places):
            vector = self._vector(place)
            near = [number for number, leader in enumerate(leaders) if float(leader @ vector) >= NEAR]
            if near:
                groups[near[0]].append(rank)
            elif len(groups) < top_k:
                groups.append([rank])
                leaders.append(vector)
        return groups

    def _vector(self, place: int) -> NDArray[np.float32]:
        if place not in self._vectors:
            block, row = self._gallery.find(place)
            image = block.rows_of([row])
            self._vectors[place] = unit_means(image[REGIONS], image[MASK])[0]
        return self._vectors[place]
