"""The cascade: search a large gallery in stages, each more exact than the one before, over fewer images.

SHAN's score is itself a cascade. Each stage keeps the best images for the next, which costs more per image:

1. the first pass knows only the centroids of an image's regions (gallery/centroids.py): it computes step 1 as if they
   were the regions, without the lengths of attended vectors;
2. step 1, exact;
3. all steps, exact.

The numbers of images in stages 2 and 3 decide how many of the exhaustive ranking's hits are found; `tune` measures
them on a user's own queries. Further parts of a score and hubness are known for every image before stage 1, and count
in all three.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from shan_engine.base.packing import SCALES, Arrays
from shan_engine.gallery.blocks import Block
from shan_engine.gallery.centroids import Centroids
from shan_engine.gallery.reader import Gallery
from shan_engine.gallery.storage import HUBNESS
from shan_engine.kernel.constants import MASK, REGIONS, ShanConstants
from shan_engine.kernel.shan import Kernel
from shan_engine.kernel.step_1 import centroid_tables
from shan_engine.parts.whole_gallery import GalleryParts
from shan_engine.scoring.passes import refuse_not_finite
from shan_engine.scoring.scorer import Scorer
from shan_engine.search.query import EncodedClause, ReadQuery, phrase_weight
from shan_engine.search.ranking import Ranking, StageCounts, highest
from shan_engine.search.tuning import StageWidths

GROUP = 16  # queries that share a first pass


def has_cascade(scorer: Scorer, gallery: Gallery) -> bool:
    """Whether a gallery can be searched in stages: the kernel scores this model, and the gallery has centroids."""
    return bool(gallery.manifest.centroids) and scorer.kernel is not None


class Cascade:
    """The separate stages over one gallery; `has_cascade` must hold. Several threads may search at once."""

    def __init__(self, scorer: Scorer, gallery: Gallery) -> None:
        assert scorer.kernel is not None
        self.scorer, self.gallery, self.kernel = scorer, gallery, scorer.kernel

    @cached_property
    def _centroids(self) -> Centroids:
        return Centroids.load(self.gallery.path, self.gallery.manifest.centroids)

    @cached_property
    def _codes(self) -> tuple[NDArray[np.uint16], NDArray[np.int32]]:
        """Centroid numbers N x K of all images, and how many regions each has."""
        blocks, checksum = self.gallery.blocks, self._centroids.checksum
        counts = [block.files[MASK][block.rows].sum(axis=1, dtype=np.int32) for block in blocks]
        return np.concatenate([block.codes(checksum) for block in blocks]), np.concatenate(counts)

    @cached_property
    def hubness(self) -> NDArray[np.float32]:
        """Hubness N of all images; 0 if the gallery is not normalised. The stages' scores do not subtract it."""
        if HUBNESS not in self.gallery.manifest.arrays:
            return np.zeros(len(self.gallery), np.float32)
        return np.concatenate([block.files[HUBNESS][block.rows] for block in self.gallery.blocks])

    @cached_property
    def _parts(self) -> GalleryParts:
        return GalleryParts(self.scorer.parts, self.gallery)

    def offsets(self, group: Sequence[Sequence[EncodedClause]]) -> list[NDArray[np.float32]]:
        """What each query's clauses add to the steps of all images, N each: further parts, minus hubness."""
        found = [self.hubness * np.float32(-phrase_weight(clauses)) for clauses in group]
        for photo in (False, True) if self.scorer.parts else ():
            own = [(row, clause) for row, clauses in enumerate(group) for clause in clauses if clause.photo is photo]
            if not own:
                continue
            further = self._parts.totals(self.scorer.parts.joined([clause.caption for _, clause in own]), len(own))
            for (row, clause), column in zip(own, further.T, strict=True):
                found[row] += np.float32(clause.weight) * column
        return found

    def first_pass(self, captions: Sequence[Arrays]) -> NDArray[np.float32]:
        """Approximate step 1 of all images with C captions, each encoded alone, N x C."""
        return self.kernel.centroid_scores(*self._codes, *centroid_tables(self._centroids.vectors, captions))

    def step_1(self, caption: Arrays, places: NDArray[np.int64], kernel: Kernel | None = None) -> NDArray[np.float32]:
        """Exact step 1 of the images at `places` (ascending) with one caption."""
        kernel = kernel or self.kernel
        own = kernel.on_one_thread()  # threads share the blocks

        def of_block(part: tuple[Block, NDArray[np.int64]]) -> NDArray[np.float32]:
            block, rows = part
            block.check(rows)
            files = block.files
            return own.local_scores(files[REGIONS], files.get(REGIONS + SCALES), files[MASK], rows, caption)[:, 0]

        parts = list(self._rows(places))
        if kernel.threads == 1 or len(parts) == 1:
            return np.concatenate([of_block(part) for part in parts])
        with ThreadPoolExecutor(kernel.threads) as pool:
            return np.concatenate(list(pool.map(of_block, parts)))

    def all_steps(
        self, caption: Arrays, places: NDArray[np.int64], kernel: Kernel | None = None
    ) -> NDArray[np.float32]:
        """The exact score of the images at `places` (ascending) with one caption."""
        parts = [block.stored(rows) for block, rows in self._rows(places)]
        images = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        return (kernel or self.kernel).score(self.scorer.pairs.prepare(images), caption)[:, 0]

    def _rows(self, places: NDArray[np.int64]) -> Iterator[tuple[Block, NDArray[np.int64]]]:
        """Blocks with rows of their files, for ascending places in gallery order."""
        cuts = np.searchsorted(places, self.gallery.ends)
        start = 0
        for block, end, stop in zip(self.gallery.blocks, self.gallery.ends, cuts, strict=True):
            if stop > start:
                yield block, block.rows[places[start:stop] - (end - len(block))]
            start = stop


def rank_in_stages(
    cascade: Cascade,
    queries: Sequence[ReadQuery],
    top_k: int,
    widths: StageWidths,
    on_queries: Callable[[int], None] = lambda done: None,
) -> Iterator[Ranking]:
    """The best `top_k` images for each query, in order; each stage sums the scores of a query's clauses by weight."""
    done, kernel, encoders = 0, cascade.kernel, cascade.scorer.encoders
    with ThreadPoolExecutor(kernel.threads) as pool:
        for start in range(0, len(queries), GROUP):
            group = [query.encode(encoders) for query in queries[start : start + GROUP]]
            # Several queries get one thread each; a single query gets all threads.
            own = kernel.on_one_thread() if len(group) > 1 else kernel
            approximate = cascade.first_pass([clause.caption for clauses in group for clause in clauses])
            ends = np.cumsum([len(clauses) for clauses in group])
            jobs = [
                pool.submit(
                    _rank, cascade, own, clauses, approximate[:, end - len(clauses) : end], added, top_k, widths
                )
                for clauses, end, added in zip(group, ends, cascade.offsets(group), strict=True)
            ]
            for job in jobs:
                yield job.result()
                done += 1
                on_queries(done)


def _rank(
    cascade: Cascade,
    kernel: Kernel,
    clauses: Sequence[EncodedClause],
    approximate: NDArray[np.float32],
    added: NDArray[np.float32],
    top_k: int,
    widths: StageWidths,
) -> Ranking:
    """`approximate` are the first pass's scores of all images with each clause, N x clauses; `added` N is known."""
    weights = np.array([clause.weight for clause in clauses], np.float32)
    first = approximate @ weights + added
    near = highest(first, max(widths.step_1, top_k))
    local = np.stack([cascade.step_1(clause.caption, near, kernel) for clause in clauses], axis=1)
    refuse_not_finite(cascade.gallery, near, local)
    second = local @ weights + added[near]
    order = highest(second, max(widths.all_steps, top_k))
    places = near[order]
    exact = [
        local[order, column]
        if clause.photo or kernel.constants.steps == 1
        else cascade.all_steps(clause.caption, places, kernel)
        for column, clause in enumerate(clauses)
    ]
    scores = np.stack(exact, axis=1) @ weights + added[places]
    refuse_not_finite(cascade.gallery, places, scores[:, None])
    ranked = np.lexsort((places, -scores))[:top_k]
    unseen = float(np.delete(added, near).max()) if len(near) < len(first) else None
    limit = _limit(kernel.constants, clauses, np.delete(second, order), unseen)
    proven = bool(scores[ranked[-1]] >= limit)
    cascade.gallery.release()  # a query maps a page's neighbours but reads few of them
    captions = [clause.caption for clause in clauses if not clause.photo]
    counts = StageCounts(len(first), len(near), len(order), proven)
    return Ranking(scores[ranked], places[ranked], captions, counts)


def _limit(
    constants: ShanConstants, clauses: Sequence[EncodedClause], left_out: NDArray[np.float32], unseen: float | None
) -> float:
    """An upper bound on the scores of images with these step 1 scores, or not seen in step 1: cosines are at most 1.

    `unseen` is the most that further parts and normalisation add to an unseen image; None if all were seen.
    """
    a_b = constants.region_weight + constants.word_weight
    everywhere = sum(abs(clause.weight) for clause in clauses)
    phrases = sum(abs(clause.weight) for clause in clauses if not clause.photo)
    local = max(float(left_out.max(initial=-np.inf)), -np.inf if unseen is None else everywhere * a_b + unseen)
    return local + phrases * ((a_b if constants.steps > 1 else 0) + (1 if constants.steps > 2 else 0))
