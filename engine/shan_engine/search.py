"""Exhaustive exact search: every query against every image of a gallery, keeping the best k."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from .errors import InputError
from .gallery import Gallery, GalleryImage
from .scoring import Arrays, Scorer, score_groups
from .text import Reading

# Columns gathered before they are merged with the best so far; a call of the pair scorer has at most 256.
MERGED_COLUMNS = 1024


@dataclass(frozen=True)
class WordRegion:
    """The region a word attends to most: its number, its box in pixels (None where unknown), the weight 0..1."""

    word: str
    region: int
    box: tuple[float, float, float, float] | None
    weight: float


@dataclass(frozen=True)
class Hit:
    """One image found for a query; `step_scores` are the score's parts, `words` explain it."""

    rank: int
    score: float
    image: GalleryImage
    step_scores: tuple[float, ...] = ()
    words: tuple[WordRegion, ...] = ()


@dataclass(frozen=True)
class QueryHits:
    """The best images for a query, best first; `replaced` and `unknown` words as in `text.Reading`."""

    query: str
    hits: tuple[Hit, ...]
    replaced: Mapping[str, str] = field(default_factory=dict)
    unknown: tuple[str, ...] = ()


def search(
    scorer: Scorer,
    gallery: Gallery,
    queries: Sequence[str],
    *,
    top_k: int = 10,
    explain: bool = True,
    on_pairs: Callable[[int], None] = lambda done: None,
) -> list[QueryHits]:
    """The `top_k` best images for each query, exact over the whole gallery.

    Memory: one call's images and captions, and k rows a query, whatever the gallery's size. Ties go to
    the image indexed first. Raises InputError for a query that is empty or has no known word, an empty
    gallery or k below 1.
    """
    if top_k < 1:
        raise InputError(f"top-k is {top_k}: ask for at least 1")
    if not len(gallery):
        raise InputError(f"the gallery {gallery.path} is empty: index some images first")
    readings = [scorer.read(query) for query in queries]
    found = []
    for group, scores, places in top_rows(scorer, gallery, [reading.tokens for reading in readings], top_k, on_pairs):
        for query, reading, *best in zip(queries[group], readings[group], scores, places, strict=True):
            hits = _hits(scorer, gallery, reading, best[0], best[1], explain)
            found.append(QueryHits(query, hits, reading.replaced, reading.unknown))
    return found


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
    # A row takes the best k and as many to come, their places, and the merge's copies.
    for group, found in score_groups(scorer, gallery, tokens, 64 * max(k, MERGED_COLUMNS), on_pairs):
        best = _Best(group.stop - group.start, k)
        for rows, images, scores in found:
            best.add(rows, images, scores)
        yield group, *best.ranked()


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


def _hits(
    scorer: Scorer,
    gallery: Gallery,
    reading: Reading,
    scores: NDArray[np.float32],
    places: NDArray[np.int64],
    explain: bool,
) -> tuple[Hit, ...]:
    caption = scorer.encode_captions([reading.tokens]) if explain else {}
    hits = []
    ends = np.cumsum([len(block) for block in gallery.blocks])
    for rank, (score, place) in enumerate(zip(scores, places, strict=True), 1):
        number = int(np.searchsorted(ends, place, side="right"))
        block = gallery.blocks[number]
        row = int(place - (ends[number] - len(block)))
        explained = _explain(scorer, reading, block.rows_of([row]), block.boxes(row), caption) if explain else ()
        hits.append(Hit(rank, float(score), block.image(row), *explained))
    return tuple(hits)


def _explain(
    scorer: Scorer, reading: Reading, images: Arrays, boxes: NDArray[np.float32], caption: Arrays
) -> tuple[tuple[float, ...], tuple[WordRegion, ...]]:
    outputs = scorer.explain(images, caption)
    steps = tuple(float(value) for value in outputs["step_scores"][0, 0]) if "step_scores" in outputs else ()
    if "word_attention" not in outputs:
        return steps, ()
    attention = outputs["word_attention"][0, 0]
    words = []
    for word, weights in zip(reading.words, attention[1:], strict=False):  # row 0 is the start marker
        region = int(weights.argmax())
        box = tuple(float(value) for value in boxes[region]) if np.isfinite(boxes[region]).all() else None
        words.append(WordRegion(word, region, box, float(weights[region])))  # type: ignore[arg-type]
    return steps, tuple(words)
