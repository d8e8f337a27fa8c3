"""A bundle on one back end, kept open: what engines of photos and of captions share."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING, Self

from shan_engine.base.choices import Device
from shan_engine.base.errors import InputError
from shan_engine.scoring.scorer import Scorer
from shan_engine.search.photo_query import QueryPhoto, open_extractor

if TYPE_CHECKING:
    from shan_engine.photos.extractor import FeatureExtractor
    from shan_engine.search.fine_map import WordMap
    from shan_engine.search.query import Query
    from shan_engine.search.results import QueryHits


StrPath = str | os.PathLike[str]


class Session:
    """A bundle on one back end, with what reads query photos; several threads may use it at once."""

    def __init__(self, scorer: Scorer) -> None:
        self._scorer: Scorer | None = scorer
        self._extractors: dict[Path | None, FeatureExtractor] = {}
        self._lock = RLock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Give back everything that is loaded and mapped. Using the engine afterwards raises InputError."""
        with self._lock:
            self._scorer = None
            self._extractors.clear()

    @property
    def scorer(self) -> Scorer:
        """The bundle's encoders and pair scorer. Raises InputError once the engine is closed."""
        if self._scorer is None:
            raise InputError("this engine is closed: open the gallery again")
        return self._scorer

    @contextmanager
    def _turn(self) -> Iterator[Scorer]:
        """The scorer; a back end that takes one caller at a time is used by one thread after another."""
        scorer = self.scorer
        if scorer.pairs.concurrent:
            yield scorer
            return
        with self._lock:
            yield scorer

    def photo(
        self, path: StrPath, *, extractor: StrPath | None = None, untrusted_pixels: int | None = None
    ) -> QueryPhoto:
        """A photo as a query, read by the bundle's feature extractor or by another file of the same one.

        A photo from someone else is read only if it is of a common format and has at most `untrusted_pixels`.

        The extractor is loaded once and kept. Raises InputError where the photo cannot be decoded or has no region, and
        where there is no fitting extractor.
        """
        if untrusted_pixels is not None:
            from shan_engine.photos.decode import refuse_untrusted  # here, as for QueryPhoto.read

            refuse_untrusted(Path(path), untrusted_pixels)
        model = Path(extractor) if extractor else None
        with self._turn() as scorer:
            return QueryPhoto.read(Path(path), scorer.encoders, lambda: self._extractor(model))

    def word_maps(self, photo: StrPath, query: str, *, extractor: StrPath | None = None) -> list[WordMap]:
        """Where a photo shows each content word of a query: a map of 24 x 24 cells and the box around its peak.

        It takes ten runs of the extractor. Raises InputError for a photo or a query that cannot be read, and where
        there is no fitting extractor or the model does not compare words with regions.
        """
        from shan_engine.search.fine_map import PhotoViews, pointers_of
        from shan_engine.search.query import Query

        network = self._extractor(Path(extractor) if extractor else None)
        with self._turn() as scorer:
            pointers = pointers_of(scorer, Query.of(query))
            views = PhotoViews.read(Path(photo), scorer.encoders, network)
            return [found for pointer in pointers for found in views.maps(pointer)]

    def fine_regions(
        self,
        queries: Sequence[Query],
        results: Sequence[QueryHits],
        *,
        extractor: StrPath | None = None,
        on_photo: Callable[[int], None] = lambda done: None,
    ) -> list[QueryHits]:
        """The results of `search_all(queries)` with each word's region found in the photo itself, as by `word_maps`.

        A photo that cannot be read keeps its stored regions. `on_photo` is called with the number of hits done. Raises
        InputError where there is no fitting extractor, or the model does not compare words with regions.
        """
        from shan_engine.search.fine_map import with_fine_regions

        network = self._extractor(Path(extractor) if extractor else None)
        with self._turn() as scorer:
            return with_fine_regions(scorer, queries, results, network, on_photo)

    def _extractor(self, model: Path | None = None) -> FeatureExtractor:
        """The bundle's feature extractor or another file of the same one, loaded once and kept."""
        with self._lock:
            if model not in self._extractors:
                # One photo: `cuda` is for the scores, and may be PyTorch's alone.
                device: Device = "cpu" if self.scorer.choice[0] == "cpu" else "auto"
                self._extractors[model] = open_extractor(self.scorer.bundle, model, device)
            return self._extractors[model]
