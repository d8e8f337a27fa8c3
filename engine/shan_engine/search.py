"""Search: the best k images of a gallery for each query, by exact scores of all images or step by step."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from .backends import HeldGallery
from .centroids import FROM_IMAGES
from .errors import InputError
from .gallery import Gallery, GalleryImage
from .scoring import GROUP_CAPTIONS, Arrays, Scorer, batches_by_length, refuse_not_finite, score_groups
from .stepwise import Found, Scanned, Stages, can_step, search_in_steps
from .text import Reading
from .tuning import DEFAULT_TARGET, Tuning, check_target, choose_widths, measure

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
    """The best images for a query, best first; `replaced`, `unknown` and `left_out` words as in `text.Reading`.

    `scanned` says how many images a step-wise search looked at; None after an exhaustive one.
    """

    query: str
    hits: tuple[Hit, ...]
    replaced: Mapping[str, str] = field(default_factory=dict)
    unknown: tuple[str, ...] = ()
    left_out: int = 0
    scanned: Scanned | None = None


def search(
    scorer: Scorer,
    gallery: Gallery,
    queries: Sequence[str],
    *,
    top_k: int = 10,
    explain: bool = True,
    exhaustive: bool = False,
    recall_target: float = DEFAULT_TARGET,
    on_pairs: Callable[[int], None] = lambda done: None,
) -> list[QueryHits]:
    """The `top_k` best images for each query.

    A large gallery is searched in steps (stepwise.py), careful enough to find `recall_target` of the hits that an
    `exhaustive` search finds; all other searches are that. Memory: one call's images and captions, k rows a query,
    and in steps the codes of all images. Ties go to the image indexed first. Raises InputError for a query that is
    empty or has no known word, an empty gallery, k below 1 or a target outside 0 to 1.
    """
    if top_k < 1:
        raise InputError(f"top-k is {top_k}: ask for at least 1")
    if not len(gallery):
        raise InputError(f"the gallery {gallery.path} is empty: index some images first")
    check_target(recall_target)
    readings = [scorer.read(query) for query in queries]
    tokens = [reading.tokens for reading in readings]
    ranked: Iterator[Found]
    if exhaustive or not can_step(scorer, gallery):
        ranked = _exhaustive(scorer, gallery, tokens, top_k, on_pairs)
    else:
        stages, widths = Stages(scorer, gallery), choose_widths(gallery.path, len(gallery), top_k, recall_target)
        ranked = search_in_steps(stages, tokens, top_k, widths, lambda done: on_pairs(done * len(gallery)))
    return [
        QueryHits(
            query,
            _hits(scorer, gallery, reading, scores, places, explain),
            reading.replaced,
            reading.unknown,
            reading.left_out,
            scanned,
        )
        for query, reading, (scores, places, scanned) in zip(queries, readings, ranked, strict=True)
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
    exhaustive = [places for _, places, _ in _exhaustive(scorer, gallery, tokens, top_k, on_pairs)]
    pairs = len(tokens) * len(gallery)
    stages = Stages(scorer, gallery)
    tuning = measure(stages, exhaustive, tokens, lambda done: on_pairs(pairs + done * len(gallery)))
    tuning.save(gallery.path)
    return tuning


def _exhaustive(
    scorer: Scorer,
    gallery: Gallery,
    tokens: Sequence[Sequence[int]],
    top_k: int,
    on_pairs: Callable[[int], None],
) -> Iterator[Found]:
    for _, scores, places in top_rows(scorer, gallery, tokens, top_k, on_pairs):
        yield from ((*row, None) for row in zip(scores, places, strict=True))


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


def _hits(
    scorer: Scorer,
    gallery: Gallery,
    reading: Reading,
    scores: NDArray[np.float32],
    places: NDArray[np.int64],
    explain: bool,
) -> tuple[Hit, ...]:
    caption = scorer.encode_captions([reading.tokens]) if explain else {}
    numbers = np.searchsorted(gallery.ends, places, side="right")
    hits = {}
    for number in np.unique(numbers):  # a block's list of images is read once
        block = gallery.blocks[number]
        ranks = np.flatnonzero(numbers == number).tolist()
        rows = (places[ranks] - (gallery.ends[number] - len(block))).tolist()
        for rank, row, image in zip(ranks, rows, block.images_at(rows), strict=True):
            explained = _explain(scorer, reading, block.rows_of([row]), block.boxes(row), caption) if explain else ()
            hits[rank] = Hit(rank + 1, float(scores[rank]), image, *explained)
    return tuple(hits[rank] for rank in range(len(places)))


def _explain(
    scorer: Scorer, reading: Reading, images: Arrays, boxes: NDArray[np.float32], caption: Arrays
) -> tuple[tuple[float, ...], tuple[WordRegion, ...]]:
    outputs = scorer.explain(scorer.complete(images), caption)
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
