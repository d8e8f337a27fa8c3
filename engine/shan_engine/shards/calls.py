"""One question to every shard of a gallery, and which shards do not answer it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from shan_engine.base.errors import BackendError
from shan_engine.search.results import MissingShard
from shan_engine.shards.host import Call, LostShardError, Shard


class ShardCalls:
    """Calls that are on their way to shards; `missing` are the shards that do not answer, as far as is known."""

    def __init__(self, missing: Iterable[MissingShard]) -> None:
        """`missing` are known before anything is asked."""
        self.missing = list(missing)
        self._calls: dict[Shard, Call] = {}

    def send(self, shard: Shard, method: str, *arguments: Any, **options: Any) -> None:
        """Call a method of a shard's worker, in place of an earlier call to the shard; or note that it is missing."""
        try:
            self._calls[shard] = shard.call(method, *arguments, **options)
        except LostShardError as error:
            self._lose(shard, error)

    def call(self, shard: Shard) -> Call:
        """The call to a shard that has answered."""
        return self._calls[shard]

    def results(self) -> dict[Shard, Any]:
        """What each shard that answers gives, in the order of sending.

        Raises what the methods raise, and BackendError where no shard answers.
        """
        found: dict[Shard, Any] = {}
        for shard, call in list(self._calls.items()):
            try:
                found[shard] = call.result()
            except LostShardError as error:
                self._lose(shard, error)
        if not found:
            why = self.missing[-1].why
            raise BackendError(f"no shard answers now ({why}): try again soon, and look at Ray's logs if that lasts")
        return found

    def _lose(self, shard: Shard, error: LostShardError) -> None:
        self._calls.pop(shard, None)
        self.missing.append(MissingShard(str(shard.path), shard.photos, str(error)))
