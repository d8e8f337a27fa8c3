"""The engine: a gallery with everything that searches and scores it, loaded when first needed and kept."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from shan_engine.base.choices import DEFAULT_RECALL_TARGET
from shan_engine.base.errors import InputError
from shan_engine.gallery.captions import CaptionGallery
from shan_engine.gallery.normalised import normalised, raw
from shan_engine.gallery.reader import Gallery
from shan_engine.scoring.passes import score_matrix
from shan_engine.scoring.scorer import Scorer
from shan_engine.scoring.vectors import mean_region_vectors
from shan_engine.search.answer import search
from shan_engine.search.captions import CaptionHits, search_captions
from shan_engine.search.cascade import Cascade, has_cascade
from shan_engine.search.photo_query import QueryPhoto
from shan_engine.search.query import Query, as_list
from shan_engine.search.results import QueryHits
from shan_engine.session import Session, StrPath

if TYPE_CHECKING:
    from shan_engine.evaluation.evaluate import Evaluation
    from shan_engine.jobs.run import JobResult
    from shan_engine.search.tuning import Tuning
    from shan_engine.text.captions import CaptionTable
    from shan_engine.text.query_files import QueryLine

log = logging.getLogger(__name__)


class Engine(Session):
    """A gallery of photos and what scores it; everything is loaded when first needed and kept.

    Photos are in the order of `ids`. Several threads may search at once; `refresh` takes up what `index` has added.
    """

    def __init__(self, scorer: Scorer, gallery: Gallery) -> None:
        super().__init__(scorer)
        self._gallery: Gallery | None = gallery
        self._normalised: Gallery | None = None
        self._cascade: Cascade | None = None
        for name in scorer.parts.without_data(gallery.manifest.arrays):
            log.info("the gallery %s has no data for the part '%s' of scores, which stays 0", gallery.path, name)

    @property
    def gallery(self) -> Gallery:
        """The opened gallery. Raises InputError once the engine is closed."""
        if self._gallery is None:
            raise InputError("this engine is closed: open the gallery again")
        return self._gallery

    def close(self) -> None:
        """Give back everything that is loaded and mapped. Using the engine afterwards raises InputError."""
        with self._lock:
            self._gallery = self._normalised = self._cascade = None
            super().close()

    def refresh(self) -> bool:
        """Take up what `index` has changed since the gallery was opened; whether anything has.

        Searches that are running end on the gallery they began with. Raises GalleryError where it is damaged now.
        """
        with self._lock:
            renewed = self.gallery.renewed(self.scorer.bundle)
            if renewed is self._gallery:
                return False
            self._gallery, self._normalised, self._cascade = renewed, None, None
            log.info("%d images in %s now", len(renewed), renewed.path)
            return True

    def __len__(self) -> int:
        return len(self.gallery)

    @property
    def ids(self) -> list[str]:
        """Ids of all photos."""
        return self.gallery.ids()

    @property
    def columns(self) -> list[str]:
        """Columns that a filter may name."""
        from shan_engine.gallery.filters import columns  # here, as most searches do without SQLite

        return columns(self.gallery)

    def check_filter(self, where: str | None, shown: Sequence[str] = ()) -> None:
        """Raise InputError where a condition cannot be used, or a column that is to be shown is not there."""
        if where is not None or shown:
            from shan_engine.gallery.filters import check_filter  # here, as most searches do without SQLite

            check_filter(self.gallery, where, shown)

    def search(
        self,
        query: str | None = None,
        *,
        also: str | Sequence[str] = (),
        without: str | Sequence[str] = (),
        image: StrPath | QueryPhoto | None = None,
        image_weight: float = 1.0,
        where: str | None = None,
        top_k: int = 10,
        explain: bool = True,
        exhaustive: bool = False,
        recall_target: float = DEFAULT_RECALL_TARGET,
        normalise: bool = True,
        threshold: float | None = None,
    ) -> QueryHits:
        """The `top_k` best photos for a query, a photo `image`, or both.

        `also` and `without` are phrases whose scores are added or taken away, "words" or "words:weight"; `where` is an
        SQL condition on `columns`. Everything else is as for `search_all`. Raises InputError for what cannot be asked.

        >>> import shan_engine
        >>> with shan_engine.open() as engine:
        ...     hits = engine.search("a dog on grass", top_k=3)
        >>> [hit.rank for hit in hits]
        [1, 2, 3]
        """
        self.check_filter(where)  # before a model reads the photo
        photo = image if image is None or isinstance(image, QueryPhoto) else self.photo(image)
        asked = Query.of(query, also=as_list(also), without=as_list(without), photo=photo, photo_weight=image_weight)
        (found,) = self.search_all(
            [asked],
            where=where,
            top_k=top_k,
            explain=explain,
            exhaustive=exhaustive,
            recall_target=recall_target,
            normalise=normalise,
            threshold=threshold,
        )
        return found

    def search_all(
        self,
        queries: str | Sequence[str | Query],
        *,
        where: str | None = None,
        top_k: int = 10,
        explain: bool = True,
        exhaustive: bool = False,
        recall_target: float = DEFAULT_RECALL_TARGET,
        normalise: bool = True,
        threshold: float | None = None,
        with_metadata: bool = True,
        mark_unanswerable: bool = False,
        grouped: bool = False,
        on_start: Callable[[int], None] = lambda total: None,
        on_pairs: Callable[[int], None] = lambda done: None,
    ) -> list[QueryHits]:
        """The best photos for each query, in fewer passes over the gallery than one search each takes.

        A large gallery is searched in stages, careful enough to find `recall_target` of the hits that an `exhaustive`
        search finds. With `normalise`, hubness by a querybank is subtracted where the gallery has it. A `threshold`
        leaves out hits with a smaller probability. `explain` and `with_metadata` say whether hits carry explanations
        and metadata. `on_start` is called with the number of pairs of query and photo, `on_pairs` with how many are
        done. With `mark_unanswerable`, a query that cannot be read has an `error` instead of hits, unless all are so.
        A `grouped` search shows near-identical photos as one hit, which names the others (`alike`).

        Raises InputError for a query that is empty or has no known word, an empty gallery, a condition that is not
        one, k below 1, a target outside 0 to 1, or a threshold where hits have no probability. Raises GalleryError for
        a damaged photo.

        >>> import shan_engine
        >>> with shan_engine.open() as engine:
        ...     [len(hits) for hits in engine.search_all(["a dog", "a hammer"], top_k=2, explain=False)]
        [2, 2]
        """
        with self._turn() as scorer:
            return search(
                scorer,
                self._searched() if normalise else raw(self.gallery),
                as_list(queries),
                top_k=top_k,
                explain=explain,
                exhaustive=exhaustive,
                recall_target=recall_target,
                threshold=threshold,
                where=where,
                with_metadata=with_metadata,
                mark_unanswerable=mark_unanswerable,
                grouped=grouped,
                cascade=self._kept_cascade(scorer),
                on_start=on_start,
                on_pairs=on_pairs,
            )

    def _searched(self) -> Gallery:
        """The gallery as a search ranks it: normalised by the bundle's querybank where it can be."""
        with self._lock:
            if self._normalised is None:
                self._normalised = normalised(self.gallery, self.scorer.bundle)
            return self._normalised

    def _kept_cascade(self, scorer: Scorer) -> Cascade | None:
        """The cascade over the gallery with its codes and hubness; None where it has none."""
        with self._lock:
            if self._cascade is None and has_cascade(scorer, self.gallery):
                self._cascade = Cascade(scorer, self._searched())
            return self._cascade

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
            scores = score_matrix(scorer, gallery, [scorer.encoders.tokens(caption) for caption in as_list(captions)])
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

    def vectors(self) -> NDArray[np.float32]:
        """A vector of length 1 for each photo, N x D: the mean of its regions, for an index that takes one a photo.

        It says less than the score, which compares every word with every region. Raises InputError where the model
        stores no regions.
        """
        return mean_region_vectors(self.gallery)


class CaptionEngine(Session):
    """A gallery of captions and what scores it."""

    def __init__(self, scorer: Scorer, gallery: CaptionGallery) -> None:
        super().__init__(scorer)
        self._captions = gallery

    @property
    def gallery(self) -> CaptionGallery:
        """The opened gallery. Raises InputError once the engine is closed."""
        _ = self.scorer
        return self._captions

    def __len__(self) -> int:
        return len(self.gallery)

    def search(
        self,
        image: StrPath | QueryPhoto,
        *,
        top_k: int = 10,
        explain: bool = True,
        on_start: Callable[[int], None] = lambda total: None,
        on_captions: Callable[[int], None] = lambda done: None,
    ) -> CaptionHits:
        """The captions that fit a photo best. Raises InputError for a photo that cannot be read."""
        photo = image if isinstance(image, QueryPhoto) else self.photo(image)
        on_start(len(self.gallery))
        with self._turn() as scorer:
            return search_captions(scorer, self.gallery, photo, top_k=top_k, explain=explain, on_captions=on_captions)
