"""A gallery of photos kept open: its photos, what is known of them, and how it is taken up again when it changes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar

import numpy as np
from numpy.typing import NDArray

from shan_engine.base.errors import GalleryChangedError, InputError
from shan_engine.gallery.blocks import GalleryImage
from shan_engine.gallery.reader import Gallery
from shan_engine.gallery.written import Counting
from shan_engine.photo_session import PhotoSession
from shan_engine.scoring.scorer import Scorer
from shan_engine.scoring.vectors import mean_region_vectors
from shan_engine.search.photo_query import QueryPhoto
from shan_engine.search.results import QueryHits

if TYPE_CHECKING:
    from shan_engine.gallery.columns import ColumnFacts

log = logging.getLogger(__name__)


_P = ParamSpec("_P")
_T = TypeVar("_T")
_S = TypeVar("_S", bound="GallerySession")


def on_latest(method: Callable[Concatenate[_S, _P], _T]) -> Callable[Concatenate[_S, _P], _T]:
    """A method that begins anew on the latest gallery where `index` has removed what it was still to read."""

    @wraps(method)
    def begun_anew(session: _S, /, *args: _P.args, **options: _P.kwargs) -> _T:
        while True:
            before = session.gallery
            try:
                return method(session, *args, **options)
            except (GalleryChangedError, OSError):
                if not session.refresh() and session.gallery is before:
                    raise

    return begun_anew


class GallerySession(PhotoSession):
    """A gallery with a bundle; what is read of the gallery as a whole is kept until it changes."""

    def __init__(self, scorer: Scorer, gallery: Gallery) -> None:
        super().__init__(scorer)
        self._gallery: Gallery | None = gallery
        self._newest_first: NDArray[np.int64] | None = None
        self._reading: Scorer | None = None
        self._others: tuple[Counting, ...] = ()
        for name in scorer.parts.without_data(gallery.manifest.arrays):
            log.info("the gallery %s has no data for the part '%s' of scores, which stays 0", gallery.path, name)

    @property
    def gallery(self) -> Gallery:
        """The opened gallery. Raises InputError once the engine is closed."""
        if self._gallery is None:
            raise InputError("this engine is closed: open the gallery again")
        return self._gallery

    @property
    def path(self) -> Path:
        """The gallery's folder."""
        return self.gallery.path

    @property
    def state(self) -> object:
        """Another object after each change that `refresh` takes up."""
        return self.gallery

    @contextmanager
    def _turn(self) -> Iterator[Scorer]:
        """As that of any session; the scorer knows what is written in the gallery's photos."""
        with super()._turn() as scorer:
            with self._lock:
                self._reading = (self._reading or scorer).reading([self.gallery], self._others)
                scorer = self._reading
            yield scorer

    def count_with(self, others: Sequence[Counting]) -> None:
        """Count how rare written words are in these galleries, too, as the gallery is a part of a larger collection."""
        with self._lock:
            if tuple(others) != self._others:
                known = self.gallery.manifest.written or any(one.written for one in (*others, *self._others))
                self._others = tuple(others)
                if known:
                    self._forget()

    def close(self) -> None:
        """Give back everything that is loaded and mapped. Using the engine afterwards raises InputError."""
        with self._lock:
            self._gallery = None
            self._forget()
            super().close()

    def refresh(self) -> bool:
        """Take up what `index` has changed since the gallery was opened; whether anything has.

        Searches that are running end on the gallery they began with, unless what they are still to read of it has gone:
        then they begin anew. Raises GalleryError where it is damaged now.
        """
        with self._lock:
            renewed = self.gallery.renewed(self.scorer.bundle)
            if renewed is self._gallery:
                return False
            self._gallery = renewed
            self._forget()
            log.info("%d images in %s now", len(renewed), renewed.path)
            return True

    def _forget(self) -> None:
        """Drop what was made of the gallery as a whole."""
        self._newest_first = self._reading = None

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

    @property
    @on_latest
    def column_facts(self) -> list[ColumnFacts]:
        """What the columns hold: types, ranges and frequent values."""
        from shan_engine.gallery.columns import column_facts  # here, as most searches do without SQLite

        return column_facts(self.gallery)

    @on_latest
    def image(self, id: str) -> GalleryImage:
        """The photo with an id. Raises InputError where there is none."""
        return self.gallery.image(id)

    @on_latest
    def stored_photo(self, id: str) -> QueryPhoto:
        """A photo of the gallery as a query, from what is stored of it: its file is not read.

        Raises InputError where there is none with this id.
        """
        return QueryPhoto.stored(self.gallery, id)

    @on_latest
    def browse(
        self, *, where: str | None = None, filter_seconds: float | None = None, skip: int = 0, top_k: int = 10
    ) -> QueryHits:
        """Photos without a query: the newest first, then those without a date; `where` and `skip` as for a search.

        Hits have no score. Raises InputError for a condition that cannot be used.
        """
        from shan_engine.search.browse import browse  # here, as most searches do without SQLite

        return browse(self.gallery, self._order(), where=where, filter_seconds=filter_seconds, skip=skip, top_k=top_k)

    def _order(self) -> NDArray[np.int64]:
        from shan_engine.gallery.columns import newest_first

        with self._lock:
            if self._newest_first is None:
                self._newest_first = newest_first(self.gallery)
            return self._newest_first

    def vectors(self) -> NDArray[np.float32]:
        """A vector of length 1 for each photo, N x D: the mean of its regions, for an index that takes one a photo.

        It says less than the score, which compares every word with every region. Raises InputError where the model
        stores no regions.
        """
        return mean_region_vectors(self.gallery)
