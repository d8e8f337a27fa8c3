"""The engine: a gallery with everything that searches and scores it, loaded when first needed and kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np
from numpy.typing import NDArray

from shan_engine.base.errors import InputError
from shan_engine.gallery.normalised import normalised, raw
from shan_engine.gallery.reader import Gallery
from shan_engine.gallery_session import GallerySession, on_latest
from shan_engine.scoring.passes import score_matrix
from shan_engine.scoring.scorer import Scorer
from shan_engine.search.answer import rank, search
from shan_engine.search.cascade import Cascade, has_cascade
from shan_engine.search.options import SearchKeywords, SearchOptions
from shan_engine.search.query import Query, as_list
from shan_engine.search.ranked import RankedQuery
from shan_engine.search.results import QueryHits
from shan_engine.session import StrPath

if TYPE_CHECKING:
    from shan_engine.evaluation.evaluate import Evaluation
    from shan_engine.jobs.run import JobResult
    from shan_engine.search.tuning import Tuning
    from shan_engine.text.captions import CaptionTable
    from shan_engine.text.query_files import QueryLine


class Engine(GallerySession):
    """A gallery of photos and what scores it; everything is loaded when first needed and kept.

    Photos are in the order of `ids`. Several threads may search at once; `refresh` takes up what `index` has added.
    """

    def __init__(self, scorer: Scorer, gallery: Gallery) -> None:
        super().__init__(scorer, gallery)
        self._normalised: Gallery | None = None
        self._cascade: Cascade | None = None

    def _forget(self) -> None:
        super()._forget()
        self._normalised = self._cascade = None

    @on_latest
    def search_all(
        self,
        queries: str | Sequence[str | Query],
        *,
        on_start: Callable[[int], None] = lambda total: None,
        on_pairs: Callable[[int], None] = lambda done: None,
        **options: Unpack[SearchKeywords],
    ) -> list[QueryHits]:
        """The best photos for each query, in fewer passes over the gallery than one search each takes.

        The options are those of `SearchOptions`. `on_start` is called with the number of pairs of query and photo,
        `on_pairs` with how many are done.

        Raises InputError for a query that is empty or has no known word, an empty gallery, a condition that is not
        one, an option out of range, or a threshold where hits have no probability. Raises GalleryError for a damaged
        photo.

        >>> import shan_engine
        >>> with shan_engine.open() as engine:
        ...     [len(hits) for hits in engine.search_all(["a dog", "a hammer"], top_k=2, explain=False)]
        [2, 2]
        """
        with self._searching(SearchOptions(**options)) as (scorer, gallery, cascade):
            asked = as_list(queries)
            return search(scorer, gallery, asked, cascade=cascade, on_start=on_start, on_pairs=on_pairs, **options)

    def rank(self, queries: Sequence[Query], options: SearchOptions) -> list[RankedQuery | InputError]:
        """The best photos for each query before hits are chosen: what a shard of a gallery adds to an answer."""
        with self._searching(options) as (scorer, gallery, cascade):
            return list(rank(scorer, gallery, queries, options, cascade=cascade))

    @contextmanager
    def _searching(self, options: SearchOptions) -> Iterator[tuple[Scorer, Gallery, Cascade | None]]:
        """A turn with the scorer, the gallery, normalised where that is asked for, and the gallery's cascade."""
        self.scorer.begin()
        with self._turn() as scorer:
            with self._lock:  # so that both are of the same state of the gallery
                gallery = self._searched() if options.normalise else raw(self.gallery)
                cascade = self._kept_cascade(scorer)
            if cascade and not options.exhaustive:
                cascade.begin()  # beside what is made of the queries
            yield scorer, gallery, cascade

    def _searched(self) -> Gallery:
        """The gallery as a search ranks it: normalised by the bundle's querybank where it can be."""
        with self._lock:
            if self._normalised is None:
                self._normalised = normalised(self.gallery, self.scorer.bundle)
            return self._normalised

    def _kept_cascade(self, scorer: Scorer) -> Cascade | None:
        """The cascade over the gallery with what it has read of all photos; None where it has none."""
        if self._cascade is None and has_cascade(scorer, self.gallery):
            self._cascade = Cascade(scorer.reading([self.gallery]), self._searched())
        return self._cascade

    @on_latest
    def score(self, captions: str | Sequence[str], *, ids: str | Sequence[str] | None = None) -> NDArray[np.float32]:
        """Exact scores of photos with captions, B x C: of all photos, or of those with `ids` in that order.

        Raises InputError for a caption that the model cannot take and for an id that the gallery does not have.

        >>> import shan_engine
        >>> with shan_engine.open() as engine:
        ...     engine.score(["a dog", "a hammer"], ids=engine.ids[:3]).shape
        (3, 2)
        """
        wanted = None if ids is None else as_list(ids)
        gallery = self.gallery if wanted is None else self.gallery.restricted_to(wanted)
        with self._turn() as scorer:
            texts = as_list(captions)
            scores = score_matrix(scorer, gallery, [scorer.encoders.tokens(text) for text in texts], texts=texts)
        if wanted is None:
            return scores
        places = {id: place for place, id in enumerate(gallery.ids())}
        return scores[[places[id] for id in wanted]]

    def score_file(
        self, captions: Iterable[QueryLine], output: StrPath, *, beside: Sequence[Engine] = (), **options: Any
    ) -> JobResult:
        """A scoring job over this gallery and those of the engines `beside`: see `jobs.run.score_job`."""
        from shan_engine.jobs.run import score_job

        with self._turn() as scorer:
            galleries = [self.gallery, *(engine.gallery for engine in beside)]
            return score_job(scorer, galleries, captions, Path(output), **options)

    def evaluate(
        self, captions: CaptionTable, split: str, *, ensemble: Sequence[Engine] = (), **options: Any
    ) -> Evaluation:
        """Recall of a split's captions; scores are averaged with an `ensemble`'s: see `evaluation.evaluate_split`."""
        from shan_engine.evaluation.evaluate import evaluate_split

        with self._turn():
            members = [(engine.scorer, engine.gallery) for engine in (self, *ensemble)]
            return evaluate_split(members, captions, split, **options)

    def tune(self, queries: Sequence[str], **options: Any) -> Tuning:
        """Measure search in stages on some queries, and keep the outcome in the gallery: see `measure.tune_gallery`."""
        from shan_engine.search.measure import tune_gallery

        with self._turn() as scorer:
            return tune_gallery(scorer, self._searched(), as_list(queries), **options)
