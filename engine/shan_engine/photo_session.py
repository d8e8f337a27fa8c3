"""What is searched for photos: one gallery, or several as one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Unpack

from shan_engine.search.options import SearchKeywords
from shan_engine.search.photo_query import QueryPhoto
from shan_engine.search.query import Query
from shan_engine.search.results import QueryHits
from shan_engine.session import Session, StrPath


class PhotoSession(Session, ABC):
    """Photos and a bundle that finds them, in one gallery or in several."""

    def search(
        self,
        query: str | None = None,
        *,
        also: str | Sequence[str] = (),
        without: str | Sequence[str] = (),
        image: StrPath | QueryPhoto | None = None,
        image_weight: float = 1.0,
        unlike: Sequence[QueryPhoto] = (),
        **options: Unpack[SearchKeywords],
    ) -> QueryHits:
        """The best photos for a query, a photo `image`, or both, with the options of `SearchOptions`.

        `also` and `without` are phrases whose scores are added or taken away, "words" or "words:weight"; likeness to
        the photos `unlike` is taken away too. Raises what `search_all` raises, and InputError for a photo that cannot
        be read.

        >>> import shan_engine
        >>> with shan_engine.open() as engine:
        ...     hits = engine.search("a dog on grass", top_k=3)
        >>> [hit.rank for hit in hits]
        [1, 2, 3]
        """
        if options.get("filter_seconds") is None:
            self.check_filter(options.get("where"))  # before a model reads the photo
        photo = image if image is None or isinstance(image, QueryPhoto) else self.photo(image)
        asked = Query.of(query, also=also, without=without, photo=photo, photo_weight=image_weight, unlike=unlike)
        (found,) = self.search_all([asked], **options)
        return found

    @abstractmethod
    def search_all(
        self,
        queries: str | Sequence[str | Query],
        *,
        on_start: Callable[[int], None] = lambda total: None,
        on_pairs: Callable[[int], None] = lambda done: None,
        **options: Unpack[SearchKeywords],
    ) -> list[QueryHits]:
        """The best photos for each query."""

    @abstractmethod
    def check_filter(self, where: str | None, shown: Sequence[str] = ()) -> None:
        """Raise InputError where a condition cannot be used, or a column that is to be shown is not there."""
