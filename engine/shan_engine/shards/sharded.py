"""`ShardedEngine`: several galleries searched as one, wherever their engines live."""

from __future__ import annotations

import itertools
import logging
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Unpack

from shan_engine.base.errors import BackendError, GalleryError, InputError
from shan_engine.gallery.blocks import GalleryImage
from shan_engine.gallery.columns import MOST_VALUES, ColumnFacts
from shan_engine.gallery.written import Counting
from shan_engine.photo_session import PhotoSession
from shan_engine.scoring.scorer import Scorer
from shan_engine.search.options import SearchKeywords, SearchOptions
from shan_engine.search.photo_query import QueryPhoto
from shan_engine.search.query import Query, as_list
from shan_engine.search.results import MissingShard, QueryHits
from shan_engine.shards.calls import ShardCalls
from shan_engine.shards.group import QueryGroup
from shan_engine.shards.host import Host, LostShardError, Shard
from shan_engine.shards.paths import photos_of, shard_paths

log = logging.getLogger(__name__)

GROUP = 16  # queries that are sent together
_GONE = "its gallery is gone: put it back, or start the command again to search without it"
IN_FLIGHT = 4  # groups that are sent before the first is answered


class ShardedEngine(PhotoSession):
    """The shards of a gallery, in order, searched as if they were one; options and answers are those of `Engine`.

    An answer names in `missing` the shards that did not answer. An id that two shards have is two photos; `image` and
    `stored_photo` give the first.
    """

    def __init__(self, scorer: Scorer, named: Sequence[Path], host: Host) -> None:
        """Open the galleries `named`, and those in a folder of galleries.

        Raises GalleryError for galleries that cannot be searched as one.
        """
        super().__init__(scorer)
        self._named, self._host = list(named), host
        self._refused: dict[Path, MissingShard] = {}
        self._gone: dict[Path, MissingShard] = {}
        paths = shard_paths(named)
        for path in paths:
            photos_of(path, scorer.bundle, paths[0])
        self._shards: list[Shard] = host.open(paths)
        self._counting = [Counting.of(path) for path in paths]
        self.state: object = object()  # another one after each change that `refresh` takes up

    @property
    def path(self) -> Path:
        """The folder of the shards where one was named, else the first shard's."""
        return self._named[0]

    @property
    def paths(self) -> list[Path]:
        """What was named: galleries, and folders of galleries."""
        return self._named

    @property
    def shards(self) -> list[Shard]:
        """The shards, in the order of their photos. Raises InputError once the engine is closed."""
        _ = self.scorer
        return self._shards

    def __len__(self) -> int:
        return sum(shard.photos for shard in self.shards)

    def close(self) -> None:
        """Give back everything that is loaded, here and on other machines."""
        with self._lock:
            for shard in self._shards:
                shard.close()
            self._shards = []
            self._host.close()
            super().close()

    def refresh(self) -> bool:
        """Take up new shards and what `index` has changed in others; whether anything has.

        A new shard that cannot be searched with the others is `missing` in answers, and so is one whose folder is gone,
        perhaps with its disk. Raises GalleryError where a shard is damaged now, and BackendError where the cluster of
        the workers has ended.
        """
        with self._lock:
            held = {shard.path: shard for shard in self.shards}
            paths = shard_paths(self._named)
            before, counts = list(held), [shard.photos for shard in self._shards]
            for path in held.keys() - paths:
                log.warning("the shard %s is no longer there", path)
                self._gone[path] = MissingShard(str(path), held[path].photos, _GONE)
                held.pop(path).close()
            for path in paths:
                if path not in held and (shard := self._begun(path, next(iter(held), path))) is not None:
                    held[path] = shard
            self._refused = {path: why for path, why in self._refused.items() if path in paths}
            self._gone = {path: why for path, why in self._gone.items() if path not in paths}
            self._shards = [held[path] for path in paths if path in held]
            for shard in self._shards:
                shard.refresh()
            self._counting = [Counting.of(shard.path) for shard in self._shards]
            changed = before != list(held) or counts != [shard.photos for shard in self._shards]
            if changed:
                self.state = object()
                log.info("%d images in %d shards now", len(self), len(self._shards))
            return changed

    def _begun(self, path: Path, first: Path) -> Shard | None:
        try:
            return self._host.begin(path, photos_of(path, self.scorer.bundle, first))
        except GalleryError as error:
            if path not in self._refused:
                log.warning("%s", error)
            self._refused[path] = MissingShard(str(path), 0, str(error))
            return None

    def search_all(
        self,
        queries: str | Sequence[str | Query],
        *,
        on_start: Callable[[int], None] = lambda total: None,
        on_pairs: Callable[[int], None] = lambda done: None,
        **given: Unpack[SearchKeywords],
    ) -> list[QueryHits]:
        """The best photos of all shards for each query, as `Engine.search_all` gives those of one gallery.

        Groups of queries are sent one after another, without waiting for answers. Raises what that raises, and
        BackendError where no shard answers.
        """
        options = SearchOptions(**given)
        asked = [Query.of(query) if isinstance(query, str) else query for query in as_list(queries)]
        on_start(len(asked) * len(self))
        found: list[QueryHits | InputError] = []
        begun: deque[QueryGroup] = deque()
        groups = (asked[start : start + GROUP] for start in range(0, len(asked), GROUP))
        more = True
        while more or begun:
            while more and len(begun) < IN_FLIGHT:
                group = next(groups, None)
                more = group is not None
                if group is not None:
                    begun.append(self._group(group, options))
            if begun:
                answered = begun.popleft().answers()
                if not options.mark_unanswerable:
                    for one in answered:
                        if isinstance(one, InputError):
                            raise one
                found += answered
                on_pairs(len(found) * len(self))
        errors = [one for one in found if isinstance(one, InputError)]
        if errors and len(errors) == len(asked):
            raise errors[0]
        return [
            QueryHits(str(query), (), error=str(one)) if isinstance(one, InputError) else one
            for query, one in zip(asked, found, strict=True)
        ]

    def _group(self, queries: Sequence[Query], options: SearchOptions) -> QueryGroup:
        return QueryGroup(self._searched(), queries, self._absent, options, self._counting)

    @property
    def _absent(self) -> list[MissingShard]:
        return [*self._refused.values(), *self._gone.values()]

    def _searched(self) -> list[Shard]:
        filled = [shard for shard in self.shards if shard.photos]
        if not filled:
            raise InputError(f"the shards of {self.path} are empty: index some images first")
        return filled

    @property
    def columns(self) -> list[str]:
        """Columns that a filter may name: those of the first shard, which all must have."""
        columns: list[str] = self._of_any("columns")
        return columns

    def check_filter(self, where: str | None, shown: Sequence[str] = ()) -> None:
        """Raise InputError where a shard cannot use a condition, or has no column that is to be shown."""
        if where is not None or shown:
            self._of_all("ask", "check_filter", where, shown)

    @property
    def column_facts(self) -> list[ColumnFacts]:
        """What the columns of all shards hold."""
        joined: dict[str, list[ColumnFacts]] = {}
        for facts in self._of_all("ask", "column_facts")[0].values():
            for one in facts:
                joined.setdefault(one.name, []).append(one)
        return [_joined_column(own) for own in joined.values()]

    def image(self, id: str) -> GalleryImage:
        """The photo with an id. Raises InputError where no shard has it."""
        image: GalleryImage = self._holder(id).call("ask", "image", id).result()
        return image

    def stored_photo(self, id: str) -> QueryPhoto:
        """A photo of any shard as a query, from what is stored of it. Raises InputError where no shard has it."""
        photo: QueryPhoto = self._holder(id).call("ask", "stored_photo", id).result()
        return photo

    def browse(self, *, skip: int = 0, top_k: int = 10, **options: Any) -> QueryHits:
        """Photos of all shards without a query, as `Engine.browse` gives those of one gallery."""
        if skip < 0:
            raise InputError(f"{skip} hits are to be skipped: give 0 or more")
        parts, missing = self._of_all("ask", "browse", top_k=top_k, **options)
        hits = [hit for part in parts.values() for hit in part.hits]
        # As in columns.newest_first: stable, also reversed.
        hits = sorted(hits, key=lambda hit: str(hit.metadata.get("taken") or ""), reverse=True)[skip:top_k]
        shown = tuple(replace(hit, rank=number) for number, hit in enumerate(hits, skip + 1))
        return QueryHits("", shown, matching=sum(part.matching for part in parts.values()), missing=tuple(missing))

    def _holder(self, id: str) -> Shard:
        holders, missing = self._of_all("has", id)
        for shard, held in holders.items():
            if held:
                return shard
        lost = f" that answers ({missing[0].gallery} does not)" if missing else ""
        raise InputError(f"no shard{lost} has an image '{id}': it may have been deleted since")

    def _of_any(self, name: str) -> Any:
        for shard in self.shards:
            try:
                return shard.call("ask", name).result()
            except LostShardError as error:
                log.warning("%s", error)
        raise BackendError(f"no shard of {self.path} answers now: try again soon, and look at Ray's logs if that lasts")

    def _of_all(self, method: str, *arguments: Any, **options: Any) -> tuple[dict[Shard, Any], list[MissingShard]]:
        """What a method of every shard's worker gives, and the shards that do not answer.

        Raises BackendError where none does.
        """
        calls = ShardCalls(self._absent)
        for shard in self.shards:
            calls.send(shard, method, *arguments, **options)
        return calls.results(), calls.missing


def _joined_column(parts: Sequence[ColumnFacts]) -> ColumnFacts:
    def order(value: Any) -> tuple[bool, Any]:
        return isinstance(value, str), value

    in_turn = itertools.chain.from_iterable(itertools.zip_longest(*(part.values for part in parts)))
    values = tuple(dict.fromkeys(value for value in in_turn if value is not None))[:MOST_VALUES]
    return ColumnFacts(
        parts[0].name,
        parts[0].type,
        sum(part.known for part in parts),
        min((part.least for part in parts), key=order),
        max((part.most for part in parts), key=order),
        values,
    )
