"""The cascade: search a large gallery in stages, each more exact than the one before, over fewer images.

SHAN's score is itself a cascade. Each stage keeps the best images for the next, which costs more per image:

1. the first pass knows an image by one vector, the mean of its regions (gallery/pooled.py): its product with the mean
   of a query's words stands in for step 1;
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
from shan_engine.gallery.reader import Gallery
from shan_engine.kernel.constants import MASK, REGIONS
from shan_engine.kernel.pieces import Pieces, runs
from shan_engine.kernel.shan import Kernel
from shan_engine.kernel.step_1 import pooled_query
from shan_engine.parts.part import Named
from shan_engine.parts.whole_gallery import GalleryParts
from shan_engine.scoring.scorer import Scorer
from shan_engine.search.query import EncodedClause, phrase_weight
from shan_engine.search.skimmed import Skimmed, hubness_of

MOST_IN_RUN = 2**15  # images of a first pass that a thread takes at a time, or fewer, so that threads share evenly
RUNS = 8  # of each thread


def has_cascade(scorer: Scorer, gallery: Gallery) -> bool:
    """Whether a gallery can be searched in stages: the kernel scores this model, and the gallery is large."""
    return gallery.manifest.staged and scorer.kernel is not None


class Cascade:
    """The separate stages over one gallery; `has_cascade` must hold. Several threads may search at once.

    What it reads of all images stays mapped, from one query to the next.
    """

    def __init__(self, scorer: Scorer, gallery: Gallery) -> None:
        assert scorer.kernel is not None
        self.scorer, self.gallery, self.kernel = scorer, gallery, scorer.kernel
        self._parts = GalleryParts(scorer.parts, gallery)
        self._pool = ThreadPoolExecutor(self.kernel.threads, thread_name_prefix="cascade")
        self._skimmed = Skimmed(gallery, self._parts, self._pool)

    def over(self, gallery: Gallery) -> Cascade:
        """The cascade over some of its gallery's images, or over the same with other hubness; nothing is read again."""
        return self if gallery is self.gallery else _PartOfCascade(self, gallery)

    def begin(self) -> None:
        """Begin to read, in other threads, what stages read of all images; these raise what is wrong with it."""
        self._skimmed.begin()
        if "_regions" not in self.__dict__:
            self._pool.submit(lambda: (self._regions, self._rows_of_files))

    @cached_property
    def hubness(self) -> NDArray[np.float32]:
        """Hubness N of all images; 0 if the gallery is not normalised. The stages' scores do not subtract it."""
        return self._skimmed.read()[2]

    def offsets(self, clauses: Sequence[EncodedClause], places: NDArray[np.int64]) -> NDArray[np.float32]:
        """What a query's clauses add to the steps of the images at `places`: further parts, minus hubness."""
        found = self.hubness[places] * np.float32(-phrase_weight(clauses))
        for captions, weights in self._clauses([clauses]):
            found += (self._totals(captions, len(weights), places) @ weights)[:, 0]
        return found

    def _totals(self, captions: Named, count: int, places: NDArray[np.int64]) -> NDArray[np.float32]:
        """Sums of further parts of the images at `places` with C = `count` captions."""
        return self._parts.totals(captions, count, places)

    def _clauses(self, group: Sequence[Sequence[EncodedClause]]) -> list[tuple[Arrays, NDArray[np.float32]]]:
        """What the parts take of the queries' C phrases, then of their photos, with their weights C x Q."""
        found = []
        for photo in (False, True) if self.scorer.parts else ():
            own = [(place, one) for place, clauses in enumerate(group) for one in clauses if one.photo is photo]
            if own:
                weights = np.zeros((len(own), len(group)), np.float32)
                weights[np.arange(len(own)), [place for place, _ in own]] = [one.weight for _, one in own]
                found.append((self.scorer.parts.joined([one.caption for _, one in own]), weights))
        return found

    def first_pass(self, group: Sequence[Sequence[EncodedClause]]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """What stands in for step 1 of all images with each of Q queries, and estimates of `offsets`: Q x N each."""
        return self.scan(group), self.estimates(group)

    def scan(self, group: Sequence[Sequence[EncodedClause]]) -> NDArray[np.float32]:
        """What stands in for step 1 of all images with each of Q queries, Q x N: products with the mean regions."""
        constants, (vectors, scales, _) = self.kernel.constants, self._skimmed.read()
        queries = np.stack(
            [pooled_query(constants, [(one.weight, one.caption) for one in clauses]) for clauses in group]
        )
        found = np.empty((len(group), len(self.gallery)), np.float32)

        def of_run(pieces: slice, places: slice) -> None:
            found[:, places] = self.kernel.scan(vectors.run(pieces), scales.run(pieces), queries).T

        self._in_runs(vectors, of_run)
        return found

    def estimates(self, group: Sequence[Sequence[EncodedClause]]) -> NDArray[np.float32]:
        """Estimates of `offsets` of all images with each of Q queries, Q x N."""
        found = self._estimates(group)
        for row, clauses in zip(found, group, strict=True):
            with np.errstate(invalid="ignore"):  # exact scores that are not finite are refused
                row -= np.float32(phrase_weight(clauses)) * self.hubness
        return found

    def _estimates(self, group: Sequence[Sequence[EncodedClause]]) -> NDArray[np.float32]:
        """The same without hubness."""
        found, clauses = np.zeros((len(group), len(self.gallery)), np.float32), self._clauses(group)
        alone = np.eye(len(group), dtype=np.float32)
        self._skimmed.read()  # the parts' arrays, too

        def of_run(pieces: slice, places: slice) -> None:
            count = places.stop - places.start
            for captions, weights in clauses:
                parts = self._parts.estimates(captions, (count, len(weights)), self.kernel, pieces).T
                # A query of one phrase, as most are, takes its own.
                found[:, places] += parts if np.array_equal(weights, alone) else weights.T @ parts

        if self._parts.pieces:
            self._in_runs(next(iter(self._parts.pieces.values())), of_run)
        return found

    def _in_runs(self, images: Pieces, work: Callable[[slice, slice], None]) -> None:
        """Do some work on all images, by pieces and places, on all threads."""
        size = min(max(len(images) // (RUNS * self.kernel.threads), 1), MOST_IN_RUN)
        for _ in self._pool.map(work, *zip(*runs(images.counts, size), strict=True)):  # raises what went wrong
            pass

    @cached_property
    def _regions(self) -> tuple[Pieces, Pieces | None, Pieces]:
        """Regions, their scales and their mask, at all rows of all blocks' files."""
        files = [block.files for block in self.gallery.blocks]
        scales = [one[REGIONS + SCALES] for one in files if REGIONS + SCALES in one]
        return (
            Pieces([one[REGIONS] for one in files]),
            Pieces(scales) if scales else None,
            Pieces([one[MASK] for one in files]),
        )

    @cached_property
    def _rows_of_files(self) -> NDArray[np.int64]:
        """For each image, its row among all rows of all blocks' files."""
        begins = np.cumsum([0, *(block.entry.images for block in self.gallery.blocks)])
        return np.concatenate([begin + block.rows for begin, block in zip(begins, self.gallery.blocks, strict=False)])

    @cached_property
    def _sound(self) -> NDArray[np.bool_]:
        """Which images are known to be as they were written."""
        return np.zeros(len(self.gallery), np.bool_)

    def step_1(self, caption: Arrays, places: NDArray[np.int64], kernel: Kernel | None = None) -> NDArray[np.float32]:
        """Exact step 1 of the images at `places` (ascending) with one caption.

        Rows are checked afterwards: the kernel's threads have then taken what they read into memory, all at once.
        """
        found = (kernel or self.kernel).local_scores_of(*self._regions, self._rows_of_files[places], caption)[:, 0]
        new = places[~self._sound[places]]
        for block, rows in self._rows(new):
            block.check(rows)
        self._sound[new] = True
        return found

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


class _PartOfCascade(Cascade):
    """A cascade over some of the images of a whole one, or over the same with other hubness."""

    def __init__(self, whole: Cascade, gallery: Gallery) -> None:
        self.scorer, self.gallery, self.kernel = whole.scorer, gallery, whole.kernel
        self._whole, self._places = whole, _places_in(whole.gallery, gallery)

    def begin(self) -> None:
        self._whole.begin()

    @cached_property
    def hubness(self) -> NDArray[np.float32]:
        return np.concatenate([hubness_of(self.gallery, block) for block in self.gallery.blocks])

    @cached_property
    def _regions(self) -> tuple[Pieces, Pieces | None, Pieces]:
        return self._whole._regions

    def scan(self, group: Sequence[Sequence[EncodedClause]]) -> NDArray[np.float32]:
        return self._whole.scan(group)[:, self._places]

    def _totals(self, captions: Named, count: int, places: NDArray[np.int64]) -> NDArray[np.float32]:
        return self._whole._totals(captions, count, self._places[places])

    def _estimates(self, group: Sequence[Sequence[EncodedClause]]) -> NDArray[np.float32]:
        return self._whole._estimates(group)[:, self._places]


def _places_in(gallery: Gallery, part: Gallery) -> NDArray[np.int64]:
    """For each image of a part of a gallery, its place in the gallery. Both have the same blocks, with fewer rows."""
    found, begin = [np.zeros(0, np.int64)], 0
    for block, other in zip(gallery.blocks, part.blocks, strict=True):
        found.append(begin + np.searchsorted(block.rows, other.rows))
        begin += len(block)
    return np.concatenate(found)
