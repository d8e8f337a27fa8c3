"""A group of queries on its way through the shards: ranked by each, merged, and described by those that have hits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from shan_engine.base.errors import InputError
from shan_engine.gallery.blocks import GalleryImage
from shan_engine.gallery.written import Counting
from shan_engine.search.options import SearchOptions
from shan_engine.search.query import Query
from shan_engine.search.results import Hit, MissingShard, QueryHits
from shan_engine.search.selection import Candidates, Selection, assembled, select
from shan_engine.shards.calls import ShardCalls
from shan_engine.shards.host import Call, LostShardError, Shard
from shan_engine.shards.merging import Joined, joined_facts
from shan_engine.shards.worker import ForgottenError, ShardRanking


class QueryGroup:
    """Queries that have been sent to all shards; `answers` waits for them."""

    def __init__(
        self,
        shards: Sequence[Shard],
        queries: Sequence[Query],
        missing: Sequence[MissingShard],
        options: SearchOptions,
        counting: Sequence[Counting] = (),
    ) -> None:
        """`missing` are shards that are known not to answer. Rarity of written words is counted over `counting`."""
        self._queries, self._options, self._counting = queries, options, counting
        # Of several shards' hits most are not in the answer: explanations of them, or earlier pages, would cost more.
        self._at_once = len(shards) == 1 or not (options.explain or options.skip)
        self._calls = ShardCalls(missing)
        for shard in shards:
            self._send(shard)

    def _send(self, shard: Shard) -> None:
        self._calls.send(shard, "rank", self._queries, self._options, self._counting, self._at_once)

    def answers(self) -> list[QueryHits | InputError]:
        """The answer to each query. Raises what the shards raise, and BackendError where none answers."""
        while True:
            ranked = self._ranked()
            merged = [_Merged(number, ranked, self._options) for number in range(len(self._queries))]
            if self._describe(ranked, merged):
                return [one.answer(tuple(self._calls.missing)) for one in merged]

    def _ranked(self) -> dict[Shard, ShardRanking]:
        """What each shard that answers has found, in the shards' order."""
        answered = self._calls.results()
        found = {shard: ranking for shard, ranking in answered.items() if ranking.found}
        if not found:
            raise InputError(
                f"no shard has an image '{(self._options.ids or [''])[0]}': it may have been deleted since"
            )
        return found

    def _describe(self, ranked: Mapping[Shard, ShardRanking], merged: Sequence[_Merged]) -> bool:
        """Have the chosen hits described; whether every shard has, or else some of them were asked to rank again."""
        explain, with_metadata = self._options.explain, self._options.with_metadata
        calls: list[tuple[int, Shard, Call]] = []
        for number, (shard, ranking) in enumerate(ranked.items()):
            for query, (hits, images) in ranking.described.items():
                merged[query].take(number, hits, images)
            wanted = {one.number: ranks for one in merged if any(ranks := one.wanted(number))}
            if wanted:
                call = self._calls.call(shard).then("describe", ranking.key, wanted, explain, with_metadata)
                calls.append((number, shard, call))
        complete = True
        for number, shard, call in calls:
            try:
                for query, (hits, images) in call.result().items():
                    merged[query].take(number, hits, images)
            except (LostShardError, ForgottenError):
                complete = False
                self._send(shard)
        return complete


class _Merged:
    """One query's candidates of all shards, and its hits as they are described."""

    def __init__(self, number: int, ranked: Mapping[Shard, ShardRanking], options: SearchOptions) -> None:
        self.number = number
        self._hits: dict[int, Hit] = {}
        self._images: dict[int, GalleryImage] = {}
        found = [ranking.found[number] for ranking in ranked.values()]
        # A shard may know a word, as one of its photos shows it in writing, that the others do not.
        answered = [one for one in found if not isinstance(one, InputError)]
        self._error = next((one for one in found if isinstance(one, InputError)), None) if not answered else None
        if self._error:
            return
        nothing = Candidates(answered[0][1].scores[:0], None if answered[0][1].chances is None else np.zeros(0))
        parts = [nothing if isinstance(one, InputError) else one[1] for one in found]
        self._joined = Joined.of(parts, options.ranked)
        self._said = joined_facts([said for said, _ in answered])
        self._chosen: Selection = select(self._joined.candidates, options)

    def wanted(self, shard: int) -> tuple[list[int], list[int]]:
        """The ranks in a shard that are hits, and those that are named beside one, where not yet described."""
        if self._error:
            return [], []
        (heads, others), places = self._joined.wanted(self._chosen, shard), self._joined.place(shard)
        return (
            [rank for rank in heads if places[rank] not in self._hits],
            [rank for rank in others if places[rank] not in self._images],
        )

    def take(self, shard: int, hits: Mapping[int, Hit], images: Mapping[int, GalleryImage]) -> None:
        """Take what a shard has described; of what it could not know to be among the best of all, nothing."""
        places = self._joined.place(shard)
        self._hits |= {places[rank]: hit for rank, hit in hits.items() if rank in places}
        self._images |= {places[rank]: image for rank, image in images.items() if rank in places}

    def answer(self, missing: tuple[MissingShard, ...]) -> QueryHits | InputError:
        """The answer, or the error that the query has."""
        if self._error:
            return self._error
        answer = assembled(self._said, self._chosen, self._hits, self._images, self._joined.candidates)
        return replace(answer, missing=missing)
