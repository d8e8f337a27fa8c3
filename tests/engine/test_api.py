"""The engine from Python."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import shan_engine
from installed import environment
from shan_engine.base.errors import GalleryError, InputError
from shan_engine.base.facts import FACTS
from shan_engine.base.metadata import Metadata
from shan_engine.gallery.reader import Gallery
from shan_engine.indexing.captions import index_captions
from shan_engine.indexing.images import index_store
from shan_engine.search.answer import search
from shan_engine.store.feature_store import FeatureStore
from tiny import CAPTIONS


@pytest.fixture(scope="module")
def described(seeing, album, tmp_path_factory):
    """A gallery of `album` with metadata."""
    import shutil

    folder = tmp_path_factory.mktemp("described")
    shutil.copytree(album / "store", folder / "store")
    with FeatureStore.open(folder / "store", readonly=False) as store:
        rows = {f"{number:02}.png": (2000 + number, None if number % 2 else "CC0") for number in range(24)}
        store.put_metadata(Metadata({"year": "INTEGER", "licence": "TEXT"}, rows))
        index_store(store, seeing, folder / "gallery")
    return folder / "gallery"


@pytest.fixture
def engine(described, seeing_bundle):
    with shan_engine.open(described, seeing_bundle, device="cpu", threads=1) as opened:
        yield opened


def test_a_search_is_the_engines_own(engine, seeing, described, album):
    gallery = Gallery.open(described)
    assert len(engine) == 24
    assert engine.ids == gallery.ids()
    assert engine.columns == ["id", "path", "year", "licence", *FACTS]
    found = engine.search("a dog", top_k=5)
    assert found == search(seeing, gallery, ["a dog"], top_k=5)[0]
    assert [hit.rank for hit in found] == [1, 2, 3, 4, 5]
    assert len(found) == 5
    assert engine.search_all(CAPTIONS, top_k=2) == search(seeing, gallery, CAPTIONS, top_k=2)
    asked = engine.photo(album / "photos" / "05.png")
    assert engine.search(image=album / "photos" / "05.png") == engine.search(image=asked)
    assert engine.search(image=asked).hits[0].image.id == "05.png"
    both = engine.search(
        "a dog", also=["grass:0.5"], without=["man"], image=asked, image_weight=0.3, where="year > 2010"
    )
    assert both.query == "a dog, with grass (0.5), without man (0.4), like 05.png (0.3)"
    assert both.matching == 13


def test_results_are_records_and_tables(engine):
    found = engine.search("a dog", top_k=4, where="year >= 2004")
    records = found.records()
    assert list(records[0]) == ["rank", "score", "id", "path", "year", "licence", *FACTS]
    for record, hit in zip(records, found, strict=True):
        assert (record["rank"], record["score"], record["id"]) == (hit.rank, hit.score, hit.image.id)
        assert record["year"] == 2000 + int(hit.image.id[:2])
    array = found.to_numpy()
    assert array["id"].tolist() == [hit.image.id for hit in found]
    assert array["score"].dtype == np.float32
    np.testing.assert_allclose(array["score"], [hit.score for hit in found])
    assert found.to_arrow().to_pylist() == records
    nothing = engine.search("a dog", where="year < 0")
    assert (nothing.hits, nothing.records(), len(nothing.to_numpy())) == ((), [], 0)
    assert nothing.to_arrow().num_rows == 0


def test_scores_are_images_by_captions(engine, seeing):
    scores = engine.score(CAPTIONS)
    assert scores.shape == (24, len(CAPTIONS))
    for column, caption in enumerate(CAPTIONS):
        for hit in engine.search(caption, top_k=24, exhaustive=True, explain=False):
            assert scores[engine.ids.index(hit.image.id), column] == pytest.approx(hit.score, abs=1e-5)
    some = ["11.png", "02.png", "11.png"]
    np.testing.assert_allclose(engine.score(CAPTIONS, ids=some), scores[[11, 2, 11]], atol=1e-5)
    assert engine.score(CAPTIONS, ids=[]).shape == (0, len(CAPTIONS))
    with pytest.raises(InputError, match=r"no image 'x\.png'"):
        engine.score(CAPTIONS, ids=["x.png"])


def test_vectors_are_mean_regions(engine, described):
    block = Gallery.open(described).blocks[0]
    regions = block.rows_of([3])["image_regions"][0]
    vectors = engine.vectors()
    assert vectors.shape == (24, regions.shape[1])
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    mean = regions.mean(axis=0)
    np.testing.assert_allclose(vectors[3], mean / np.linalg.norm(mean), atol=1e-6)


def test_captions_are_searched_with_a_photo(seeing, seeing_bundle, album, described, tmp_path):
    (tmp_path / "captions.txt").write_text("\n".join(CAPTIONS))
    index_captions(tmp_path / "captions.txt", seeing, tmp_path / "captions")
    with shan_engine.open_captions(tmp_path / "captions", seeing_bundle, device="cpu") as engine:
        assert len(engine) == len(CAPTIONS)
        found = engine.search(album / "photos" / "05.png", top_k=2)
        assert found.hits[0].caption in CAPTIONS
        assert found.hits[0].score > found.hits[1].score
    with pytest.raises(GalleryError, match="is a gallery of captions"):
        shan_engine.open(tmp_path / "captions", seeing_bundle)
    with pytest.raises(GalleryError, match="is a gallery of photos"):
        shan_engine.open_captions(described, seeing_bundle)


def test_a_filter_is_looked_at_before_the_photo(engine):
    with pytest.raises(InputError, match="no such column: yeer"):
        engine.search(image="nowhere.jpg", where="yeer > 1")
    with pytest.raises(InputError, match="no photo nowhere"):
        engine.search(image="nowhere.jpg", where="year > 1")


def test_importing_the_engine_loads_next_to_nothing():
    code = (
        "import sys, shan_engine; assert 'numpy' not in sys.modules; shan_engine.open;"
        "assert 'torch' not in sys.modules; assert 'pyarrow' not in sys.modules; shan_engine.nothing"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment())
    assert done.stderr.rstrip().endswith("AttributeError: module 'shan_engine' has no attribute 'nothing'")


def test_a_search_with_words_loads_neither_sqlite_nor_images():
    """They would make every search start later."""
    code = (
        "import sys; sys.argv = ['shan-engine', 'search', 'a dog']\n"
        "from shan_cli.main import app\n"
        "try: app()\n"
        "except SystemExit: pass\n"
        "late = {'sqlite3', 'PIL', 'pyarrow', 'torch', 'lmdb'} & set(sys.modules)\n"
        "assert not late, late"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment())
    assert done.returncode == 0, done.stderr
