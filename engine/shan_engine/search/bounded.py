"""Search by late interaction: only photos that one vector each leaves among the best are scored word by word.

The step `late` adds at most its weight, for a mean of cosines is at most 1. The cosine of whole photo and whole text is
known for every photo without its regions. So a photo for which it lies further than that below the k-th best score
cannot be among the k best. The answer is that of an exhaustive search.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from shan_engine.gallery.reader import Gallery
from shan_engine.gallery.storage import HUBNESS
from shan_engine.parts.global_term import GlobalTerm
from shan_engine.parts.whole_gallery import GalleryParts
from shan_engine.scoring.scorer import Scorer
from shan_engine.search.exhaustive import rank_exhaustively
from shan_engine.search.query import ReadQuery
from shan_engine.search.ranking import Ranking, StageCounts, highest

LATE, WEIGHT = "late", "late_weight"
ROUNDING = 1.05  # the greatest length of a region of length 1 that is stored as int8, and more
AT_FIRST = 256  # photos that are scored before any can be left out


def has_bound(scorer: Scorer, gallery: Gallery, queries: Sequence[ReadQuery], images: int) -> bool:
    """Whether it is known what the steps add at most, and the gallery has `images` photos for which that pays."""
    return (
        scorer.steps == (LATE,)
        and WEIGHT in scorer.bundle.manifest.model
        and scorer.parts.names == (GlobalTerm.name,)
        and not scorer.parts.without_data(gallery.manifest.arrays)
        and len(gallery) >= images
        and all(query.query.plain for query in queries)
    )


def rank_within_bound(
    scorer: Scorer,
    gallery: Gallery,
    queries: Sequence[ReadQuery],
    top_k: int,
    on_pairs: Callable[[int], None] = lambda done: None,
) -> Iterator[Ranking]:
    """The best of all photos for each query, in order; `has_bound` must hold."""
    parts, bound = GalleryParts(scorer.parts, gallery), float(scorer.bundle.manifest.model[WEIGHT]) * ROUNDING
    hubness = _hubness(gallery)
    for number, query in enumerate(queries, 1):
        (clause,) = query.encode(scorer.encoders)
        known = parts.totals(clause.caption, 1)[:, 0] - hubness
        near = highest(known, max(AT_FIRST, 4 * top_k))
        found = _rank(scorer, gallery, query, near, top_k)
        least = found.scores[-1] - bound if len(found.scores) == min(top_k, len(gallery)) else -np.inf
        # Those below cannot reach it; of the others, some are scored already.
        within = np.union1d(near, np.flatnonzero(known >= least))
        if len(within) > len(near):
            found = _rank(scorer, gallery, query, within, top_k)
        on_pairs(number * len(gallery))
        counts = StageCounts(len(known), len(within), len(within), True)
        yield Ranking(found.scores, found.places, found.captions, counts)


def _rank(scorer: Scorer, gallery: Gallery, query: ReadQuery, places: NDArray[np.int64], top_k: int) -> Ranking:
    """The best of the photos at `places` (ascending)."""
    some = gallery.keeping(_rows(gallery, places))
    (found,) = rank_exhaustively(scorer, some, [query], top_k)
    return Ranking(found.scores, places[found.places], found.captions)


def _rows(gallery: Gallery, places: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Of every block the rows of its files that lie at ascending places in gallery order; it may have none."""
    cuts = np.searchsorted(places, gallery.ends)
    start = 0
    for block, end, stop in zip(gallery.blocks, gallery.ends, cuts, strict=True):
        yield block.rows[places[start:stop] - (end - len(block))]
        start = stop


def _hubness(gallery: Gallery) -> NDArray[np.float32]:
    if HUBNESS not in gallery.manifest.arrays:
        return np.zeros(len(gallery), np.float32)
    return np.concatenate([block.files[HUBNESS][block.rows] for block in gallery.blocks])
