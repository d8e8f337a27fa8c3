"""What works on one collection at once. Each actor is a loop that ends only when it is killed, or finds a fault."""

from __future__ import annotations

import json
import time
import traceback
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import urlencode

import numpy as np
import pyarrow.parquet
from in_process import shan
from numpy.typing import NDArray
from shan_engine import api
from shan_engine.store.feature_store import FeatureStore
from world import QUERIES, World

ALL = 10_000
MAY_SAY = (
    "another process is updating",
    "another process is writing",
    "was compacted by another process",
    "other programs have changed the gallery",
)
"""Refusals that a command may end with while others work; whoever reads one runs the command again."""


def ran(*command: object, may_say: Sequence[str] = MAY_SAY) -> bool:
    """Run a command. Whether it was done; AssertionError where it refuses for another reason than that others work."""
    done = shan(*command)
    if done.returncode == 0:
        return True
    said = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert done.returncode == 1, (command, done.returncode, done.stderr)
    assert len(said) == 1, (command, done.stderr)
    assert any(part in said[0] for part in may_say), (command, said)
    return False


def search(world: World) -> Iterator[None]:
    """Search through one engine, which takes up what changes."""
    with api.open(world.gallery, device="cpu", threads=1) as engine:
        while True:
            floor = world.in_gallery.copy()
            engine.refresh()
            for number, found in enumerate(engine.search_all(QUERIES, top_k=ALL, explain=False)):
                scores = {hit.image.id: hit.score for hit in found}
                world.check_scores(number, scores, floor, world.in_gallery)
            yield


def command(world: World) -> Iterator[None]:
    """Search by the command, which opens everything anew."""
    while True:
        floor = world.in_gallery.copy()
        done = shan("search", *QUERIES, "--gallery", world.gallery, "--top-k", ALL, "--json", "--device", "cpu")
        assert done.returncode == 0, done.stderr
        for number, answer in enumerate(json.loads(done.stdout)):
            world.check_scores(number, {hit["id"]: hit["score"] for hit in answer["hits"]}, floor, world.in_gallery)
        yield


def read_store(world: World) -> Iterator[None]:
    """Read all regions of the store."""
    while True:
        floor = world.in_store.copy()
        with FeatureStore.open(world.store) as store:
            # One transaction: what it reads is one state.
            held = store._read(
                lambda held: {id: store._decode(held, id).features for id in map(_id, store._rows(held))}
            )
        world.check_regions(held, floor, world.in_store)
        yield


def _id(row: tuple[bytes, bytes]) -> str:
    return row[1].decode()


def write(world: World) -> Iterator[None]:
    """Index the store, compact it, check it."""
    while True:
        ran("index", world.store, "--output", world.gallery, "--model", world.bundle, "--device", "cpu")
        yield
        ran("store", "compact", world.store)
        yield
        ran("store", "verify", world.store)
        yield


def update(world: World) -> Iterator[None]:
    """Bring the collection up to date."""
    while True:
        ran("update", "many", "--device", "cpu")
        yield


def score(world: World) -> Iterator[None]:
    """Score all captions with all photos, and look at the result."""
    queries, output = world.folder / "captions.txt", world.data / "result.parquet"
    start = world.data / "floor.json"  # when the job began, which goes on after a kill
    journal = world.data / "result.parquet.job" / "journal.sqlite"
    again = False
    while True:
        if again or not (journal.exists() and start.exists()):
            beside = start.with_suffix(".new")
            beside.write_text(json.dumps(world.in_gallery.tolist()))
            beside.replace(start)
            again = True
        floor = np.array(json.loads(start.read_text()))
        job = ("score", "--gallery", world.gallery, "--queries", queries, "--output", output, "--top-k", ALL)
        options = ("--block-pairs", 40, "--device", "cpu", *(["--restart"] if again else []))
        again = not ran(*job, *options, may_say=(*MAY_SAY, "was started with"))
        if not again:
            rows = pyarrow.parquet.read_table(output).to_pylist()
            for number, text in enumerate(QUERIES):
                found = {row["image_id"]: row["score"] for row in rows if row["query"] == text}
                world.check_scores(number, found, floor, world.in_gallery)
            output.unlink()
        yield


def serve(world: World, port: int) -> Iterator[None]:
    """Serve the gallery; it returns only when it fails."""
    done = shan("serve", "--gallery", world.gallery, "--port", port, "--cache", world.data / "cache", "--device", "cpu")
    raise AssertionError(f"serve ended: {done.stderr}")
    yield  # as all actors do, though this one never comes so far


def ask(world: World, port: int) -> Iterator[None]:
    """Ask the server, whichever process that is now."""
    floor = world.in_gallery.copy()
    while True:
        for number, query in enumerate(QUERIES):
            before = floor.copy()
            address = f"http://127.0.0.1:{port}/api/search?{urlencode({'q': query, 'limit': 200})}"
            try:
                with urllib.request.urlopen(address, timeout=60) as answer:
                    found = json.loads(answer.read())
            except urllib.error.HTTPError as error:
                raise AssertionError(f"status {error.code}: {error.read()!r}") from error
            except OSError:  # it was killed, and another is starting
                time.sleep(0.05)
                continue
            world.check_scores(number, {hit["id"]: hit["score"] for hit in found["hits"]}, before, floor)
        yield


def live(name: str, steps: Iterator[None], done: NDArray[np.int64], faults: Path) -> None:
    """Run an actor in this process, which is a fork, until it is killed; what it finds wrong goes into a file."""
    try:
        for _ in steps:
            done += 1
    except BaseException as error:
        said = str(error) if isinstance(error, AssertionError) else traceback.format_exc()
        with faults.open("a") as file:
            file.write(f"{name}: {said}\n")
