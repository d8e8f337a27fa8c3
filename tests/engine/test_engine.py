"""One engine that keeps its state: several threads, refresh, close, no files, and what its log says."""

from __future__ import annotations

import logging
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import shan_engine
from installed import environment
from shan_engine.base.errors import InputError
from shan_engine.indexing.images import index_store
from shan_engine.store.feature_store import FeatureStore
from shan_engine.store.records import pad_regions
from tiny import CAPTIONS, make_record, make_store


@pytest.fixture
def engine(gallery_path, bundle_path):
    with shan_engine.open(gallery_path, bundle_path, device="cpu", threads=1) as opened:
        yield opened


def test_the_public_surface():
    """Docs and CHANGELOG must say so where this list changes."""
    assert shan_engine.__all__ == sorted(shan_engine.__all__, key=str)
    assert set(shan_engine.__all__) == {
        "BackendError", "BundleError", "CaptionEngine", "CaptionHit", "CaptionHits", "Engine", "GalleryError",
        "GalleryImage", "Hit", "InputError", "Phrase", "Query", "QueryHits", "QueryPhoto", "SearchOptions", "ShanError",
        "StageCounts", "StoreError", "WordRegion", "__version__", "from_regions", "open", "open_captions",
    }  # fmt: skip
    for name in shan_engine.__all__:
        assert getattr(shan_engine, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'opens'"):
        _ = shan_engine.opens


def test_importing_it_loads_nothing_else():
    code = "import sys, shan_engine; late = {'numpy', 'onnxruntime', 'lmdb'} & set(sys.modules); assert not late, late"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment())
    assert done.returncode == 0, done.stderr


def test_several_threads_search_one_engine(gallery_path, bundle_path):
    """Also the first searches, which load and check what no one has read yet."""
    queries = [*CAPTIONS, "a red dog", "two children"] * 4
    with shan_engine.open(gallery_path, bundle_path, device="cpu", threads=1) as alone:
        expected = [alone.search(query, top_k=5) for query in queries]
    with (
        shan_engine.open(gallery_path, bundle_path, device="cpu", threads=2) as shared,
        ThreadPoolExecutor(8) as callers,
    ):
        found = list(callers.map(lambda query: shared.search(query, top_k=5), queries))
    assert found == expected


def test_several_threads_search_with_filters_of_their_own(gallery_path, bundle_path):
    wheres = [f"id like 'photo{number}%'" for number in range(4)] * 8
    with shan_engine.open(gallery_path, bundle_path, device="cpu", threads=1) as engine:
        expected = [engine.search("a dog", where=where, top_k=3) for where in wheres]
        with ThreadPoolExecutor(8) as callers:
            assert list(callers.map(lambda where: engine.search("a dog", where=where, top_k=3), wheres)) == expected


def test_it_takes_up_what_index_added_and_dropped(bundle_path, scorer, tmp_path):
    with make_store(tmp_path / "store", range(20)) as store:
        index_store(store, scorer, tmp_path / "gallery")
        with shan_engine.open(tmp_path / "gallery", bundle_path, device="cpu", threads=1) as engine:
            before = engine.search("a dog", top_k=99)
            assert not engine.refresh()
            store.write([make_record(number) for number in range(20, 30)])
            store.delete([before.hits[0].image.id])
            index_store(store, scorer, tmp_path / "gallery")
            assert len(engine.search("a dog", top_k=99)) == 20  # until it is told
            assert engine.refresh()
            assert len(engine) == 29
            after = engine.search("a dog", top_k=99)
            with shan_engine.open(tmp_path / "gallery", bundle_path, device="cpu", threads=1) as fresh:
                assert after == fresh.search("a dog", top_k=99)
    assert before.hits[0].image.id not in [hit.image.id for hit in after]


def test_a_gallery_of_another_bundle_is_not_taken_up(gallery_copy, bundle_path, local_bundle, tmp_path):
    from shan_engine.bundle.contents import Bundle
    from shan_engine.scoring.scorer import Scorer

    with shan_engine.open(gallery_copy, bundle_path, device="cpu", threads=1) as engine:
        shutil.rmtree(gallery_copy)
        with make_store(tmp_path / "store", range(4)) as store:
            index_store(store, Scorer(Bundle.open(local_bundle), "cpu"), gallery_copy)
        with pytest.raises(shan_engine.GalleryError, match="was made by bundle"):
            engine.refresh()
        assert len(engine) == 41


def test_closed_it_says_so(gallery_path, bundle_path):
    with shan_engine.open(gallery_path, bundle_path, device="cpu", threads=1) as engine:
        engine.search("a dog", top_k=1)
    for use in (lambda: engine.search("a dog"), lambda: engine.score("a dog"), lambda: len(engine), engine.refresh):
        with pytest.raises(InputError, match="this engine is closed: open the gallery again"):
            use()
    engine.close()  # twice does no harm


def test_a_text_where_several_are_meant_is_one(engine):
    assert engine.score("a dog").shape == (41, 1)
    np.testing.assert_array_equal(engine.score("a dog"), engine.score(["a dog"]))
    np.testing.assert_array_equal(engine.score(["a dog"], ids="photo3"), engine.score(["a dog"], ids=["photo3"]))
    assert engine.search("a dog", also="grass", without="man") == engine.search(
        "a dog", also=["grass"], without=["man"]
    )
    assert engine.search_all("a dog") == engine.search_all(["a dog"])


def test_hits_without_explanation_are_the_same_hits(engine):
    (plain,) = engine.search_all(["a dog"], explain=False)
    (explained,) = engine.search_all(["a dog"])
    assert [(hit.score, hit.image) for hit in plain] == [(hit.score, hit.image) for hit in explained]
    assert all(not hit.words and not hit.step_scores for hit in plain)
    assert all(hit.words and sum(hit.step_scores) == pytest.approx(hit.score, abs=1e-5) for hit in explained)


def test_many_hits_are_explained_as_few_are(engine):
    (few,), (many,) = engine.search_all(["a dog"], top_k=2), engine.search_all(["a dog"], top_k=41)
    for one, other in zip(few, many, strict=False):
        assert one.image == other.image
        assert one.step_scores == pytest.approx(other.step_scores, abs=1e-5)
        assert [word.region for word in one.words] == [word.region for word in other.words]


def test_images_without_files(store_path, bundle_path, gallery_path):
    """As a gallery of the same images scores them."""
    with FeatureStore.open(store_path) as store:
        records = store.read(store.ids())
    features, mask = pad_regions(records)
    ids = [record.id for record in records]
    with (
        shan_engine.from_regions(features, ids, bundle_path, region_mask=mask, device="cpu", threads=1) as engine,
        shan_engine.open(gallery_path, bundle_path, device="cpu", threads=1) as stored,
    ):
        assert engine.ids == ids
        np.testing.assert_allclose(engine.score(CAPTIONS), stored.score(CAPTIONS, ids=ids), atol=1e-5)
        hits, expected = engine.search("a dog", top_k=3), stored.search("a dog", top_k=3)
        assert [hit.image.id for hit in hits] == [hit.image.id for hit in expected]
        assert hits.hits[0].words
        assert len(engine.search("a dog", where="id like 'photo1%'", top_k=99)) == 11
        assert not engine.refresh()
        name = engine.gallery.blocks[0].name
    with shan_engine.from_regions(features * 2, ids, bundle_path, region_mask=mask, device="cpu") as other:
        assert other.gallery.blocks[0].name != name  # a job over other features is another job
    with shan_engine.from_regions(features[:1], ids[0], bundle_path, region_mask=mask[:1], device="cpu") as one:
        assert one.ids == ids[:1]


@pytest.mark.parametrize(
    ("shape", "ids", "said"),
    [
        ((2, 3, 7), ["a", "b"], "give ids x regions x 24"),
        ((2, 24), ["a", "b"], "give ids x regions x 24"),
        ((2, 3, 24), ["a"], "for 1 ids"),
        ((2, 3, 24), ["a", "a"], "ids repeat or are empty"),
        ((2, 3, 24), ["a", " "], "ids repeat or are empty"),
        ((0, 3, 24), [], "there are no images"),
    ],
)
def test_regions_that_do_not_fit(bundle_path, shape, ids, said):
    with pytest.raises(InputError, match=said):
        shan_engine.from_regions(np.zeros(shape, np.float32), ids, bundle_path)


def test_regions_that_are_not_finite(bundle_path):
    features = np.full((1, 2, 24), np.nan, np.float32)
    with pytest.raises(InputError, match="NaN or infinite"):
        shan_engine.from_regions(features, ["a"], bundle_path)
    with pytest.raises(InputError, match="region mask"):
        shan_engine.from_regions(np.ones((1, 2, 24)), ["a"], bundle_path, region_mask=np.zeros((1, 2), bool))


def test_the_log_says_what_was_chosen_and_why(gallery_path, bundle_path, caplog, monkeypatch):
    caplog.set_level(logging.INFO, logger="shan_engine")
    monkeypatch.setenv("SHAN_KERNEL", "off")
    with shan_engine.open(gallery_path, bundle_path, device="cpu", threads=1) as engine:
        engine.search("a dog")
    said = "\n".join(caplog.messages)
    assert f"gallery {gallery_path} (--gallery): 41 images" in said
    assert "the compiled kernel is not used: SHAN_KERNEL=off turns it off" in said
    assert "ONNX Runtime on cpu" in said
    assert "every one of 41 images is scored" in said


def test_auto_says_why_not_the_gpu(bundle_path, caplog):
    from shan_engine.bundle.contents import Bundle
    from shan_engine.scoring.scorer import Scorer

    caplog.set_level(logging.INFO, logger="shan_engine")
    with pytest.raises(shan_engine.BackendError, match="has no cuda support"):
        _ = Scorer(Bundle.open(bundle_path), "cuda", backend="auto").pairs
    assert any(message.startswith("the torch back end is not used: ") for message in caplog.messages)
