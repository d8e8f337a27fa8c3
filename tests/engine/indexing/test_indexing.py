from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from functools import partial

import numpy as np
import pytest
from gallery_scores import assert_same, blocks_of, by_id, folders
from installed import environment, heed_interrupts
from shan_engine.base.errors import InputError
from shan_engine.gallery.reader import Gallery
from shan_engine.indexing import encoding
from shan_engine.indexing.images import BlockSizes, index_store
from shan_engine.search.answer import search
from shan_engine.store.feature_store import FeatureStore
from tiny import CAPTIONS, make_record, make_store

index_small = partial(index_store, sizes=BlockSizes(images=8))


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(encoding, "ENCODE_BATCH", 3)


def test_incremental_is_fresh(scorer, tmp_path, small_blocks):
    path = tmp_path / "gallery"
    with make_store(tmp_path / "store", range(29)) as store:
        assert index_small(store, scorer, path).added == 29
        assert len(Gallery.open(path).blocks) == 4

        def check(outcome, added, removed, unchanged):
            assert (outcome.added, outcome.removed, outcome.unchanged) == (added, removed, unchanged)
            fresh = tmp_path / "fresh"
            index_small(store, scorer, fresh)
            gallery = Gallery.open(path, scorer.bundle)
            assert_same(by_id(scorer, gallery, tmp_path), by_id(scorer, Gallery.open(fresh), tmp_path))
            assert {image.id: image for image in gallery.images()} == {i.id: i for i in Gallery.open(fresh).images()}
            assert len(gallery.images()) == len(store)
            top = search(scorer, gallery, CAPTIONS[:1], top_k=5)[0].hits
            again = search(scorer, Gallery.open(fresh), CAPTIONS[:1], top_k=5)[0].hits
            assert [hit.image.id for hit in top] == [hit.image.id for hit in again]
            for one, other in zip(top, again, strict=True):
                assert [(w.word, w.region, w.box) for w in one.words] == [
                    (w.word, w.region, w.box) for w in other.words
                ]
            shutil.rmtree(fresh)

        check(index_small(store, scorer, path), 0, 0, 29)
        store.write([make_record(number) for number in range(29, 33)])  # added
        check(index_small(store, scorer, path), 4, 0, 29)
        store.write([make_record(4, seed=1), make_record(31, seed=1)])  # changed
        check(index_small(store, scorer, path), 2, 2, 31)
        store.delete(["photo0", "photo10", "photo12"])  # removed
        check(index_small(store, scorer, path), 0, 3, 30)
        store.delete([f"photo{number}" for number in range(16, 24)])
        store.write([make_record(50), make_record(7, seed=2)])
        check(index_small(store, scorer, path), 2, 9, 21)


def test_only_small_and_half_empty_blocks_are_encoded_again(scorer, tmp_path, monkeypatch):
    monkeypatch.setattr("shan_engine.indexing.images.JOINED_BELOW", 3)
    path = tmp_path / "gallery"
    with make_store(tmp_path / "store", range(20)) as store:  # blocks of 8, 8 and 4
        index_small(store, scorer, path)
        full, emptied, last = (block.name for block in Gallery.open(path).blocks)
        store.delete(["photo0", *(f"photo{number}" for number in range(8, 13))])
        store.write([make_record(20)])
        index_small(store, scorer, path)
    kept = [block.name for block in Gallery.open(path).blocks]
    assert kept[:2] == [full, last]
    assert emptied not in kept
    assert len(Gallery.open(path)) == 15


def test_an_interrupted_index_goes_on(scorer, tmp_path, small_blocks):
    path = tmp_path / "gallery"

    def stop(done):
        if done >= 20:
            raise KeyboardInterrupt

    with make_store(tmp_path / "store", range(29)) as store:
        with pytest.raises(KeyboardInterrupt):
            index_small(store, scorer, path, on_images=stop)
        assert len(Gallery.open(path)) == 16
        outcome = index_small(store, scorer, path)
        assert (outcome.added, outcome.unchanged) == (13, 16)
        index_small(store, scorer, tmp_path / "fresh")
    gallery = Gallery.open(path)
    assert_same(by_id(scorer, gallery, tmp_path), by_id(scorer, Gallery.open(tmp_path / "fresh"), tmp_path))


def test_an_interrupted_update_keeps_the_old_gallery(scorer, tmp_path, small_blocks):
    path = tmp_path / "gallery"

    def stop(done):
        raise KeyboardInterrupt

    with make_store(tmp_path / "store", range(12)) as store:
        index_small(store, scorer, path)
        before = by_id(scorer, Gallery.open(path), tmp_path)
        store.delete(["photo9"])
        store.write([make_record(20)])
        with pytest.raises(KeyboardInterrupt):
            index_small(store, scorer, path, on_images=stop)
    assert_same(by_id(scorer, Gallery.open(path), tmp_path), before, 0)


def bytes_of(folder):
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


@pytest.mark.parametrize(("dtype", "share", "difference"), [("float16", 0.7, 2e-3), ("int8", 0.55, 2e-2)])
def test_small_numbers_are_close_to_float32(scorer, store_path, gallery_path, tmp_path, dtype, share, difference):
    with FeatureStore.open(store_path) as store:
        index_store(store, scorer, tmp_path / "small", dtype=dtype)
        with pytest.raises(InputError, match="cannot hold float64: choose one of float32, float16, int8"):
            index_store(store, scorer, tmp_path / "other", dtype="float64")
    small, full = Gallery.open(tmp_path / "small"), Gallery.open(gallery_path)
    assert small.manifest.dtype == dtype
    assert bytes_of(small.path / "blocks") < share * bytes_of(full.path / "blocks")
    assert_same(by_id(scorer, small, tmp_path), by_id(scorer, full, tmp_path), difference)


# Updates, as a reader meets them


def held_in(gallery):
    """Checksums by id; every image once."""
    pairs = [pair for block in gallery.blocks for pair in block.checksums()]
    assert len(dict(pairs)) == len(pairs) == len(gallery)
    return dict(pairs)


@pytest.mark.parametrize("seed", range(4))
def test_every_manifest_on_disk_holds_every_image_once(scorer, tmp_path, small_blocks, seed):
    """Random changes, runs stopped at random: no image is there twice or is lost in between."""
    random, path = np.random.default_rng(seed), tmp_path / "gallery"
    with make_store(tmp_path / "store", range(21)) as store:
        index_small(store, scorer, path)
        for step in range(1, 9):
            ids = store.ids()
            store.delete([str(id) for id in random.choice(ids, random.integers(0, len(ids) // 3), replace=False)])
            numbers = random.choice(60, random.integers(1, 25), replace=False)  # some new, some there already
            store.write([make_record(int(number), seed=step) for number in numbers])
            before = held_in(Gallery.open(path))
            wanted = {info.id: info.checksum for info in store.infos()}
            last = random.integers(1, 60)

            def look(done, before=before, wanted=wanted, last=last):
                now = held_in(Gallery.open(path))
                assert now.keys() >= before.keys() & wanted.keys()
                assert all(checksum in (before.get(id), wanted.get(id)) for id, checksum in now.items())
                if done >= last:
                    raise KeyboardInterrupt

            try:
                index_small(store, scorer, path, on_images=look)
            except KeyboardInterrupt:
                look(0)
                continue
            assert held_in(Gallery.open(path)) == wanted
        index_small(store, scorer, path)
        index_small(store, scorer, tmp_path / "fresh")
    fresh = Gallery.open(tmp_path / "fresh")
    assert held_in(Gallery.open(path)) == held_in(fresh)
    assert_same(by_id(scorer, Gallery.open(path), tmp_path), by_id(scorer, fresh, tmp_path))


KILLED = """
import os, signal, sys
from pathlib import Path
from shan_engine.indexing import encoding, images as indexing
from shan_engine.bundle.contents import Bundle
from shan_engine.scoring.scorer import Scorer
from shan_engine.store.feature_store import FeatureStore
store, bundle, gallery = map(Path, sys.argv[1:4])
encoding.ENCODE_BATCH = 3
def kill(done):
    if done >= int(sys.argv[4]):
        os.kill(os.getpid(), int(sys.argv[5]))
with FeatureStore.open(store) as opened:
    scorer, sizes = Scorer(Bundle.open(bundle), "cpu"), indexing.BlockSizes(8)
    indexing.index_store(opened, scorer, gallery, sizes=sizes, on_images=kill)
"""


def killed(store, bundle, gallery, done, how):
    command = [sys.executable, "-c", KILLED, *map(str, (store, bundle, gallery, done, int(how)))]
    return subprocess.run(
        command, env=environment(), check=False, capture_output=True, preexec_fn=heed_interrupts
    ).returncode


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_an_update_that_was_killed_keeps_its_complete_blocks(scorer, tmp_path, small_blocks, how):
    """Three images in a small block, one of them changed, and 20 new: two blocks of 8 are there after 18."""
    path = tmp_path / "gallery"
    with make_store(tmp_path / "store", range(3)) as store:
        index_small(store, scorer, path)
        store.write([make_record(1, seed=1), *(make_record(number) for number in range(10, 30))])
        wanted = {info.id: info.checksum for info in store.infos()}
    assert killed(tmp_path / "store", scorer.bundle.path, path, 18, how) in (-how, 1)
    held = held_in(Gallery.open(path))
    assert len(held) == 18  # photo0, photo2; photo1 as it is now and 15 of the new
    assert held.items() <= wanted.items()
    with FeatureStore.open(tmp_path / "store") as store:
        outcome = index_small(store, scorer, path)
    assert (outcome.added, outcome.unchanged) == (5, 18)
    assert held_in(Gallery.open(path)) == wanted


@pytest.mark.parametrize("dtype", [None, "float16"])
def test_a_first_run_that_was_killed_at_once_is_begun_again(scorer, store_path, tmp_path, dtype):
    path = tmp_path / "gallery"
    assert killed(store_path, scorer.bundle.path, path, 1, signal.SIGKILL) == -signal.SIGKILL
    assert len(Gallery.open(path)) == 0
    (path / ".manifest.json.abc.json").write_text("{")
    with FeatureStore.open(store_path) as store:
        assert index_store(store, scorer, path, dtype=dtype).added == 41
    assert Gallery.open(path).manifest.dtype == (dtype or "float32")
    assert folders(path) == blocks_of(path)


def test_whoever_opened_the_gallery_before_reads_on_until_the_next_run(scorer, tmp_path, small_blocks):
    path = tmp_path / "gallery"
    with make_store(tmp_path / "store", range(12)) as store:
        index_small(store, scorer, path)
        before, opened = by_id(scorer, Gallery.open(path), tmp_path), Gallery.open(path)
        old = blocks_of(path)
        store.write([make_record(number, seed=1) for number in range(12)])
        index_small(store, scorer, path)
        assert not old & blocks_of(path)
        assert_same(by_id(scorer, opened, tmp_path), before, 0)
        index_small(store, scorer, path)
    assert folders(path) == blocks_of(path)
