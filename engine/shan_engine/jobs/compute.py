"""Compute blocks, one after another, with a scorer and its open galleries."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shan_engine.gallery.images import Images
from shan_engine.jobs.kept_pairs import ranked, select
from shan_engine.jobs.plan import JobBlock, Plan
from shan_engine.scoring.passes import CaptionBatches, pair_scores
from shan_engine.scoring.scorer import Scorer

Found = NDArray[Any]
"""The result of a block: its part of the matrix, or its `KeptPairs`."""


@dataclass(frozen=True)
class View:
    """Some images of a job, and their places among all images (None: these are all images)."""

    images: Images
    places: NDArray[np.int64] | None = None

    def numbers(self, start: int, stop: int) -> NDArray[np.int64]:
        """The places, among all images, of the view's images from `start` to before `stop`."""
        return np.arange(start, stop) if self.places is None else self.places[start:stop]


@dataclass(frozen=True)
class Task:
    """What all blocks of a job have in common."""

    plan: Plan
    by_image: bool
    matrix: bool
    top_k: int | None
    threshold: float | None


class BlockScorer:
    """Scores blocks. It keeps a block's encoded captions, because the next block often has the same."""

    def __init__(self, scorer: Scorer, views: Sequence[View], task: Task) -> None:
        self._scorer, self._views, self._task = scorer, views, task
        self._encoded: tuple[tuple[int, ...], CaptionBatches] | None = None

    def run(self, block: JobBlock, texts: Sequence[str]) -> Found:
        """Compute a block's part of the matrix, or its kept pairs in rank order. `texts` are its captions.

        Raises GalleryError if an image is damaged or has a NaN score.
        """
        captions = self._captions(block, texts)
        view, parts = self._views[block.view], []
        numbers = np.array(block.captions, np.int64)
        for start in range(block.start, block.stop, self._task.plan.tile):
            stop = min(start + self._task.plan.tile, block.stop)
            scores, steps = self._tile(view.images, start, stop, captions)
            places = view.numbers(start, stop)
            if self._task.by_image:
                scores, steps = scores.T, steps.transpose(1, 0, 2)
            if self._task.matrix:
                return np.ascontiguousarray(scores)  # the plan makes a matrix's blocks of one tile
            sides = (places, numbers) if self._task.by_image else (numbers, places)
            parts.append(select(scores, steps, *sides, self._task.top_k, self._task.threshold))
            if len(parts) > 1 and not self._task.by_image:
                parts = [ranked(np.concatenate(parts), self._task.top_k)]
        return np.concatenate(parts)

    def _captions(self, block: JobBlock, texts: Sequence[str]) -> CaptionBatches:
        if self._encoded is None or self._encoded[0] != block.captions:
            self._encoded = None  # free what is held before as much is made again
            encoders = self._scorer.encoders
            tokens = [encoders.tokens(text) for text in texts]
            self._encoded = block.captions, CaptionBatches.encode(encoders, tokens, texts)
        return self._encoded[1]

    def _tile(
        self, images: Images, start: int, stop: int, captions: CaptionBatches
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Scores C x T of all captions with the images from `start` to before `stop`, and steps C x T x S."""
        shape = (len(captions), stop - start)
        scores = np.empty(shape, np.float32)
        steps = np.empty((*shape, 0 if self._task.matrix else len(self._scorer.score_parts)), np.float32)
        outputs = ["scores", *(["step_scores"] if steps.shape[2] else [])]
        for rows, place, found in pair_scores(self._scorer, images, captions, start=start, stop=stop, outputs=outputs):
            columns = slice(place.start - start, place.stop - start)
            scores[rows, columns] = found["scores"].T
            if steps.shape[2]:
                steps[rows, columns] = found["step_scores"].transpose(1, 0, 2)
        return scores, steps


@dataclass(frozen=True)
class Work:
    """Blocks to compute, and all that this needs.

    `texts` gives the captions of a block. `stop` returns true if no more blocks should be started.
    """

    scorer: Scorer
    views: tuple[View, ...]
    task: Task
    blocks: Sequence[JobBlock]
    texts: Callable[[JobBlock], list[str]]
    stop: Callable[[], bool]


Runner = Callable[[Work], Iterator[tuple[JobBlock, Found]]]


def run_here(work: Work) -> Iterator[tuple[JobBlock, Found]]:
    """Compute the blocks one after another in this process."""
    scorer = BlockScorer(work.scorer, work.views, work.task)
    for block in work.blocks:
        if work.stop():
            return
        yield block, scorer.run(block, work.texts(block))
