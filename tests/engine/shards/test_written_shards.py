"""Shards that were indexed one by one count how rare written words are over all of them."""

from __future__ import annotations

import pytest
from shan_engine.base.errors import GalleryError
from shan_engine.engine import Engine
from shan_engine.gallery.reader import Gallery
from shan_engine.gallery.written import Counting
from shan_engine.gallery.written_format import written_path
from shan_engine.indexing.copy import merge_galleries
from shan_engine.shards.host import LocalHost
from shan_engine.shards.sharded import ShardedEngine
from shan_engine.store.feature_store import FeatureStore
from tiny import make_store
from written_photos import indexed, lines_of, write_texts

TEXTS = [{"photo0": ["budget 2024"], "photo1": ["hardware"]}, {"photo10": ["budget"], "photo11": ["harbour"]}, {}]
QUERIES = ["the budget", "hardware", "the harbour", '"budget 2024"']


@pytest.fixture
def shards(scorer, tmp_path):
    for number, texts in enumerate(TEXTS):
        make_store(tmp_path / f"{number}.store", range(number * 10, number * 10 + 10)).close()
        write_texts(tmp_path / f"{number}.store", texts)
        indexed(tmp_path / f"{number}.store", scorer, tmp_path / "shards" / str(number))
    return tmp_path / "shards"


def scores(engine) -> dict[str, dict[str, float]]:
    return {query: {hit.image.id: hit.score for hit in engine.search(query, top_k=40)} for query in QUERIES}


def of_the_whole(scorer, shards, output):
    merge_galleries([Gallery.open(path) for path in sorted(shards.iterdir())], output)
    with Engine(scorer, Gallery.open(output)) as engine:
        return scores(engine)


def assert_same(found, wanted):
    assert found.keys() == wanted.keys()
    for query in QUERIES:
        assert found[query] == pytest.approx(wanted[query], abs=1e-5)


def test_scores_are_those_of_one_gallery_also_after_a_change(scorer, shards, tmp_path):
    with ShardedEngine(scorer, [shards], LocalHost(scorer)) as engine:
        before = scores(engine)
        assert_same(before, of_the_whole(scorer, shards, tmp_path / "before"))
        with FeatureStore.open(tmp_path / "1.store", readonly=False) as store:
            store.put_text({f"photo{number}": lines_of("budget") for number in range(12, 20)}, reader="test 1")
        indexed(tmp_path / "1.store", scorer, shards / "1")
        engine.refresh()
        after = scores(engine)
        assert after["the budget"]["photo0"] < before["the budget"]["photo0"]  # in a shard that has not changed
        assert_same(after, of_the_whole(scorer, shards, tmp_path / "after"))


def test_an_index_that_has_been_replaced_since_is_counted_as_it_is_now(scorer, shards, tmp_path):
    held = Counting.of(shards / "1")
    with FeatureStore.open(tmp_path / "1.store", readonly=False) as store:
        store.put_text({"photo12": lines_of("budget")}, reader="test 1")
    indexed(tmp_path / "1.store", scorer, shards / "1")
    written_path(shards / "1", held.written).unlink()
    assert held.open().count("budget") == 2
    written_path(shards / "1", Counting.of(shards / "1").written).unlink()
    with pytest.raises(GalleryError, match="write it again with `shan-engine index STORE"):
        held.open()
