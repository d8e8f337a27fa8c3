"""Disk space is told once, for a large run, as the first photos show it."""

from __future__ import annotations

from shan_engine.updating.space import Space, SpaceWatch, size, space_for


def grow(store, count):
    store.mkdir(exist_ok=True)
    with (store / "data.mdb").open("ab") as file:
        file.truncate(count)


def told(tmp_path, total, per_photo):
    """What is told in a run over `total` photos that take so many bytes each."""
    store, found = tmp_path / "store", []
    grow(store, 1000)
    watch = SpaceWatch(store, found.append)
    watch.start(total)
    for done in range(8, 64, 8):
        grow(store, 1000 + done * per_photo)
        watch.done(done)
    return found


def test_it_is_told_once_for_a_large_run(tmp_path):
    (space,) = told(tmp_path, 10_016, 160_000)
    assert space.needed == 10_000 * 160_000
    assert space.folder == tmp_path
    assert str(space).startswith(f"about 1.6 GB in {tmp_path}, where ")


def test_a_small_run_and_one_that_only_reads_say_nothing(tmp_path):
    assert told(tmp_path, 100, 160_000) == []
    assert told(tmp_path, 10_000, 0) == []


def test_too_little_space_is_said(tmp_path):
    assert str(Space(tmp_path, 2_000_000_000, 30_000_000)) == (
        f"about 2.0 GB in {tmp_path}, where 30 MB are free; that is too little"
    )
    assert space_for(tmp_path / "not" / "there", 1).free > 0
    assert size(1) == "1 MB"
