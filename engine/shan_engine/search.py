"""Exhaustive exact search: every query against every image of a gallery, keeping the best k."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .errors import InputError
from .gallery import Gallery, GalleryImage
from .scoring import Arrays, Scorer, caption_batches, score_block
from .text import tokenise


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
    """The best images for a query, best first."""

    query: str
    hits: tuple[Hit, ...]


def search(
    scorer: Scorer,
    gallery: Gallery,
    queries: Sequence[str],
    *,
    top_k: int = 10,
    explain: bool = True,
    on_images: Callable[[int], None] = lambda done: None,
) -> list[QueryHits]:
    """The `top_k` best images for each query, exact over the whole gallery.

    Memory: one call's images and captions, and k rows a query, whatever the gallery's size. Ties go to
    the image indexed first. Raises InputError for an empty query, an empty gallery or k below 1.
    """
    if top_k < 1:
        raise InputError(f"top-k is {top_k}: ask for at least 1")
    if not len(gallery):
        raise InputError(f"the gallery {gallery.path} is empty: index some images first")
    tokens = [scorer.tokens(query) for query in queries]
    scores, places = top_rows(scorer, gallery, tokens, top_k, on_images)
    return [
        QueryHits(query, _hits(scorer, gallery, query, tokens[row], scores[row], places[row], explain))
        for row, query in enumerate(queries)
    ]


def top_rows(
    scorer: Scorer,
    gallery: Gallery,
    tokens: Sequence[Sequence[int]],
    top_k: int,
    on_images: Callable[[int], None] = lambda done: None,
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Scores and image places (order of `Gallery.images`) of the best k, each queries x min(k, images)."""
    k = min(top_k, len(gallery))
    scores = np.full((len(tokens), k), -np.inf, np.float32)
    places = np.full((len(tokens), k), -1, np.int64)
    batches = list(caption_batches(tokens))
    captions = [scorer.encode_captions([tokens[i] for i in batch]) for batch in batches]
    offset = 0
    for block in gallery.blocks:
        for number, place, found in score_block(scorer, gallery, block, captions):
            rows = batches[number]
            numbers = np.broadcast_to(offset + np.arange(place.start, place.stop), (len(rows), len(found)))
            all_scores = np.concatenate([scores[rows], found.T], axis=1)
            all_places = np.concatenate([places[rows], numbers], axis=1)
            best = np.argsort(-all_scores, axis=1, kind="stable")[:, :k]
            scores[rows] = np.take_along_axis(all_scores, best, axis=1)
            places[rows] = np.take_along_axis(all_places, best, axis=1)
            if number == len(captions) - 1:
                on_images(offset + place.stop)
        offset += len(block)
    return scores, places


def _hits(
    scorer: Scorer,
    gallery: Gallery,
    query: str,
    tokens: Sequence[int],
    scores: NDArray[np.float32],
    places: NDArray[np.int64],
    explain: bool,
) -> tuple[Hit, ...]:
    caption = scorer.encode_captions([tokens]) if explain else {}
    hits = []
    ends = np.cumsum([len(block) for block in gallery.blocks])
    for rank, (score, place) in enumerate(zip(scores, places, strict=True), 1):
        number = int(np.searchsorted(ends, place, side="right"))
        block = gallery.blocks[number]
        row = int(place - (ends[number] - len(block)))
        hit = Hit(rank, float(score), block.images[row])
        if explain:
            images = block.rows_of([row])
            steps, words = _explain(scorer, query, images, block.boxes(row), caption)
            hit = Hit(rank, float(score), block.images[row], steps, words)
        hits.append(hit)
    return tuple(hits)


def _explain(
    scorer: Scorer, query: str, images: Arrays, boxes: NDArray[np.float32], caption: Arrays
) -> tuple[tuple[float, ...], tuple[WordRegion, ...]]:
    outputs = scorer.explain(images, caption)
    steps = tuple(float(value) for value in outputs["step_scores"][0, 0]) if "step_scores" in outputs else ()
    if "word_attention" not in outputs:
        return steps, ()
    attention = outputs["word_attention"][0, 0]
    words = []
    for word, weights in zip(tokenise(query), attention[1:], strict=False):  # row 0 is the start marker
        region = int(weights.argmax())
        box = tuple(float(value) for value in boxes[region]) if np.isfinite(boxes[region]).all() else None
        words.append(WordRegion(word, region, box, float(weights[region])))  # type: ignore[arg-type]
    return steps, tuple(words)
