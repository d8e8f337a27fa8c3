"""Recall of image-text retrieval from scores, in both directions, with its uncertainty."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shan_engine.base.errors import InputError

CUTS = (1, 5, 10)
BLOCK_ROWS = 256
RESAMPLES = 1000
Interval = tuple[float, float]


@dataclass(frozen=True)
class Recall:
    """R@1, 5 and 10 in percent, and median and mean rank (1 is best), both ways.

    Text retrieval: an image is the query, and its best-ranked caption counts. Image retrieval: a caption is the query.
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


@dataclass(frozen=True)
class Ranks:
    """Ranks of the right answers: `text` of each image's best-ranked caption, `image` of each caption's image.

    Caption m belongs to image `caption_images[m]`.
    """

    text: NDArray[np.int64]
    image: NDArray[np.int64]
    caption_images: NDArray[np.int64]

    def recall(self) -> Recall:
        """The figures."""
        return Recall(_at_cuts(self.text), _at_cuts(self.image), _middle(self.text), _middle(self.image))

    def intervals(self, resamples: int = RESAMPLES, seed: int = 0) -> dict[str, Interval]:
        """95 % intervals of the six recalls and their sum, by name: bootstrap over images with their captions."""
        images = len(self.text)
        weights = np.random.default_rng(seed).multinomial(images, np.full(images, 1 / images), size=resamples)
        captions = np.bincount(self.caption_images, minlength=images)
        found = {}
        for cut in CUTS:
            hits = np.bincount(self.caption_images, self.image <= cut, minlength=images)
            found[f"text_retrieval_r{cut}"] = 100 * (weights @ (self.text <= cut)) / images
            found[f"image_retrieval_r{cut}"] = 100 * (weights @ hits) / (weights @ captions)
        found["rsum"] = np.sum(list(found.values()), axis=0)
        return {name: _middle_95(values) for name, values in found.items()}


def joined(parts: Sequence[Ranks]) -> Ranks:
    """Join the ranks of folds; each fold was ranked by itself."""
    ends = np.cumsum([0, *(len(part.text) for part in parts)])
    return Ranks(
        np.concatenate([part.text for part in parts]),
        np.concatenate([part.image for part in parts]),
        np.concatenate([part.caption_images + end for part, end in zip(parts, ends, strict=False)]),
    )


def ranks(scores: NDArray[np.float32], caption_images: NDArray[np.int64]) -> Ranks:
    """Ranks from scores (images N x captions M), caption m belonging to image `caption_images[m]`.

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
    return Ranks(text_ranks, image_ranks, caption_images)


def recall(scores: NDArray[np.float32], caption_images: NDArray[np.int64]) -> Recall:
    """Recall from scores, as `ranks` takes them."""
    return ranks(scores, caption_images).recall()


def _at_cuts(places: NDArray[np.int64]) -> tuple[float, ...]:
    return tuple(float((places <= cut).mean() * 100) for cut in CUTS)


def _middle(places: NDArray[np.int64]) -> tuple[float, float]:
    return float(np.median(places)), float(places.mean())


def _middle_95(values: NDArray[np.float64]) -> Interval:
    low, high = np.percentile(values, [2.5, 97.5])
    return round(float(low), 2), round(float(high), 2)
