"""A shard's engine and what is asked of it, in this process or in a Ray actor."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Any

from shan_engine.base.errors import BundleError, InputError
from shan_engine.bundle.contents import Bundle
from shan_engine.engine import Engine
from shan_engine.gallery.blocks import GalleryImage
from shan_engine.gallery.reader import Gallery
from shan_engine.gallery.written import Counting
from shan_engine.scoring.scorer import Scorer
from shan_engine.search.options import SearchOptions
from shan_engine.search.query import Query
from shan_engine.search.ranked import RankedQuery
from shan_engine.search.results import Hit, QueryHits
from shan_engine.search.selection import Candidates, select

_KEPT = 256  # rankings whose hits may still be asked for

Described = tuple[dict[int, Hit], dict[int, GalleryImage]]
"""Hits and images by their ranks in the shard."""


class ForgottenError(Exception):
    """A ranking is no longer kept: rank again."""


@dataclass(frozen=True)
class ShardRanking:
    """What a shard found for some queries; `key` names it to `ShardWorker.describe`. An error stands for a query.

    `described` has, by query, what the answer would show if there were no other shard.
    """

    key: int
    found: Sequence[tuple[QueryHits, Candidates] | InputError]
    described: Mapping[int, Described] = field(default_factory=dict)


class ShardWorker:
    """The engine of one shard, opened when first needed."""

    def __init__(self, gallery: Path, bundle: Path, fingerprint: str, choice: Any, threads: int | None = 1) -> None:
        self._asked = gallery, bundle, fingerprint, choice, threads
        self._kept, self._last, self._lock = OrderedDict[int, list[RankedQuery | InputError]](), 0, Lock()
        self._opening = Lock()

    @classmethod
    def of(cls, scorer: Scorer, gallery: Path) -> ShardWorker:
        """A shard of this process, with a scorer that shards share."""
        bundle = scorer.bundle
        worker = cls(gallery, bundle.path, bundle.manifest.fingerprint, scorer.choice)
        worker.__dict__["_engine"] = Engine(scorer, Gallery.open(gallery, bundle, release_pages=False))
        return worker

    @cached_property
    def _engine(self) -> Engine:
        # Not made in __init__: Ray passes errors of a method to the driver as they are, but those of __init__ as text.
        gallery, path, fingerprint, (device, backend, precision), threads = self._asked
        bundle = Bundle.open(path)
        if bundle.manifest.fingerprint != fingerprint:
            raise BundleError(f"{path} is another bundle on a worker: give a path to the same bundle on all machines")
        scorer = Scorer(bundle, device, threads=threads, backend=backend, precision=precision)
        return Engine(scorer, Gallery.open(gallery, bundle, release_pages=False))

    def ready(self) -> int:
        """Open everything and search once; how many photos there are. Raises BundleError, GalleryError."""
        with self._opening:
            if len(self._engine):
                self._engine.search("a photo", top_k=1)
            return len(self._engine)

    def rank(
        self, queries: Sequence[Query], options: SearchOptions, counting: Sequence[Counting], describe: bool
    ) -> ShardRanking:
        """Rank the shard's photos, or those of them that are in the options' `ids`; see `search.answer.rank`.

        How rare written words are is counted over all shards, `counting`. With `describe`, the shard's own hits are
        described at once, which saves a call where they are those of the answer.
        """
        engine = self._engine
        engine.count_with([one for one in counting if one.gallery != self._asked[0]])
        ids = None if options.ids is None else [id for id in options.ids if self.has(id)]
        if not len(engine) or (ids is not None and not ids):
            return ShardRanking(0, ())
        ranked = engine.rank(queries, replace(options, ids=ids, mark_unanswerable=True))
        with self._lock:
            self._last += 1
            key = self._last
            self._kept[key] = ranked
            if len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        found: list[tuple[QueryHits, Candidates] | InputError] = []
        described: dict[int, Described] = {}
        for number, one in enumerate(ranked):
            if isinstance(one, InputError):
                found.append(one)
                continue
            candidates = one.candidates()
            found.append((one.said(), candidates))
            if describe:
                chosen = select(candidates, options)
                hits = one.hits(chosen.heads, explain=options.explain, with_metadata=options.with_metadata)
                described[number] = hits, one.images(chosen.others)
        return ShardRanking(key, found, described)

    def describe(
        self, key: int, wanted: Mapping[int, tuple[list[int], list[int]]], explain: bool, with_metadata: bool
    ) -> dict[int, Described]:
        """Hits and further images of a ranking, by query, at the wanted ranks. Raises ForgottenError."""
        with self._lock:
            ranked = self._kept.get(key)
        if ranked is None:
            raise ForgottenError
        found: dict[int, Described] = {}
        for number, (heads, others) in wanted.items():
            one = ranked[number]
            assert isinstance(one, RankedQuery)
            found[number] = one.hits(heads, explain=explain, with_metadata=with_metadata), one.images(others)
        return found

    def has(self, id: str) -> bool:
        """Whether a photo is in the shard."""
        try:
            self._engine.gallery.place(id)
        except InputError:
            return False
        return True

    def ask(self, name: str, *arguments: Any, **options: Any) -> Any:
        """What a method or a property of the engine gives."""
        found = getattr(self._engine, name)
        return found(*arguments, **options) if callable(found) else found

    def refresh(self) -> int:
        """Take up what `index` has changed; how many photos there are now. Raises GalleryError."""
        self._engine.refresh()
        return len(self._engine)

    def close(self) -> None:
        """Give back what is loaded."""
        self._engine.close()
