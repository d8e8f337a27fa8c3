"""Stores that several processes use at once, of which some are killed."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable
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


def by_another(action: Callable[[], object]) -> Callable[[], None]:
    """What lets another process, which is there already, run an action, and waits for its end."""
    told, tell = os.pipe()
    if not (child := os.fork()):
        try:
            os.close(tell)
            if os.read(told, 1):
                action()
                os._exit(0)
        finally:
            os._exit(1)
    os.close(told)

    def run() -> None:
        os.write(tell, b".")
        os.close(tell)
        assert os.waitpid(child, 0)[1] == 0

    return run


def test_a_reader_sees_one_state_whatever_another_process_writes(path):
    def change() -> None:
        with FeatureStore.open(path, readonly=False) as store:
            store.delete(["image15"])
            store.write([record("image16", 99), record("new", 3)])
            store.put_text({"image17": []}, reader="none")
            store.compact()

    run = by_another(change)  # a fork of an open environment could not open it again
    with FeatureStore.open(path) as store:
        ids, infos = store.ids(), store.infos()
        run()
        assert (store.ids(), store.infos(), list(store.texts())) == (ids, infos, [])
        for found, number in zip(store.read(ids), range(10, 20), strict=True):
            assert_same(found, record(f"image{number}", number, regions=40))
    with FeatureStore.open(path) as store:
        assert store.ids() == [id for id in ids if id not in ("image15", "image16")] + ["image16", "new"]


def test_images_that_another_process_has_removed_are_passed_over_when_photos_are_gone(path):
    with FeatureStore.open(path, readonly=False) as store:
        store.discard(["image3", "image15", "image15"])
        assert store.ids() == [f"image{number}" for number in range(10, 20) if number != 15]


def opened_by_another(path: Path, *, reads: bool) -> int:
    """A process that has the store open and stays there; one that `reads` holds on to a state of it."""
    told, tell = os.pipe()
    if not (child := os.fork()):
        try:
            store = FeatureStore.open(path, readonly=reads)
            os.write(tell, b".")
            time.sleep(600)
            del store
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
