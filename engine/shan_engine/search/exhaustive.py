"""Search: the best k images of a gallery for each query, by exact scores of all images or step by step."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from shan_engine.backends import HeldGallery
from shan_engine.base.choices import DEFAULT_RECALL_TARGET
from shan_engine.base.errors import InputError
from shan_engine.gallery.centroids import FROM_IMAGES
from shan_engine.gallery.reader import Gallery
from shan_engine.scoring.encoders import MOST_IMAGES, Scorer
from shan_engine.scoring.passes import GROUP_CAPTIONS, batches_by_length, refuse_not_finite, score_groups
from shan_engine.search.cascade import Found, Stages, can_step, search_in_steps
from shan_engine.search.explain import hits_at
from shan_engine.search.photo_query import step_1
from shan_engine.search.query import Asked, Query
from shan_engine.search.results import Hit, QueryHits, WordRegion
from shan_engine.search.tuning import Tuning, check_target, choose_widths, measure

__all__ = ["Hit", "Query", "QueryHits", "WordRegion", "search", "top_rows", "tune_gallery"]

# Columns gathered before they are merged with the best so far: at least a call's.
MERGED_COLUMNS = MOST_IMAGES
# Images that are compared with a photo together.
PHOTO_IMAGES = 128


def search(
    scorer: Scorer,
    gallery: Gallery,
    queries: Sequence[str | Query],
    *,
    top_k: int = 10,
    explain: bool = True,
    exhaustive: bool = False,
    recall_target: float = DEFAULT_RECALL_TARGET,
    where: str | None = None,
    with_metadata: bool = True,
    on_start: Callable[[int], None] = lambda total: None,
    on_pairs: Callable[[int], None] = lambda done: None,
) -> list[QueryHits]:
    """The `top_k` best images for each query, of those for which the SQL condition `where` is true.

    A large gallery is searched in steps (search/cascade.py), careful enough to find `recall_target` of the hits that an
    `exhaustive` search finds; all other searches are that, also where few images match the condition. Hits have what
    explains them with `explain`, and what is known of them otherwise `with_metadata`. `on_start` hears how many pairs
    of a query and an image there are, `on_pairs` how many are done. Memory: one call's images and captions, k rows a
    query, in steps the codes of all images, and for a query of several parts a score of all images. Ties go to the
    image indexed first. Raises InputError for a query that is empty or has no known word, an empty gallery, a
    condition that is none, k below 1 or a target outside 0 to 1.
    """
    if top_k < 1:
        raise InputError(f"top-k is {top_k}: ask for at least 1")
    if not len(gallery):
        raise InputError(f"the gallery {gallery.path} is empty: index some images first")
    check_target(recall_target)
    within = gallery
    if where is not None:
        from shan_engine.gallery.filters import matching  # here, as most searches do without SQLite

        within = matching(gallery, where)
    questions = [Query.of(query) if isinstance(query, str) else query for query in queries]
    asked = [Asked.read(scorer, question) for question in questions]
    on_start(len(asked) * len(within))
    ranked: Iterator[Found]
    if not len(within):
        ranked = iter([(np.zeros(0, np.float32), np.zeros(0, np.int64), None)] * len(asked))
    elif exhaustive or not can_step(scorer, within) or (where is not None and len(within) < FROM_IMAGES):
        ranked = _exhaustive(scorer, within, asked, top_k, on_pairs)
    else:
        # The hits among some images are among the hits of all, as far down as these stand: the widths are of all.
        widths = choose_widths(gallery.path, len(gallery), top_k, recall_target)
        stages = Stages(scorer, within)
        ranked = search_in_steps(stages, asked, top_k, widths, lambda done: on_pairs(done * len(within)))
    return [
        QueryHits(
            str(one.question),
            hits_at(scorer, within, one, scores, places, explain=explain, with_metadata=with_metadata),
            {word: other for reading in one.readings for word, other in reading.replaced.items()},
            tuple(dict.fromkeys(word for reading in one.readings for word in reading.unknown)),
            sum(reading.left_out for reading in one.readings),
            scanned,
            len(within),
        )
        for one, (scores, places, scanned) in zip(asked, ranked, strict=True)
    ]


def tune_gallery(
    scorer: Scorer,
    gallery: Gallery,
    queries: Sequence[str],
    *,
    top_k: int = 10,
    on_pairs: Callable[[int], None] = lambda done: None,
) -> Tuning:
    """Measure step-wise against exhaustive search on some queries, and keep the outcome in the gallery.

    `on_pairs` hears of each query with each image twice. Raises InputError where the gallery cannot be searched in
    steps or a query cannot be used.
    """
    if not can_step(scorer, gallery):
        raise InputError(
            f"the gallery {gallery.path} is searched exhaustively, there is nothing to tune: searches in steps need "
            f"the compiled kernel (see `shan-engine doctor`), a SHAN bundle and {FROM_IMAGES:,} images when indexed"
        )
    tokens = [scorer.read(query).tokens for query in queries]
    rows = top_rows(scorer, gallery, tokens, top_k, on_pairs)
    exhaustive = [hits for _, _, places in rows for hits in places]
    pairs = len(tokens) * len(gallery)
    stages = Stages(scorer, gallery)
    tuning = measure(stages, exhaustive, tokens, lambda done: on_pairs(pairs + done * len(gallery)))
    tuning.save(gallery.path)
    return tuning


def _exhaustive(
    scorer: Scorer, gallery: Gallery, asked: Sequence[Asked], top_k: int, on_pairs: Callable[[int], None]
) -> Iterator[Found]:
    """The best of all images for each question; plain ones share their passes over the gallery."""
    if all(one.question.plain for one in asked):
        tokens = [one.readings[0].tokens for one in asked]
        for _, scores, places in top_rows(scorer, gallery, tokens, top_k, on_pairs):
            yield from ((*row, None) for row in zip(scores, places, strict=True))
        return
    for number, one in enumerate(asked, 1):
        combined = _combined(scorer, gallery, one)
        best = np.argsort(-combined, kind="stable")[:top_k]
        on_pairs(number * len(gallery))
        yield combined[best], best, None


def _combined(scorer: Scorer, gallery: Gallery, asked: Asked) -> NDArray[np.float32]:
    """The score of every image with a question of several parts, N."""
    scores = np.zeros(len(gallery), np.float32)
    tokens = [reading.tokens for reading in asked.readings]
    weights = np.array([phrase.weight for phrase in asked.question.phrases], np.float32)
    for group, found in score_groups(scorer, gallery, tokens, 4 * len(gallery)):
        for rows, images, part in found:
            scores[images] += part @ weights[group][rows]
    if asked.question.photo:
        offset, photo = 0, asked.question.photo.as_caption()
        for block in gallery.blocks:
            for place, stored in block.batches(PHOTO_IMAGES):
                places = slice(offset + place.start, offset + place.stop)
                scores[places] += asked.question.photo_weight * step_1(scorer, stored, photo)
                refuse_not_finite(gallery, range(places.start, places.stop), scores[places, None])
            offset += len(block)
            block.release()
    return scores


def top_rows(
    scorer: Scorer,
    gallery: Gallery,
    tokens: Sequence[Sequence[int]],
    top_k: int,
    on_pairs: Callable[[int], None] = lambda done: None,
) -> Iterator[tuple[slice, NDArray[np.float32], NDArray[np.int64]]]:
    """Scores and image places (in the gallery's order) of the best k, best first, for groups of captions.

    Each group's place in `tokens`, and two arrays captions x min(k, images).
    """
    k = min(top_k, len(gallery))
    held = scorer.held(gallery)
    if held:
        for start in range(0, len(tokens), GROUP_CAPTIONS):
            group = slice(start, min(start + GROUP_CAPTIONS, len(tokens)))
            yield group, *_held_rows(scorer, gallery, held, tokens[group], k)
            on_pairs(group.stop * len(gallery))
        return
    # A row takes the best k and as many to come, their places, and the merge's copies.
    for group, found in score_groups(scorer, gallery, tokens, 64 * max(k, MERGED_COLUMNS), on_pairs):
        best = _Best(group.stop - group.start, k)
        for rows, images, scores in found:
            best.add(rows, images, scores)
        yield group, *best.ranked()


def _held_rows(
    scorer: Scorer, gallery: Gallery, held: HeldGallery, tokens: Sequence[Sequence[int]], k: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """As of `top_rows`, for a group of captions, ranked where the gallery is held."""
    batches = batches_by_length(tokens)
    scores, places = np.empty((len(tokens), k), np.float32), np.empty((len(tokens), k), np.int64)
    captions = [scorer.encode_captions([tokens[row] for row in rows]) for rows in batches]
    for rows, best in zip(batches, held.top_k(captions, k), strict=True):
        scores[rows], places[rows] = best
    refuse_not_finite(gallery, places.ravel(), scores.reshape(-1, 1))
    return scores, places


class _Best:
    """The k best columns of each row, of columns that come a few at a time and in order."""

    def __init__(self, rows: int, k: int) -> None:
        self._k, self._fill = k, k
        width = k + max(k, MERGED_COLUMNS)
        self._scores = np.full((rows, width), -np.inf, np.float32)
        self._places = np.full((rows, width), -1, np.int64)
        self._images = slice(0, 0)

    def add(self, rows: NDArray[np.int64], images: slice, scores: NDArray[np.float32]) -> None:
        """Scores B x C of the images at a slice with the captions at rows; all rows before the next images."""
        if images != self._images:
            self._fill += self._images.stop - self._images.start
            if self._fill + len(scores) > self._scores.shape[1]:
                self._merge()
            self._images = images
        columns = slice(self._fill, self._fill + len(scores))
        self._scores[rows, columns] = scores.T
        self._places[rows, columns] = np.arange(images.start, images.stop)

    def ranked(self) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Scores and places of the k best of each row, best first."""
        self._merge()
        return self._scores[:, : self._k], self._places[:, : self._k]

    def _merge(self) -> None:
        # Stable, so that of equal scores the image indexed first stays first.
        best = np.argsort(-self._scores, axis=1, kind="stable")[:, : self._k]
        for array in (self._scores, self._places):
            array[:, : self._k] = np.take_along_axis(array, best, axis=1)
        self._scores[:, self._k :] = -np.inf
        self._fill = self._k
