"""Search of a large gallery in steps: a look at every image's centroids, step 1 of the score, the whole score.

SHAN's score is itself a cascade. Each stage keeps the best images for the next one, which costs more an image:

1. the first pass knows an image by its regions' centroids alone (gallery/centroids.py): step 1 as if they were its
   regions, attended vectors' lengths left out;
2. step 1, exact;
3. all steps, exact.

How many images stages 2 and 3 see decides how many of the exhaustive ranking's hits are found; `search/tuning.py`
measures it on a user's own queries.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from shan_engine.gallery.blocks import Block
from shan_engine.gallery.centroids import REGIONS, Centroids
from shan_engine.gallery.reader import Gallery
from shan_engine.gallery.storage import HUBNESS, SCALES, Arrays
from shan_engine.kernel.shan import TABLE_WIDTH, Kernel, ShanConstants
from shan_engine.scoring.encoders import Scorer
from shan_engine.scoring.passes import refuse_not_finite
from shan_engine.search.query import Asked, Part, phrase_weight
from shan_engine.search.tuning import Widths

GROUP = 16  # queries whose first pass is made together
LOWEST_EXPONENT = -80.0  # exp of less is 0 in float32


@dataclass(frozen=True)
class Scanned:
    """How many images a query met in each stage; `proven`: no image left out can be among the hits."""

    first_pass: int
    step_1: int
    all_steps: int
    proven: bool


Found = tuple[NDArray[np.float32], NDArray[np.int64], Scanned | None]
"""Scores and places (in the gallery's order) of the best images, best first; what was scanned for them, if not all."""


def can_step(scorer: Scorer, gallery: Gallery) -> bool:
    """Whether a step-wise search is possible: the kernel scores this model, and the gallery has centroids."""
    return bool(gallery.manifest.centroids) and scorer.kernel is not None


class Stages:
    """The stages over one gallery, each on its own; `can_step` must hold."""

    def __init__(self, scorer: Scorer, gallery: Gallery) -> None:
        assert scorer.kernel is not None
        self.scorer, self.gallery, self.kernel = scorer, gallery, scorer.kernel
        self._centroids = Centroids.load(gallery.path, gallery.manifest.centroids)

    @cached_property
    def _codes(self) -> tuple[NDArray[np.uint16], NDArray[np.int32]]:
        """Centroid numbers N x K of all images that count, and how many regions each has."""
        blocks, checksum = self.gallery.blocks, self._centroids.checksum
        counts = [block.files["region_mask"][block.rows].sum(axis=1, dtype=np.int32) for block in blocks]
        return np.concatenate([block.codes(checksum) for block in blocks]), np.concatenate(counts)

    @cached_property
    def hubness(self) -> NDArray[np.float32]:
        """Hubness N of all images; 0 where the gallery is not normalised. It is taken from no stage's scores here."""
        if HUBNESS not in self.gallery.manifest.arrays:
            return np.zeros(len(self.gallery), np.float32)
        return np.concatenate([block.files[HUBNESS][block.rows] for block in self.gallery.blocks])

    def first_pass(self, captions: Sequence[Arrays]) -> NDArray[np.float32]:
        """Approximate step 1 of all images with C captions, each encoded alone, N x C."""
        words = np.array([caption["caption_words"].shape[1] for caption in captions])
        width = -(-(1 + 2 * int(words.max())) // TABLE_WIDTH) * TABLE_WIDTH
        tables = np.zeros((len(captions), len(self._centroids.vectors), width), np.float32)
        for table, caption, count in zip(tables, captions, words, strict=True):
            table[:, : 1 + 2 * count] = self._table(caption)
        return self.kernel.centroid_scores(*self._codes, tables, words)

    def _table(self, caption: Arrays) -> NDArray[np.float32]:
        """What each centroid adds to a caption of n words, Q x (1 + 2n).

        Its region's cosine, then for each word its unnormalised attention weight, then that times the similarity.
        """
        T, U, gram = (caption[name][0] for name in ("caption_words", "caption_queries", "caption_gram"))
        affinity, similarity = self._centroids.vectors @ U.T, self._centroids.vectors @ T.T
        alpha = np.exp(affinity - affinity.max(axis=1, keepdims=True))
        alpha /= alpha.sum(axis=1, keepdims=True)
        lengths = np.sqrt(((alpha @ gram) * alpha).sum(axis=1))
        cosines = (alpha * similarity).sum(axis=1) / np.maximum(lengths, 1e-8)
        weights = np.exp(np.maximum(affinity - affinity.max(axis=0), LOWEST_EXPONENT))
        return np.concatenate([cosines[:, None], weights, weights * similarity], axis=1)

    def step_1(self, caption: Arrays, places: NDArray[np.int64], kernel: Kernel | None = None) -> NDArray[np.float32]:
        """Exact step 1 of the images at `places` (ascending) with one caption."""
        kernel = kernel or self.kernel
        own = kernel.on_one_thread()  # threads share the blocks

        def of_block(part: tuple[Block, NDArray[np.int64]]) -> NDArray[np.float32]:
            block, rows = part
            block.check(rows)
            files = block.files
            regions, scales, mask = files[REGIONS], files.get(REGIONS + SCALES), files["region_mask"]
            return own.local_scores(regions, scales, mask, rows, caption)[:, 0]

        with ThreadPoolExecutor(kernel.threads) as pool:
            return np.concatenate(list(pool.map(of_block, self._rows(places))))

    def all_steps(
        self, caption: Arrays, places: NDArray[np.int64], kernel: Kernel | None = None
    ) -> NDArray[np.float32]:
        """The exact score of the images at `places` (ascending) with one caption."""
        parts = [block.unpacked(rows) for block, rows in self._rows(places)]
        images = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        return (kernel or self.kernel).score(self.scorer.for_pairs(images), caption)[:, 0]

    def release(self) -> None:
        """Give the memory of the mapped files back: a query reads few of a page's neighbours, but maps them."""
        for block in self.gallery.blocks:
            block.release()

    def _rows(self, places: NDArray[np.int64]) -> Iterator[tuple[Block, NDArray[np.int64]]]:
        """Blocks with rows of their files, for ascending places in the gallery's order."""
        cuts = np.searchsorted(places, self.gallery.ends)
        start = 0
        for block, end, stop in zip(self.gallery.blocks, self.gallery.ends, cuts, strict=True):
            if stop > start:
                yield block, block.rows[places[start:stop] - (end - len(block))]
            start = stop


def search_in_steps(
    stages: Stages,
    asked: Sequence[Asked],
    top_k: int,
    widths: Widths,
    on_queries: Callable[[int], None] = lambda done: None,
) -> Iterator[Found]:
    """The best `top_k` images for each question, in order; in every stage a score is the weighted sum of its parts'."""
    done, kernel = 0, stages.kernel
    with ThreadPoolExecutor(kernel.threads) as pool:
        for start in range(0, len(asked), GROUP):
            questions = [one.parts(stages.scorer) for one in asked[start : start + GROUP]]
            # Several queries have a thread each, one query has all threads.
            own = kernel.on_one_thread() if len(questions) > 1 else kernel
            approximate = stages.first_pass([part.caption for parts in questions for part in parts])
            ends = np.cumsum([len(parts) for parts in questions])
            jobs = [
                pool.submit(_search_one, stages, own, parts, approximate[:, end - len(parts) : end], top_k, widths)
                for parts, end in zip(questions, ends, strict=True)
            ]
            for job in jobs:
                yield job.result()
                done += 1
                on_queries(done)


def _search_one(
    stages: Stages,
    kernel: Kernel,
    parts: Sequence[Part],
    approximate: NDArray[np.float32],
    top_k: int,
    widths: Widths,
) -> Found:
    """`approximate` are the first pass's scores of all images with each part, N x parts."""
    weights = np.array([part.weight for part in parts], np.float32)
    taken = stages.hubness * np.float32(phrase_weight(parts))
    first = approximate @ weights - taken
    near = best(first, max(widths.step_1, top_k))
    local = np.stack([stages.step_1(part.caption, near, kernel) for part in parts], axis=1)
    refuse_not_finite(stages.gallery, near, local)
    normalised = local @ weights - taken[near]
    order = best(normalised, max(widths.all_steps, top_k))
    places = near[order]
    whole = [
        local[order, column] if part.photo else stages.all_steps(part.caption, places, kernel)
        for column, part in enumerate(parts)
    ]
    scores = np.stack(whole, axis=1) @ weights - taken[places]
    refuse_not_finite(stages.gallery, places, scores[:, None])
    ranked = np.lexsort((places, -scores))[:top_k]
    unseen = -float(taken.min()) if len(near) < len(first) else None
    limit = _limit(kernel.constants, parts, np.delete(normalised, order), unseen)
    proven = bool(scores[ranked[-1]] >= limit)
    stages.release()
    return scores[ranked], places[ranked], Scanned(len(first), len(near), len(order), proven)


def _limit(
    constants: ShanConstants, parts: Sequence[Part], left_out: NDArray[np.float32], unseen: float | None
) -> float:
    """What no image can score that has one of these step 1 scores, or was not seen in step 1: cosines are at most 1.

    `unseen` is what normalisation adds at most to an image that was not seen; None where all were.
    """
    a_b = constants.region_weight + constants.word_weight
    everywhere = sum(abs(part.weight) for part in parts)
    phrases = sum(abs(part.weight) for part in parts if not part.photo)
    local = max(float(left_out.max(initial=-np.inf)), -np.inf if unseen is None else everywhere * a_b + unseen)
    return local + phrases * ((a_b if constants.steps > 1 else 0) + (1 if constants.steps > 2 else 0))


def best(scores: NDArray[np.float32], width: int) -> NDArray[np.int64]:
    """Places of the `width` highest scores, ascending."""
    if width >= len(scores):
        return np.arange(len(scores))
    return np.sort(np.argpartition(-scores, width - 1)[:width])
