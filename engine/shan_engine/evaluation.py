"""Recall of image-text retrieval, in both directions."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .captions import CaptionTable
from .errors import InputError
from .gallery import Gallery
from .scoring import Scorer, score_groups

CUTS = (1, 5, 10)
BLOCK_ROWS = 256


@dataclass(frozen=True)
class Recall:
    """R@1, 5 and 10 in percent, and median and mean rank (1 is best), both ways.

    Text retrieval: an image is the query, its best-placed caption counts. Image retrieval: a caption is.
    """

    text_retrieval: tuple[float, ...]
    image_retrieval: tuple[float, ...]
    text_ranks: tuple[float, float]
    image_ranks: tuple[float, float]

    @property
    def rsum(self) -> float:
        """Sum of the six recalls."""
        return sum(self.text_retrieval) + sum(self.image_retrieval)

    def as_dict(self) -> dict[str, Any]:
        """Every figure by name."""
        named: dict[str, Any] = {}
        for name, values, ranks in (
            ("text_retrieval", self.text_retrieval, self.text_ranks),
            ("image_retrieval", self.image_retrieval, self.image_ranks),
        ):
            named |= {f"{name}_r{cut}": round(value, 2) for cut, value in zip(CUTS, values, strict=True)}
            named |= {f"{name}_median_rank": ranks[0], f"{name}_mean_rank": round(ranks[1], 2)}
        return {**named, "rsum": round(self.rsum, 2)}


def recall(scores: NDArray[np.float32], caption_images: NDArray[np.int64]) -> Recall:
    """Recall of scores (images N x captions M), caption m belonging to image `caption_images[m]`.

    A tie counts against the right answer. Raises InputError for NaN scores or an image without captions.
    """
    images, captions = scores.shape
    of_caption = scores[caption_images, np.arange(captions)]
    text_ranks = np.empty(images, np.int64)
    image_ranks = np.ones(captions, np.int64)
    for start in range(0, images, BLOCK_ROWS):
        rows = slice(start, start + BLOCK_ROWS)
        block = scores[rows]
        if np.isnan(block).any():
            raise InputError("the scores have NaN: check the features and the model")
        own = caption_images == np.arange(images)[rows, None]
        if not own.any(axis=1).all():
            raise InputError("an image has no caption: leave it out")
        best_own = np.where(own, block, -np.inf).max(axis=1, keepdims=True)
        text_ranks[rows] = ((block >= best_own) & ~own).sum(axis=1) + 1
        image_ranks += ((block >= of_caption) & ~own).sum(axis=0)
    return Recall(_at_cuts(text_ranks), _at_cuts(image_ranks), _middle(text_ranks), _middle(image_ranks))


def _at_cuts(ranks: NDArray[np.int64]) -> tuple[float, ...]:
    return tuple(float((ranks <= cut).mean() * 100) for cut in CUTS)


def _middle(ranks: NDArray[np.int64]) -> tuple[float, float]:
    return float(np.median(ranks)), float(ranks.mean())


@dataclass(frozen=True)
class Evaluation:
    """Recall with what it was measured on, and the speed."""

    recall: Recall
    images: int
    captions: int
    seconds: float

    def as_dict(self) -> dict[str, Any]:
        """Every figure by name."""
        pairs = self.images * self.captions
        return {
            "images": self.images,
            "captions": self.captions,
            **self.recall.as_dict(),
            "seconds": round(self.seconds, 1),
            "pairs_per_second": round(pairs / self.seconds),
        }


def evaluate_split(
    scorer: Scorer,
    gallery: Gallery,
    table: CaptionTable,
    split: str,
    *,
    on_start: Callable[[int], None] = lambda total: None,
    on_pairs: Callable[[int], None] = lambda done: None,
) -> Evaluation:
    """Exact scores of all captions of a split with all its images, through the bundle's graphs.

    Images of the gallery outside the split are left out. Raises InputError for an image that the gallery lacks.
    """
    chosen = table.split(split)
    tokens = [scorer.tokens(caption) for caption in chosen.captions]
    part = gallery.restricted_to(chosen.images)
    on_start(len(chosen.images) * len(tokens))
    began = time.perf_counter()
    columns = {id: column for column, id in enumerate(part.ids())}
    scores = np.empty((len(tokens), len(columns)), np.float32)
    for group, found in score_groups(scorer, part, tokens, 4 * len(columns), on_pairs):
        for rows, images, pairs in found:
            scores[group][rows, images] = pairs.T
    seconds = time.perf_counter() - began
    caption_columns = np.array([columns[image] for image in chosen.images])[chosen.caption_images]
    return Evaluation(recall(scores.T, caption_columns), len(columns), len(tokens), seconds)
