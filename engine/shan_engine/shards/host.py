"""Where the shards' engines live, as a sharded engine sees it; and the host that has them in this process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from shan_engine.scoring.scorer import Scorer
from shan_engine.shards.worker import ShardWorker


class LostShardError(Exception):
    """No worker answers for a shard now."""


class Call(Protocol):
    """A method of a shard's worker that was asked for."""

    def result(self) -> Any:
        """What it gives. Raises LostShardError, and what the method raises."""

    def then(self, method: str, *arguments: Any) -> Call:
        """Another call to the same worker, which is not given to another one if that is lost."""


class Shard(Protocol):
    """One shard; `photos` is how many it had when it was last asked."""

    path: Path
    photos: int

    def call(self, method: str, *arguments: Any, **options: Any) -> Call:
        """Ask a worker of the shard. Raises LostShardError where there is none."""

    def refresh(self) -> None:
        """Take up what has changed. Raises GalleryError."""

    def close(self) -> None:
        """Give back what is loaded."""


class Host(Protocol):
    """Opens shards."""

    def open(self, paths: list[Path]) -> list[Shard]:
        """Open shards, which then can be searched. Raises ShanErrors as an engine does."""

    def begin(self, path: Path, photos: int) -> Shard:
        """Begin to open a shard, without waiting."""

    def close(self) -> None:
        """Give back what the shards share."""


class LocalCall:
    """A call in this process, which is made when its result is asked for."""

    def __init__(self, worker: ShardWorker, call: Callable[[], Any]) -> None:
        self._worker, self._call = worker, call

    def result(self) -> Any:
        """What it gives."""
        return self._call()

    def then(self, method: str, *arguments: Any) -> LocalCall:
        """Another call to the same worker."""
        return LocalCall(self._worker, lambda: getattr(self._worker, method)(*arguments))


class LocalShard:
    """A shard in this process."""

    def __init__(self, scorer: Scorer, path: Path) -> None:
        self.path, self._worker = path, ShardWorker.of(scorer, path)
        self.photos: int = self._worker.ask("__len__")

    def call(self, method: str, *arguments: Any, **options: Any) -> LocalCall:
        """A call that is made when its result is asked for."""
        return LocalCall(self._worker, lambda: getattr(self._worker, method)(*arguments, **options))

    def refresh(self) -> None:
        """Take up what has changed."""
        self.photos = self._worker.refresh()

    def close(self) -> None:
        """Give back what is loaded."""
        self._worker.close()


class LocalHost:
    """Shards in this process, searched one after another with one scorer."""

    def __init__(self, scorer: Scorer) -> None:
        self._scorer = scorer

    def open(self, paths: list[Path]) -> list[Shard]:
        """Open shards."""
        return [LocalShard(self._scorer, path) for path in paths]

    def begin(self, path: Path, photos: int) -> Shard:
        """Open a shard, which here takes no time."""
        return LocalShard(self._scorer, path)

    def close(self) -> None:
        """Nothing is shared but the scorer."""
