"""How photos are searched: the options that an engine, its shards and the search itself have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict

from shan_engine.base.choices import DEFAULT_RECALL_TARGET
from shan_engine.base.errors import InputError
from shan_engine.search.groups import looked_at
from shan_engine.search.tuning import check_target


@dataclass(frozen=True, kw_only=True)
class SearchOptions:
    """How photos are searched, and what an answer shows of them. Give the fields to `search` by name.

    - `top_k`: how many hits, counted from the best; the first `skip` of them are left out, as for a later page.
    - `threshold`: leave out hits with a smaller probability.
    - `grouped`: show near-identical photos as one hit, which names the others (`alike`).
    - `ids`: search only these photos.
    - `where`: search only photos for which this SQL condition on `columns` is true.
    - `filter_seconds`: refuse a condition that takes longer.
    - `exhaustive`: score every photo; otherwise a large gallery is searched in stages.
    - `recall_target`: the share of an exhaustive search's hits that a search in stages is to find.
    - `normalise`: subtract hubness by a querybank where the gallery has it.
    - `explain`, `with_metadata`: whether hits carry explanations and metadata.
    - `mark_unanswerable`: a query that cannot be read has an `error` instead of hits, unless all are so.

    Raises InputError for `top_k` below 1, `skip` below 0 and a target outside 0 to 1.
    """

    top_k: int = 10
    skip: int = 0
    threshold: float | None = None
    grouped: bool = False
    ids: Sequence[str] | None = None
    where: str | None = None
    filter_seconds: float | None = None
    exhaustive: bool = False
    recall_target: float = DEFAULT_RECALL_TARGET
    normalise: bool = True
    explain: bool = True
    with_metadata: bool = True
    mark_unanswerable: bool = False

    def __post_init__(self) -> None:
        if self.top_k < 1:
            raise InputError(f"top-k is {self.top_k}: ask for at least 1")
        if self.skip < 0:
            raise InputError(f"{self.skip} hits are to be skipped: give 0 or more")
        check_target(self.recall_target)

    @property
    def ranked(self) -> int:
        """How many images are ranked to choose the hits from: more than `top_k` for an answer in groups."""
        return looked_at(self.top_k) if self.grouped else self.top_k


class SearchKeywords(TypedDict, total=False):
    """The fields of `SearchOptions` as keywords, so that type checkers and editors know them."""

    top_k: int
    skip: int
    threshold: float | None
    grouped: bool
    ids: Sequence[str] | None
    where: str | None
    filter_seconds: float | None
    exhaustive: bool
    recall_target: float
    normalise: bool
    explain: bool
    with_metadata: bool
    mark_unanswerable: bool
