"""The images of one store in one gallery, and in three that are its shards."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from shan_engine.indexing.images import index_store
from tiny import make_store

_ORDER = sorted(range(41), key=str)  # as a store has them
PARTS = (_ORDER[:17], _ORDER[17:30], _ORDER[30:])


@pytest.fixture(scope="session")
def whole(scorer, tmp_path_factory) -> Path:
    """41 images in one gallery, in the order of the shards."""
    folder = tmp_path_factory.mktemp("whole")
    with make_store(folder / "store", range(0)) as store:
        store.write([_twin(number) for number in _ORDER])
        index_store(store, scorer, folder / "whole.gallery")
    return folder / "whole.gallery"


@pytest.fixture(scope="session")
def shards(scorer, tmp_path_factory) -> Path:
    """A folder of three galleries."""
    folder = tmp_path_factory.mktemp("shards")
    for number, numbers in enumerate(PARTS):
        make_shard(folder, scorer, number, numbers)
    return folder


def make_shard(folder: Path, scorer, number: int, numbers: Sequence[int]) -> None:
    stores = folder.parent / f"{folder.name}-stores"
    stores.mkdir(exist_ok=True)
    with make_store(stores / str(number), range(0)) as store:
        store.write([_twin(one) for one in numbers])
        index_store(store, scorer, folder / f"{number}.gallery")


def _twin(number: int):
    """Photo 20 shows what photo 3 does: they are near-identical, in two shards, and have the same score."""
    from dataclasses import replace

    from tiny import make_record

    if number != 20:
        return make_record(number)
    return replace(make_record(3), id="photo20", path="photos/20.jpg")


@pytest.fixture
def make(scorer):
    return lambda folder, number, numbers: make_shard(folder, scorer, number, numbers)
