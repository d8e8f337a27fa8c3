"""Where a photo shows each word, finer than its stored regions: a map from overlapping views of the photo itself.

Each view goes through the extractor, so its regions are smaller parts of the photo. A map's cell has the mean of the
regions that lie over it. Views and weights were chosen on the 80 photos of benchmarks/pointing.py (docs/searching.md).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from shan_engine.base.errors import InputError
from shan_engine.gallery.storage import SEEN
from shan_engine.kernel.constants import REGIONS
from shan_engine.scoring.encoders import Encoders
from shan_engine.scoring.scorer import Scorer
from shan_engine.search.explain import Box, WordRegion
from shan_engine.search.pointing import Pointer
from shan_engine.search.query import Query, ReadQuery
from shan_engine.search.results import Hit, QueryHits
from shan_engine.store.records import SeenClasses

if TYPE_CHECKING:
    from shan_engine.photos.extractor import FeatureExtractor
    from shan_engine.photos.fit import Part

CELLS = 24  # of a map, a side
EVIDENCE_WEIGHT = 0.08  # of the seen classes' evidence beside a cosine
SMOOTHED = 3  # cells a side that are averaged, and that a box spans
WHOLE_VIEW: Part = (0.0, 0.0, 1.0, 1.0)
HALVES: tuple[Part, ...] = tuple((x / 4, y / 4, x / 4 + 0.5, y / 4 + 0.5) for y in range(3) for x in range(3))
VIEWS = (WHOLE_VIEW, *HALVES)
"""The whole photo, and nine overlapping parts of half its sides."""


@dataclass(frozen=True)
class FineRegion(WordRegion):
    """A word's region that was found in the photo itself. `region` is the nearest of the whole photo's.

    `evidence` says what the map was made of: "cosine", or "cosine and seen classes".
    """

    evidence: str = "cosine"


@dataclass(frozen=True)
class WordMap:
    """How strongly each place of a photo means a word: `values` CELLS x CELLS, and the region around the peak."""

    values: NDArray[np.float32]
    peak: FineRegion


@dataclass(frozen=True)
class PhotoViews:
    """The V views of a photo: which cells their R regions cover, and the regions in the joint space.

    `size` is the photo's width and height in pixels. `cover` is R x CELLS², and each column sums to 1. `regions` are
    K x D a view, `seen` what each view is seen as. `centres` of the whole photo's regions are K x 2, from 0 to 1.
    """

    size: tuple[int, int]
    cover: NDArray[np.float32]
    regions: tuple[NDArray[np.float32], ...]
    seen: tuple[Mapping[str, NDArray[Any]], ...]
    centres: NDArray[np.float32]

    @classmethod
    def read(
        cls, path: Path, encoders: Encoders, network: FeatureExtractor, views: Sequence[Part] = VIEWS
    ) -> PhotoViews:
        """Read a photo, one view a call of the extractor; the first view is the whole photo.

        Raises InputError if the photo cannot be decoded, or if the extractor gives no boxes or no region.
        """
        from shan_engine.photos.decode import read_parts  # here, as a search with words alone starts without it

        covers, regions, seen, size, centres = [], [], [], (0, 0), None
        for scaled in read_parts(path, network.recipe.width, network.recipe.height, views, fit=network.recipe.fit):
            x0, y0, x1, y1 = scaled.part
            ((features, boxes, classes),) = network(scaled.pixels[None], [path])
            if boxes is None or not len(features):
                raise InputError(f"{path} has no regions with boxes: {network.model} cannot say where things are")
            if centres is None:
                size, centres = scaled.size, ((boxes[:, :2] + boxes[:, 2:]) / 2).astype(np.float32)
            covers.append(_cover(np.array([x0, y0] * 2) + boxes * np.array([x1 - x0, y1 - y0] * 2)))
            regions.append(encoders.encode_images(features[None], np.ones((1, len(features)), np.bool_))[REGIONS][0])
            seen.append(_arrays(classes))
        cover = np.concatenate(covers)
        cover /= np.maximum(cover.sum(axis=0), 1)
        assert centres is not None
        return cls(size, cover, tuple(regions), tuple(seen), centres)

    def maps(self, pointer: Pointer) -> list[WordMap]:
        """The maps of a phrase's content words."""
        cosines = np.concatenate([pointer.cosines(view) for view in self.regions], axis=1)
        evidence = [
            pointer.evidence(seen, len(view), EVIDENCE_WEIGHT)
            for view, seen in zip(self.regions, self.seen, strict=True)
        ]
        plain = _smoothed(cosines @ self.cover)
        maps = plain + _smoothed(np.concatenate(evidence, axis=1) @ self.cover)
        with_classes = pointer.class_weights is not None and all(self.seen)
        source = "cosine and seen classes" if with_classes else "cosine"
        found = []
        for word, values, near in zip(pointer.words, maps, plain, strict=True):
            place = int(values.argmax())
            y, x = divmod(place, CELLS)
            distances = np.linalg.norm(self.centres - (np.array([x, y]) + 0.5) / CELLS, axis=1)
            peak = FineRegion(word.text, int(distances.argmin()), self._box(x, y), float(near[place]), source)
            found.append(WordMap(values.reshape(CELLS, CELLS), peak))
        return found

    def _box(self, x: int, y: int) -> Box:
        """The box around a cell in pixels, within the photo."""
        edge, (width, height) = SMOOTHED // 2, self.size
        across = (max(0, x - edge) * width / CELLS, min(CELLS, x + edge + 1) * width / CELLS)
        down = (max(0, y - edge) * height / CELLS, min(CELLS, y + edge + 1) * height / CELLS)
        return across[0], down[0], across[1], down[1]


def pointers_of(scorer: Scorer, query: Query) -> list[Pointer]:
    """What points at the words of a query's wanted phrases.

    Raises InputError for a query that cannot be read, and for a model that does not compare words with regions.
    """
    found = []
    readings = ReadQuery.read(scorer.encoders, query).readings
    for phrase, reading in zip(query.phrases, readings, strict=True):
        pointer = Pointer.of(scorer, reading, scorer.encoders.encode_captions([list(reading.tokens)]))
        if pointer is None:
            raise InputError(
                f"the model of {scorer.bundle.path} does not compare words with regions: leave fine regions out"
            )
        if phrase.weight > 0:
            found.append(pointer)
    return found


def with_fine_regions(
    scorer: Scorer,
    queries: Sequence[Query],
    results: Sequence[QueryHits],
    network: FeatureExtractor,
    on_photo: Callable[[int], None] = lambda done: None,
) -> list[QueryHits]:
    """The results of `queries` with regions from fine maps; a photo that cannot be read keeps its stored regions.

    `on_photo` is called with the number of hits done. Raises InputError as `pointers_of`.
    """
    found = []
    for query, result in zip(queries, results, strict=True):
        pointers = [] if result.error else pointers_of(scorer, query)
        hits = []
        for hit in result.hits:
            hits.append(_with_fine_regions(scorer, pointers, hit, network))
            on_photo(1)
        found.append(replace(result, hits=tuple(hits)))
    return found


def _with_fine_regions(scorer: Scorer, pointers: Sequence[Pointer], hit: Hit, network: FeatureExtractor) -> Hit:
    path = Path(hit.image.path)
    if not pointers or not hit.image.path or not path.is_file():
        return hit
    try:
        views = PhotoViews.read(path, scorer.encoders, network)
    except InputError:  # damaged since it was indexed
        return hit
    return replace(hit, words=tuple(one.peak for pointer in pointers for one in views.maps(pointer)))


def _arrays(seen: SeenClasses | None) -> Mapping[str, NDArray[Any]]:
    return {} if seen is None else dict(zip(SEEN, (seen.classes, seen.probabilities, seen.regions), strict=True))


def _cover(boxes: NDArray[np.float64]) -> NDArray[np.float32]:
    """Which cells of a map have their centre in each of K relative boxes: K x CELLS², 1 or 0."""
    at = (np.arange(CELLS) + 0.5) / CELLS
    x0, y0, x1, y1 = (column[:, None] for column in boxes.T)
    across, down = (x0 <= at) & (at < x1), (y0 <= at) & (at < y1)
    found: NDArray[np.bool_] = down[:, :, None] & across[:, None, :]
    return found.reshape(len(boxes), -1).astype(np.float32)


def _smoothed(maps: NDArray[np.float32]) -> NDArray[np.float32]:
    """Maps n x CELLS², each cell the mean of those around it."""
    edge = SMOOTHED // 2
    padded = np.pad(maps.reshape(-1, CELLS, CELLS), ((0, 0), (edge, edge), (edge, edge)), mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (SMOOTHED, SMOOTHED), axis=(1, 2))
    means: NDArray[np.float32] = windows.mean(axis=(3, 4)).reshape(maps.shape)
    return means
