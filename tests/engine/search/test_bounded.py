"""Late interaction in a large gallery: the hits of an exhaustive search, of fewer photos' regions."""

from __future__ import annotations

import numpy as np
import pytest
import vision_language
from bundle_cache import BundleCache
from shan_engine.bundle.contents import Bundle
from shan_engine.gallery.reader import Gallery
from shan_engine.indexing.images import BlockSizes, index_store
from shan_engine.scoring.scorer import Scorer
from shan_engine.search import bounded
from shan_engine.search.answer import search
from shan_engine.store.feature_store import FeatureStore
from shan_engine.store.records import RegionRecord
from shan_engine.store.schema import StoreSchema

PHOTOS, QUERIES = 400, ["a photo of an alpaca", "two brown bison", "bee"]


@pytest.fixture(scope="module")
def late(pytestconfig, tmp_path_factory):
    from shan_export.vision_language.bundle import export_from

    folder = tmp_path_factory.mktemp("late")
    cache = BundleCache(pytestconfig.cache.mkdir("bundles"), export_from, module="shan_export.vision_language.bundle")
    cache(vision_language.clip_folder(folder / "tiny-clip"), folder / "bundle", scorer="late")
    return Scorer(Bundle.open(folder / "bundle"), "cpu", threads=1)


@pytest.fixture(scope="module", params=["float32", "int8"])
def gallery(request, late, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    random = np.random.default_rng(0)
    manifest = late.bundle.manifest
    records = [
        RegionRecord(f"photo{number}", random.normal(size=(1 + number % 9, 24)).astype(np.float32))
        for number in range(PHOTOS)
    ]
    with FeatureStore.create(folder / "store", StoreSchema(manifest.feature_extractor, 24)) as store:
        store.write(records)
        index_store(store, late, folder / "gallery", dtype=request.param, sizes=BlockSizes(images=150))
    return Gallery.open(folder / "gallery", late.bundle)


@pytest.mark.parametrize("top_k", [1, 5, 500])
def test_the_hits_are_those_of_an_exhaustive_search(late, gallery, monkeypatch, top_k):
    monkeypatch.setattr(bounded, "AT_FIRST", 20)
    found = search(late, gallery, QUERIES, top_k=top_k, cascade_from=100)
    wanted = search(late, gallery, QUERIES, top_k=top_k, exhaustive=True)
    for own, whole in zip(found, wanted, strict=True):
        assert [hit.image.id for hit in own.hits] == [hit.image.id for hit in whole.hits]
        np.testing.assert_allclose([hit.score for hit in own.hits], [hit.score for hit in whole.hits], atol=1e-6)
        assert own.hits[0].words == whole.hits[0].words
        assert own.stages.proven
        assert own.stages.all_steps < PHOTOS / 2 or top_k == 500
        assert whole.stages is None


def test_a_photo_of_whose_words_much_is_found_is_not_left_out(late, gallery, monkeypatch):
    """The first few by their cosine alone need not be the hits."""
    monkeypatch.setattr(bounded, "AT_FIRST", 1)
    (found,) = search(late, gallery, QUERIES[:1], top_k=3, cascade_from=100)
    (wanted,) = search(late, gallery, QUERIES[:1], top_k=3, exhaustive=True)
    assert [hit.image.id for hit in found.hits] == [hit.image.id for hit in wanted.hits]


def test_several_phrases_and_small_galleries_are_searched_whole(late, gallery):
    from shan_engine.search.query import Query

    query = Query.of("a photo", also=["a bee"])
    assert search(late, gallery, [query], cascade_from=100)[0].stages is None
    assert search(late, gallery, QUERIES)[0].stages is None
