"""Shards on a Ray cluster: an actor for each replica of each, kept warm, and started anew where it is lost.

The bundle and the shards must be on storage that every machine sees under the same paths.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from threading import RLock
from typing import Any

from shan_engine.base.errors import BackendError, InputError, ShanError, first_line
from shan_engine.jobs.ray_cluster import connect, import_ray
from shan_engine.scoring.scorer import Scorer
from shan_engine.shards.host import LostShardError, Shard
from shan_engine.shards.worker import ShardWorker

log = logging.getLogger(__name__)

AT_ONCE = 4  # calls that a worker answers at a time: hits are described while further queries are ranked
MOST_FAILURES = 4  # starts in a row that may fail before a replica is given up


class _Replica:
    """One actor of a shard. `starting` is its call of `ready` until it is known to be there."""

    def __init__(self, actor: Any, failures: int) -> None:
        self.actor, self.failures = actor, failures
        self.starting: Any = actor.ready.remote()


class RayShard:
    """One shard with its replicas, which answer in turn."""

    def __init__(self, host: RayHost, path: Path, photos: int) -> None:
        self.path, self.photos, self._host = path, photos, host
        self._lock, self._turn, self._why = RLock(), 0, "its worker is starting"
        self._replicas = [_Replica(host.hire(path), 0) for _ in range(host.replicas)]

    def wait(self) -> None:
        """Wait until all replicas are there. Raises ShanErrors of opening, and BackendError for a worker that died."""
        for replica in self._replicas:
            try:
                self.photos = self._host.got(replica.starting)
            except self._host.losses as error:
                raise BackendError(
                    f"a Ray worker died as it opened {self.path} ({first_line(error)}): check the machine's memory and "
                    "Ray's logs"
                ) from error
            replica.starting = None

    def call(self, method: str, *arguments: Any, **options: Any) -> RayCall:
        """Ask the next replica. Raises LostShardError where none is there, and BackendError where no machine is."""
        replica = self._next()
        return RayCall(self, replica, method, arguments, options, again=True)

    def refresh(self) -> None:
        """Have every replica take up what has changed. Raises GalleryError; one that is lost then is started anew."""
        with self._lock:
            there = [replica for replica in self._replicas if self._is_there(replica)]
        if not there:
            self._host.refuse_ended()
        for call in [RayCall(self, replica, "refresh", (), {}, again=False) for replica in there]:
            try:
                self.photos = call.result()
            except LostShardError as error:
                log.warning("%s: %s", self.path, error)

    def close(self) -> None:
        """End the workers."""
        for replica in self._replicas:
            self._host.dismiss(replica.actor)

    def lose(self, replica: _Replica, error: Exception) -> None:
        """Start a replica anew that has died."""
        with self._lock:
            if replica not in self._replicas:  # another thread was first
                return
            self._why = f"its worker died ({first_line(error)}) and is being started again"
            log.warning("%s: %s", self.path, self._why)
            self._host.dismiss(replica.actor)
            place = self._replicas.index(replica)
            if replica.failures < MOST_FAILURES:
                self._replicas[place] = _Replica(self._host.hire(self.path), replica.failures + 1)
            else:
                self._why = f"{MOST_FAILURES} of its workers died one after another"
                del self._replicas[place]

    def _next(self) -> _Replica:
        with self._lock:
            for _ in range(len(self._replicas)):
                self._turn += 1
                replica = self._replicas[self._turn % len(self._replicas)] if self._replicas else None
                if replica is not None and self._is_there(replica):
                    return replica
        self._host.refuse_ended()
        raise LostShardError(self._why)

    def _is_there(self, replica: _Replica) -> bool:
        """Whether a replica has started, without waiting."""
        if replica.starting is None:
            return True
        if not self._host.ray.wait([replica.starting], timeout=0)[0]:
            return False
        try:
            self.photos, replica.starting = self._host.got(replica.starting), None
        except self._host.losses as error:
            self.lose(replica, error)
            return False
        except ShanError as error:
            self._why = str(error)
            return False
        replica.failures = 0
        return True


class RayCall:
    """A call of a worker's method; with `again`, another replica is asked where the worker dies."""

    def __init__(
        self, shard: RayShard, replica: _Replica, method: str, arguments: Any, options: Any, *, again: bool
    ) -> None:
        self._shard, self._replica, self._asked, self._again = shard, replica, (method, arguments, options), again
        self._sent = self._send()

    def _send(self) -> Any:
        method, arguments, options = self._asked
        return getattr(self._replica.actor, method).remote(*arguments, **options)

    def result(self) -> Any:
        """What the method gives. Raises LostShardError, and what the method raises."""
        while True:
            try:
                return self._shard._host.got(self._sent)
            except self._shard._host.losses as error:
                self._shard.lose(self._replica, error)
                if not self._again:
                    raise LostShardError(f"its worker died ({first_line(error)})") from error
                self._replica = self._shard._next()
                self._sent = self._send()

    def then(self, method: str, *arguments: Any) -> RayCall:
        """Another call to the same worker."""
        return RayCall(self._shard, self._replica, method, arguments, {}, again=False)


class RayHost:
    """A connection to a Ray cluster with the workers of shards.

    `address` is `local` for a cluster on this machine for this process alone, `auto` for the running one, or an address
    that Ray accepts. Raises BackendError if Ray or the cluster is missing.
    """

    def __init__(self, scorer: Scorer, address: str, replicas: int = 1) -> None:
        if replicas < 1:
            raise InputError(f"{replicas} replicas are asked for: ask for at least 1")
        self.ray, self.replicas, self._scorer, self._address = import_ray(), replicas, scorer, address
        self._resource = "CPU" if scorer.pairs.device == "cpu" else "GPU"
        self._connected = False
        # A large answer stays on the machine that computed it until it is fetched, and may be lost with it.
        self.losses = self.ray.exceptions.RayActorError, self.ray.exceptions.ObjectLostError

    def open(self, paths: list[Path]) -> list[Shard]:
        """Connect, start all workers and wait for them. Raises BackendError where the cluster has no room for them."""
        wanted = len(paths) * self.replicas
        if not self.ray.is_initialized():
            # Somebody waits for a search: Ray would give its workers the lowest priority but four.
            os.environ.setdefault("RAY_worker_niceness", "0")
            connect(self.ray, self._address, 2 * wanted)  # as many again for shards that come later
            self._connected = True
        there = int(self.ray.cluster_resources().get(self._resource, 0))
        if there < wanted:
            raise BackendError(
                f"the Ray cluster '{self._address}' has {there} {self._resource}s for {wanted} workers of shards: add "
                "machines, or ask for fewer replicas"
            )
        shards = [RayShard(self, path, 0) for path in paths]
        try:
            for shard in shards:
                shard.wait()
        except BaseException:
            for shard in shards:
                shard.close()
            raise
        return list(shards)

    def begin(self, path: Path, photos: int) -> Shard:
        """Start a shard's workers; until they are there, the shard is missing in answers."""
        return RayShard(self, path, photos)

    def close(self) -> None:
        """Leave the cluster, if this process joined it for the shards."""
        if self._connected:
            self._connected = False
            self.ray.shutdown()

    def hire(self, path: Path) -> Any:
        """A new worker of a shard, which opens it when it is asked to."""
        bundle = self._scorer.bundle
        options = {f"num_{self._resource.lower()}s": 1, "max_concurrency": AT_ONCE}
        remote = self.ray.remote(ShardWorker).options(**options)
        return remote.remote(path, bundle.path.resolve(), bundle.manifest.fingerprint, self._scorer.choice)

    def refuse_ended(self) -> None:
        """Raise BackendError where the cluster has no machine left, on which a worker could start again."""
        if not any(node["Alive"] for node in self.ray.nodes()):
            fix = "start this command again" if self._address == "local" else "start it again, then this command"
            raise BackendError(f"the Ray cluster '{self._address}' has no machine left: {fix}")

    def dismiss(self, actor: Any) -> None:
        """End a worker."""
        if self.ray.is_initialized():
            self.ray.kill(actor)

    def got(self, reference: Any) -> Any:
        """What a call gives. Raises the method's own error, and RayActorError where the worker died."""
        try:
            return self.ray.get(reference)
        except self.ray.exceptions.RayTaskError as error:
            raise (error.cause if isinstance(error.cause, Exception) else error) from error
