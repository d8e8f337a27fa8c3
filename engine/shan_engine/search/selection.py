"""Which of the best images an answer shows: the cut, the threshold, groups of near-identical photos, and the page.

A gallery searched alone and the shards of one go through the same functions; shards are joined before them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from shan_engine.gallery.blocks import GalleryImage
from shan_engine.search.groups import SeenText, grouped
from shan_engine.search.options import SearchOptions
from shan_engine.search.results import Hit, QueryHits


@dataclass(frozen=True)
class Candidates:
    """The best N images for a query, best first, with what is decided by.

    `chances` N are probabilities; None where the query has none. `vectors` N x D are the images' mean regions, of
    length 1; None where near-identical photos are not looked for. `texts` N are what is written in them, as far as it
    keeps photos apart; None where nothing is known of it.
    """

    scores: NDArray[np.float32]
    chances: NDArray[np.float64] | None = None
    vectors: NDArray[np.float32] | None = None
    texts: Sequence[SeenText] | None = None

    def at(self, kept: NDArray[np.int64]) -> Candidates:
        """Some of them, by their ranks from 0."""
        return Candidates(
            self.scores[kept],
            None if self.chances is None else self.chances[kept],
            None if self.vectors is None else self.vectors[kept],
            None if self.texts is None else [self.texts[rank] for rank in kept.tolist()],
        )


@dataclass(frozen=True)
class Selection:
    """What is shown: groups of ranks from 0, the head first. The first of them is hit number `skip` + 1."""

    groups: Sequence[Sequence[int]]
    skip: int
    best_probability: float | None

    @property
    def heads(self) -> list[int]:
        """The ranks of the hits."""
        return [group[0] for group in self.groups]

    @property
    def others(self) -> list[int]:
        """The ranks of the images that are only named beside a hit."""
        return [rank for group in self.groups for rank in group[1:]]


def select(found: Candidates, options: SearchOptions) -> Selection:
    """The first `top_k` hits of a query without the first `skip`, where a hit is an image or a group of them.

    Images whose probability is below the `threshold` are left out; the best probability counts them too.
    """
    best, kept = None, np.arange(len(found.scores))
    if found.chances is not None:
        best = float(found.chances.max()) if len(kept) else None
        kept = kept if options.threshold is None else np.flatnonzero(found.chances >= options.threshold)
    groups = [[rank] for rank in range(min(options.top_k, len(kept)))]
    if options.grouped and found.vectors is not None and len(kept):
        own = found.at(kept)
        groups = grouped(found.vectors[kept], options.top_k, own.texts)
    return Selection([kept[group].tolist() for group in groups[options.skip :]], options.skip, best)


def assembled(
    said: QueryHits, chosen: Selection, hits: Mapping[int, Hit], images: Mapping[int, GalleryImage], found: Candidates
) -> QueryHits:
    """An answer from what is `said` of the query, and the hits and images at the chosen ranks."""
    own = [
        replace(
            hits[head],
            rank=chosen.skip + number,
            alike=tuple(images[rank] for rank in others),
            probability=None if found.chances is None else float(found.chances[head]),
        )
        for number, (head, *others) in enumerate(chosen.groups, 1)
    ]
    return replace(said, hits=tuple(own), best_probability=chosen.best_probability)
