"""Photos of a gallery without a query, in a given order."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from shan_engine.base.errors import InputError
from shan_engine.gallery.filters import matching
from shan_engine.gallery.reader import Gallery
from shan_engine.search.ranked import described
from shan_engine.search.ranking import Ranking
from shan_engine.search.results import QueryHits


def browse(
    gallery: Gallery,
    order: NDArray[np.int64],
    *,
    where: str | None = None,
    filter_seconds: float | None = None,
    skip: int = 0,
    top_k: int = 10,
) -> QueryHits:
    """The first `top_k` images of an order of places, without the first `skip`; `where` as for a search.

    Hits have the score 0. Raises InputError for k below 1, skip below 0 and a condition that cannot be used.
    """
    if top_k < 1 or skip < 0:
        raise InputError(f"photos {skip} to {top_k} are asked for: skip 0 or more, and ask for at least 1")
    if where is not None:
        order = order[_kept(gallery, matching(gallery, where, seconds=filter_seconds))[order]]
    places = order[skip:top_k]
    ranking = Ranking(np.zeros(len(places), np.float32), places)
    return QueryHits("", described(gallery, ranking, skip=skip), matching=len(order))


def _kept(gallery: Gallery, part: Gallery) -> NDArray[np.bool_]:
    """Whether each image of a gallery is one of a part of it."""
    return np.concatenate(
        [np.isin(block.rows, own.rows) for block, own in zip(gallery.blocks, part.blocks, strict=True)]
        or [np.zeros(0, np.bool_)]
    )
