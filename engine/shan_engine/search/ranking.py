"""The best images of a query, as both exhaustive search and the cascade return them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from shan_engine.base.packing import Arrays

# Columns gathered before they are merged with the best so far.
MERGED_COLUMNS = 1024
SAMPLED = 64  # of so many scores, one says where the highest begin


@dataclass(frozen=True)
class StageCounts:
    """How many images each stage scored for a query; `proven`: no skipped image can be among the hits."""

    first_pass: int
    step_1: int
    all_steps: int
    proven: bool


@dataclass(frozen=True)
class Ranking:
    """Scores and places (in the gallery's order) of the best images, best first.

    `captions` are the query's encoded phrases, 1 x their shape each; `stages` counts a cascade's images.
    """

    scores: NDArray[np.float32]
    places: NDArray[np.int64]
    captions: Sequence[Arrays] = ()
    stages: StageCounts | None = None

    def only(self, kept: NDArray[np.bool_]) -> Ranking:
        """The same without the images where `kept` is false."""
        return replace(self, scores=self.scores[kept], places=self.places[kept])


class BestColumns:
    """The k best columns of each row; columns arrive in order, a few at a time."""

    def __init__(self, rows: int, k: int) -> None:
        self._k, self._fill = k, k
        width = k + max(k, MERGED_COLUMNS)
        self._scores = np.full((rows, width), -np.inf, np.float32)
        self._places = np.full((rows, width), -1, np.int64)
        self._images = slice(0, 0)

    def add(self, rows: NDArray[np.int64], images: slice, scores: NDArray[np.float32]) -> None:
        """Add scores B x C of a slice of images with the captions at `rows`; finish all rows before the next images."""
        if images != self._images:
            self._fill += self._images.stop - self._images.start
            if self._fill + len(scores) > self._scores.shape[1]:
                self._merge()
                self._widen(len(scores))
            self._images = images
        columns = slice(self._fill, self._fill + len(scores))
        self._scores[rows, columns] = scores.T
        self._places[rows, columns] = np.arange(images.start, images.stop)

    def ranked(self) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Scores and places of the k best of each row, best first."""
        self._merge()
        return self._scores[:, : self._k], self._places[:, : self._k]

    def _merge(self) -> None:
        # Stable: on ties the image indexed first stays first.
        best = np.argsort(-self._scores, axis=1, kind="stable")[:, : self._k]
        for array in (self._scores, self._places):
            array[:, : self._k] = np.take_along_axis(array, best, axis=1)
        self._scores[:, self._k :] = -np.inf
        self._fill = self._k

    def _widen(self, columns: int) -> None:
        """Make room for this many columns beside the best."""
        missing = self._k + columns - self._scores.shape[1]
        if missing > 0:
            self._scores = np.pad(self._scores, ((0, 0), (0, missing)), constant_values=-np.inf)
            self._places = np.pad(self._places, ((0, 0), (0, missing)), constant_values=-1)


def highest(scores: NDArray[np.float32], width: int) -> NDArray[np.int64]:
    """Places of the `width` highest scores, ascending."""
    if width >= len(scores):
        return np.arange(len(scores))
    likely = _likely(scores, width)
    kept = scores if likely is None else scores[likely]
    best = np.argpartition(-kept, width - 1)[:width]
    return np.sort(best if likely is None else likely[best])


def _likely(scores: NDArray[np.float32], width: int) -> NDArray[np.int64] | None:
    """Places of the highest scores and of somewhat more than `width`, by a sample; None where it does not pay."""
    if len(scores) < SAMPLED * SAMPLED or len(scores) < SAMPLED * width:
        return None
    sample = np.sort(scores[::SAMPLED])
    found = np.flatnonzero(scores >= sample[-min(2 * width // SAMPLED + 8, len(sample))])
    return found if len(found) >= width else None
