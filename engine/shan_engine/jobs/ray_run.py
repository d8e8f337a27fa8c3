"""Run a job's blocks on a Ray cluster: actors keep the bundle and galleries open, the driver keeps the journal.

The bundle and galleries must be on storage that every machine sees under the same paths. Results of blocks come back
through Ray, so that only the driver writes: a lost worker leaves nothing half-written behind.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from shan_engine.base.errors import BackendError, BundleError, ShanError, first_line
from shan_engine.bundle.contents import Bundle
from shan_engine.gallery.images import Images
from shan_engine.jobs.compute import BlockScorer, Found, Task, View, Work
from shan_engine.jobs.plan import JobBlock
from shan_engine.jobs.ray_cluster import connect, import_ray
from shan_engine.scoring.scorer import Scorer

# How many workers may die at one block, or while starting, before the job gives up.
MOST_LOSSES = 4


class BlockWorker:
    """The actor: keeps a bundle and galleries open between blocks."""

    def __init__(self, bundle: Path, fingerprint: str, choice: Any, views: Sequence[Any], task: Task) -> None:
        self._asked = bundle, fingerprint, choice, views, task

    @cached_property
    def _scorer(self) -> BlockScorer:
        # Not made in __init__: Ray passes errors of a method to the driver as they are, but those of __init__ as text.
        bundle, fingerprint, (device, backend, precision), views, task = self._asked
        opened = Bundle.open(bundle)
        if opened.manifest.fingerprint != fingerprint:
            raise BundleError(f"{bundle} is another bundle on a worker: give a path to the same bundle on all machines")
        images = [View(Images.of_manifests(manifests), places) for manifests, places in views]
        # One thread, because there is a worker for each CPU.
        scorer = Scorer(opened, device, threads=1, backend=backend, precision=precision)
        return BlockScorer(scorer.reading(images[0].images.galleries), images, task)

    def ready(self) -> None:
        """Open everything. A worker that returns from this can compute blocks."""
        _ = self._scorer

    def run(self, block: JobBlock, texts: Sequence[str]) -> Found:
        """Compute a block's part of the result.

        Raises the errors of `BlockScorer.run`, and BundleError or GalleryError on opening.
        """
        return self._scorer.run(block, texts)


@dataclass
class RayCluster:
    """A runner of blocks on a Ray cluster; use it in a `with` statement.

    `address` is `local` for a cluster on this machine for this job alone, `auto` for the running one, or an address
    that Ray accepts. `workers` None means one for each CPU of the cluster, or for each GPU if pairs are scored on
    GPUs. `lost` counts the workers that died.
    """

    address: str
    workers: int | None = None
    lost: int = field(default=0, init=False)
    _connected: bool = field(default=False, init=False)

    def __enter__(self) -> RayCluster:
        """Connect, unless this process is connected already. Raises BackendError if Ray or the cluster is missing."""
        ray = import_ray()
        self._connected = not ray.is_initialized()
        if self._connected:
            connect(ray, self.address, self.workers)
        return self

    def __exit__(self, *error: object) -> None:
        if self._connected:
            import_ray().shutdown()

    def __call__(self, work: Work) -> Iterator[tuple[JobBlock, Found]]:
        """Yield the blocks as they finish.

        Raises BackendError if the cluster has no CPU or GPU for a worker, or workers keep dying.
        """
        ray = import_ray()
        workers: list[Any] = []
        try:
            yield from self._run(ray, work, workers)
        finally:
            for worker in workers:
                ray.kill(worker)

    def _run(self, ray: Any, work: Work, workers: list[Any]) -> Iterator[tuple[JobBlock, Found]]:
        resource = "CPU" if work.scorer.pairs.device == "cpu" else "GPU"
        count = self.workers or int(ray.cluster_resources().get(resource, 0))
        if count < 1:
            raise BackendError(f"the Ray cluster '{self.address}' has no {resource}: add a machine with a {resource}")
        views = ray.put([(view.images.manifests, view.places) for view in work.views])
        bundle = work.scorer.bundle
        remote = ray.remote(BlockWorker).options(**{f"num_{resource.lower()}s": 1})

        queues = _by_shard(work.blocks, min(count, len(work.blocks)))
        # For each call in progress: the worker's number, the worker, and its block (None while it starts). A worker
        # that cannot start, because the cluster lost a machine, holds no block back.
        awaited: dict[Any, tuple[int, Any, JobBlock | None]] = {}
        idle: list[tuple[int, Any]] = []
        losses: Counter[int | None] = Counter()

        def hire(number: int) -> None:
            asked = bundle.path.resolve(), bundle.manifest.fingerprint, work.scorer.choice, views, work.task
            workers.append(remote.remote(*asked))
            awaited[workers[-1].ready.remote()] = number, workers[-1], None

        def give(number: int, worker: Any) -> None:
            # Its own shard first, whose files its machine has read; then a block from the longest queue.
            queue = queues[number] or max(queues, key=len)
            if queue and not work.stop():
                block = queue.popleft()
                awaited[worker.run.remote(block, work.texts(block))] = number, worker, block
            else:
                idle.append((number, worker))

        def more() -> bool:
            return any(block for _, _, block in awaited.values()) or (any(queues) and not work.stop())

        for number in range(len(queues)):
            hire(number)
        while more():
            (done,), _ = ray.wait(list(awaited), num_returns=1)
            number, worker, block = awaited.pop(done)
            try:
                found = ray.get(done)
            except ray.exceptions.RayActorError as error:
                self.lost += 1
                at = block.number if block else None
                losses[at] += 1
                if losses[at] == MOST_LOSSES:
                    what = f"block {block.number}" if block else "startup"
                    raise BackendError(
                        f"{MOST_LOSSES} Ray workers died at {what} ({first_line(error)}): check the machines' memory "
                        "and Ray's logs, then run the command again"
                    ) from error
                if block:
                    queues[number].appendleft(block)
                hire(number)
                if idle:
                    give(*idle.pop())
                continue
            except ray.exceptions.RayTaskError as error:
                raise (error.cause if isinstance(error.cause, ShanError) else error) from error
            losses[None] = 0
            if block:
                yield block, found
            give(number, worker)


def _by_shard(blocks: Sequence[JobBlock], workers: int) -> list[deque[JobBlock]]:
    """Deal the blocks to the workers in order, so that all blocks of the same images go to the same worker."""
    starts = {start: number for number, start in enumerate(sorted({(block.view, block.start) for block in blocks}))}
    queues: list[deque[JobBlock]] = [deque() for _ in range(workers)]
    for block in blocks:
        queues[starts[block.view, block.start] % workers].append(block)
    return queues
