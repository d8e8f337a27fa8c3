"""Stores that several processes use at once, of which some are killed."""

from __future__ import annotations

import os
import shutil
import signal
import time
from pathlib import Path

import pytest
from shan_engine.store import lmdb as own_lmdb
from shan_engine.store.feature_store import FeatureStore
from stores import SCHEMA, assert_same, record

READERS = 126  # that LMDB has places for


@pytest.fixture
def path(tmp_path: Path) -> Path:
    with FeatureStore.create(tmp_path / "store", SCHEMA) as store:
        store.write([record(f"image{number}", number, regions=40) for number in range(20)])
        store.delete([f"image{number}" for number in range(10)])
    return tmp_path / "store"


@pytest.mark.parametrize("readonly", [True, False])
def test_a_store_that_is_compacted_while_it_is_opened_is_opened_anew(path, tmp_path, monkeypatch, readonly):
    copy = Path(shutil.copytree(path, tmp_path / "copy"))
    FeatureStore.open(copy, readonly=False).compact()
    assert (copy / "data.mdb").stat().st_size < (path / "data.mdb").stat().st_size
    opened = []

    def open_environment(place, **options):
        environment = original(place, **options)
        if not opened:  # as another process does just now
            (copy / "data.mdb").replace(path / "data.mdb")
        opened.append(place)
        return environment

    original = own_lmdb.open_environment
    monkeypatch.setattr(own_lmdb, "open_environment", open_environment)
    with FeatureStore.open(path, readonly=readonly) as store:
        assert len(opened) == 2
        assert_same(store.read(["image15"])[0], record("image15", 15, regions=40))
        if not readonly:
            store.write([record("new", 3)])
    if not readonly:
        with FeatureStore.open(path) as store:
            assert_same(store.read(["new"])[0], record("new", 3))


def opened_by_another(path: Path, *, reads: bool) -> int:
    """A process that has the store open and stays there, perhaps in the midst of reading it."""
    told, tell = os.pipe()
    if not (child := os.fork()):
        try:
            store = FeatureStore.open(path)
            transaction = store._environment.begin() if reads else None
            os.write(tell, b".")
            time.sleep(600)
            del transaction
        finally:
            os._exit(1)
    os.close(tell)
    assert os.read(told, 1) == b"."
    os.close(told)
    return child


def kill(child: int) -> None:
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def test_readers_that_were_killed_take_neither_places_nor_space(path):
    living = opened_by_another(path, reads=False)  # else whoever comes next finds the store unused, and clears it
    try:
        for _ in range(READERS + 2):
            kill(opened_by_another(path, reads=True))
        sizes = []
        with FeatureStore.open(path, readonly=False) as store:
            for _ in range(40):
                store.write([record("image15", 15, regions=90)])
                sizes.append(store.bytes_used)
        assert max(sizes) == max(sizes[:8])
    finally:
        kill(living)
