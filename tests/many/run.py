"""Eight readers, two writers, a server with a client and a job over one collection, killed in turn.

    PYTHONPATH=tests python tests/many/run.py BUNDLE FOLDER SECONDS

FOLDER is new. Photos change all the time. Every answer must be one that the photos had; at the end the collection must
be as its photos are. Prints JSON: what was done, killed and held. Exits with 1 where anything is wrong.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import mmap
import os
import pickle
import random
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import actors
import numpy as np
import own_home  # noqa: F401 before a command is run
from actors import live, ran
from measure import Watch
from shan_engine.gallery.reader import Gallery
from shan_engine.store.feature_store import FeatureStore
from world import CORE, QUERIES, VOLATILE, World

# What commands import when they run: once here, before all forks.
for _name in ("shan_cli.serve", "shan_web.server", "shan_engine.jobs.run", "shan_engine.updating.update"):
    importlib.import_module(_name)

_DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG of Linux
PACE = 0.3
"""How often a photo changes and how often something is killed."""
SPARED = ("serve", "search 1")
"""Live on for the second half, so that growth shows."""


def forked(action: Callable[[], Any]) -> Any:
    """What an action in a fork returns. Raises RuntimeError where it fails."""
    reading, writing = os.pipe()
    if not (child := os.fork()):
        try:
            with os.fdopen(writing, "wb") as file:
                pickle.dump(action(), file)
            os._exit(0)
        except BaseException:
            import traceback

            traceback.print_exc()
            os._exit(1)
    os.close(writing)
    with os.fdopen(reading, "rb") as file:
        data = file.read()
    if os.waitpid(child, 0)[1]:
        raise RuntimeError("a fork failed")
    return pickle.loads(data)


class Actor:
    """One process, started again whenever it was killed."""

    def __init__(self, name: str, steps: Callable[[], Iterator[None]], done: Any, faults: Path) -> None:
        self.name, self.kills, self._steps, self.done, self._faults = name, 0, steps, done, faults
        self.process = self._had_done = self._in_vain = 0

    def start(self) -> None:
        if not (child := os.fork()):
            ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)
            live(self.name, self._steps(), self.done, self._faults)
            os._exit(0)
        self.process = child

    def kill(self) -> None:
        with suppress(ProcessLookupError, ChildProcessError):
            os.kill(self.process, signal.SIGKILL)
            os.waitpid(self.process, 0)

    def kill_in_turn(self) -> None:
        """Kill it and start it again, unless two lives in a row have ended before it had done anything.

        Then it lives on until it has: on a slow machine, a command may take longer than the kills leave it.
        """
        did = int(self.done[0]) > self._had_done
        if not did and self._in_vain == 2:
            return
        self._in_vain, self._had_done = (0 if did else self._in_vain + 1), int(self.done[0])
        self.kill()
        self.kills += 1
        self.start()

    @property
    def ended(self) -> bool:
        """Whether it has ended by itself, which it must not."""
        return os.waitpid(self.process, os.WNOHANG)[0] != 0


def cast(world: World, faults: Path) -> list[Actor]:
    """All actors."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    steps: dict[str, Callable[[], Iterator[None]]] = {}
    steps |= {f"search {number}": lambda: actors.search(world) for number in range(1, 6)}
    steps |= {"search command": lambda: actors.command(world)}
    steps |= {f"read store {number}": lambda: actors.read_store(world) for number in range(1, 3)}
    steps |= {"index, store": lambda: actors.write(world), "update": lambda: actors.update(world)}
    steps |= {"score": lambda: actors.score(world)}
    steps |= {"serve": lambda: actors.serve(world, port), "client of serve": lambda: actors.ask(world, port)}
    done = np.frombuffer(mmap.mmap(-1, 8 * len(steps)), np.int64)
    return [Actor(name, step, done[n : n + 1], faults) for n, (name, step) in enumerate(steps.items())]


def worked(world: World, seconds: float, faults: Path) -> tuple[list[Actor], Watch]:
    """Let all work for a time, change photos and kill."""
    chance, all_actors = random.Random(1), cast(world, faults)
    watch = Watch(world.data)
    for actor in all_actors:
        actor.start()
    began = time.monotonic()
    turn = 0
    try:
        while (passed := time.monotonic() - began) < seconds and not faults.exists():
            time.sleep(PACE * chance.uniform(0.5, 1.5))
            world.change(chance.randrange(CORE, CORE + VOLATILE))
            watch.look({actor.name: actor.process for actor in all_actors})
            for actor in all_actors:
                if actor.ended:
                    raise SystemExit(faults.read_text() if faults.exists() else f"{actor.name} has ended")
            if passed > 2:  # what has been started should come to work
                actor = all_actors[turn % len(all_actors)]
                turn += 1
                if actor.name not in SPARED or passed < seconds / 2:
                    actor.kill_in_turn()
    finally:
        for actor in all_actors:
            actor.kill()
    return all_actors, watch


def checked_end(world: World) -> None:
    """One more run of each command must leave what the photos are."""
    assert ran("update", "many", "--device", "cpu")
    assert ran("store", "verify", world.store)
    newest = world.written.copy()
    with FeatureStore.open(world.store) as store:
        held = {record.id: record.features for record in store.read(store.ids())}
    world.check_regions(held, newest, world.in_store)
    shown = json.loads(actors.shan("search", *QUERIES, "--gallery", world.gallery, "--top-k", 10_000, "--json").stdout)
    for number, answer in enumerate(shown):
        world.check_scores(number, {hit["id"]: hit["score"] for hit in answer["hits"]}, newest, world.in_gallery)
    assert set(Gallery.open(world.gallery).ids()) == held.keys()


def main() -> None:
    """Print the report."""
    bundle, folder, seconds = Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3])
    world = World(folder, bundle)
    world.paint()
    (folder / "captions.txt").write_text("".join(f"{query}\n" for query in QUERIES))
    world.scores, world.regions = forked(world.measured)
    forked(lambda: world.made("many", world.photos, world.store, world.gallery))
    faults = folder / "faults.txt"
    all_actors, watch = worked(world, seconds, faults)
    if faults.exists():
        sys.exit(faults.read_text())
    forked(lambda: checked_end(world))
    report = {
        "seconds": seconds,
        "changes": int(world.written.sum()),
        "steps": {actor.name: int(actor.done[0]) for actor in all_actors},
        "kills": {actor.name: actor.kills for actor in all_actors},
        **watch.report(SPARED),
    }
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
