"""Exhaustive search: exact scores of all images."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from shan_engine.backends.interface import HeldGallery
from shan_engine.base.packing import Arrays
from shan_engine.gallery.reader import Gallery
from shan_engine.scoring.passes import CaptionBatches, Group, caption_groups, group_scores, refuse_not_finite
from shan_engine.scoring.scorer import Scorer
from shan_engine.search.photo_query import QueryPhoto, step_1
from shan_engine.search.query import ReadQuery
from shan_engine.search.ranking import MERGED_COLUMNS, BestColumns, Ranking

PHOTO_IMAGES = 128  # images compared with a photo in one call


def rank_exhaustively(
    scorer: Scorer,
    gallery: Gallery,
    queries: Sequence[ReadQuery],
    top_k: int,
    on_pairs: Callable[[int], None] = lambda done: None,
) -> Iterator[Ranking]:
    """The best of all images for each query, in order; plain queries share their passes over the gallery."""
    if all(query.query.plain for query in queries):
        token_lists = [query.token_lists[0] for query in queries]
        texts = [query.texts[0] for query in queries]
        for group, scores, places in best_of_captions(scorer, gallery, token_lists, top_k, on_pairs, texts=texts):
            for number, row in enumerate(zip(scores, places, strict=True)):
                yield Ranking(*row, captions=[group.captions.caption(number)])
        return
    for number, query in enumerate(queries, 1):
        scores, captions = _combined(scorer, gallery, query)
        best = np.argsort(-scores, kind="stable")[:top_k]
        on_pairs(number * len(gallery))
        yield Ranking(scores[best], best, captions)


def best_of_captions(
    scorer: Scorer,
    gallery: Gallery,
    token_lists: Sequence[Sequence[int]],
    top_k: int,
    on_pairs: Callable[[int], None] = lambda done: None,
    *,
    texts: Sequence[str] | None = None,
) -> Iterator[tuple[Group, NDArray[np.float32], NDArray[np.int64]]]:
    """Groups of captions, each with scores and image places of its best, best first: captions x min(k, images)."""
    k = min(top_k, len(gallery))
    held = None if scorer.parts else scorer.held(gallery)  # a device that ranks does not know further parts
    # A row holds the best k, as many new ones, their places, and the merge's copies.
    for group in caption_groups(scorer, token_lists, 64 * max(k, MERGED_COLUMNS), texts):
        if held:
            yield group, *_best_held(gallery, held, group.captions, k)
            on_pairs(group.numbers.stop * len(gallery))
            continue
        best = BestColumns(len(group), k)
        for rows, images, scores in group_scores(scorer, gallery, group, on_pairs):
            best.add(rows, images, scores)
        yield group, *best.ranked()


def _best_held(
    gallery: Gallery, held: HeldGallery, captions: CaptionBatches, k: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Scores and places C x k, ranked on the device that holds the gallery."""
    scores, places = np.empty((len(captions), k), np.float32), np.empty((len(captions), k), np.int64)
    for rows, best in zip(captions.rows, held.top_k(captions.arrays, k), strict=True):
        scores[rows], places[rows] = best
    refuse_not_finite(gallery, places.ravel(), scores.reshape(-1, 1))
    return scores, places


def _combined(scorer: Scorer, gallery: Gallery, query: ReadQuery) -> tuple[NDArray[np.float32], list[Arrays]]:
    """Scores N of every image with a query of several clauses, and its encoded phrases."""
    scores = np.zeros(len(gallery), np.float32)
    captions: list[Arrays] = []
    weights = np.array([phrase.weight for phrase in query.query.phrases], np.float32)
    for group in caption_groups(scorer, query.token_lists, 4 * len(gallery), query.texts):
        captions += [group.captions.caption(number) for number in range(len(group))]
        for rows, images, found in group_scores(scorer, gallery, group):
            scores[images] += found @ weights[group.numbers][rows]
    for photo, weight in query.query.photos:
        _add_likeness(scorer, gallery, photo, weight, scores)
    return scores, captions


def _add_likeness(
    scorer: Scorer, gallery: Gallery, photo: QueryPhoto, weight: float, scores: NDArray[np.float32]
) -> None:
    """Add each image's weighted similarity to a photo to its score."""
    offset, caption = 0, photo.as_caption()
    for block in gallery.blocks:
        for place, stored in block.batches(PHOTO_IMAGES):
            places = slice(offset + place.start, offset + place.stop)
            scores[places] += weight * step_1(scorer, stored, caption)
            if scorer.parts:
                further = scorer.parts.totals(stored, caption, (place.stop - place.start, 1))
                scores[places] += weight * further[:, 0]
            refuse_not_finite(gallery, range(places.start, places.stop), scores[places, None])
        offset += len(block)
        block.release()
