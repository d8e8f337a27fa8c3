"""A bundle's own querybank: hubness over the further parts of a score, which only searches subtract."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from gallery_scores import assert_same, by_id
from part_bundle import add_parts, add_querybank, indexed, make_seen_store
from shan_engine.base.errors import BundleError, GalleryError, InputError
from shan_engine.bundle.contents import Bundle
from shan_engine.engine import Engine
from shan_engine.evaluation.evaluate import Normalisation
from shan_engine.gallery.reader import Gallery
from shan_engine.indexing.images import BlockSizes, index_store
from shan_engine.indexing.querybank import Querybank
from shan_engine.kernel.library import variants
from shan_engine.scoring.scorer import Scorer
from shan_engine.store.feature_store import FeatureStore
from shan_engine.text.captions import CaptionTable
from tiny import CAPTIONS, WORDS

IMAGES, BETA, WEIGHT = 300, 9.0, 0.7
BANK = [f"a {one} {other}" for one in WORDS[:8] for other in WORDS[8:16]]


@pytest.fixture(scope="module")
def folder(bundle_path, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("bank")
    add_querybank(add_parts(Path(shutil.copytree(bundle_path, folder / "bundle"))), BANK, BETA, WEIGHT)
    make_seen_store(folder / "store", range(IMAGES)).close()
    return folder


@pytest.fixture(scope="module")
def own(folder) -> Scorer:
    return Scorer(Bundle.open(folder / "bundle"), "cpu", threads=1)


@pytest.fixture(scope="module")
def gallery(folder, own) -> Gallery:
    return indexed(folder, own, folder / "gallery")


@pytest.fixture(scope="module")
def hubness(own, gallery) -> dict[str, float]:
    """By the formula in float64, from the parts of each photo's score with each query of the bank alone."""
    found = {}
    captions = [own.encoders.encode_captions([own.encoders.read(query).tokens]) for query in BANK]
    for block in gallery.blocks:
        images = own.parts.read(block, block.rows)
        scores = np.stack([own.parts.totals(images, one, (len(block), 1))[:, 0] for one in captions]).astype(float)
        found |= dict(zip(block.ids, np.log(np.exp(BETA * scores).mean(0)) / BETA, strict=True))
    return found


def scores_of(engine, **options) -> dict[str, np.ndarray]:
    found = [engine.search(caption, top_k=IMAGES, explain=False, **options) for caption in CAPTIONS]
    columns = [{hit.image.id: hit.score for hit in hits} for hits in found]
    return {id: np.array([column[id] for column in columns]) for id in columns[0]}


def test_a_search_subtracts_weighted_hubness(own, gallery, hubness):
    engine = Engine(own, gallery)
    raw = scores_of(engine, normalise=False, exhaustive=True)
    assert np.std(list(hubness.values())) > 0.01
    expected = {id: scores - WEIGHT * hubness[id] for id, scores in raw.items()}
    assert_same(scores_of(engine, exhaustive=True), expected, 1e-5)


@pytest.mark.skipif(not variants(), reason="the kernel is not built")
def test_stages_find_what_an_exhaustive_search_finds(own, gallery):
    engine = Engine(own, gallery)
    for hits, whole in zip(
        engine.search_all(CAPTIONS, top_k=IMAGES),
        engine.search_all(CAPTIONS, top_k=IMAGES, exhaustive=True),
        strict=True,
    ):
        assert hits.stages
        assert not whole.stages
        assert {hit.image.id: pytest.approx(hit.score, abs=1e-5) for hit in hits} == {
            hit.image.id: hit.score for hit in whole
        }


@pytest.mark.skipif(not variants(), reason="the kernel is not built")
def test_stages_tell_a_changed_byte_of_hubness(own, gallery, tmp_path):
    path = Path(shutil.copytree(gallery.path, tmp_path / "gallery"))
    file = next(path.glob("blocks/*/bank_hubness.npy"))
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    engine = Engine(own, Gallery.open(path))
    with pytest.raises(GalleryError, match=r"bank_hubness.npy is damaged, its bytes are not those"):
        engine.search(CAPTIONS[0])
    content[-1] ^= 1
    file.write_bytes(content)
    assert len(engine.search(CAPTIONS[0]))  # what was wrong is read anew


def test_a_hit_tells_its_hubness(own, gallery, hubness):
    for hit in Engine(own, gallery).search(CAPTIONS[0], top_k=20):
        assert hit.hubness == pytest.approx(WEIGHT * hubness[hit.image.id], abs=1e-5)
        assert hit.score == pytest.approx(sum(hit.step_scores) - hit.hubness, abs=1e-5)


def test_score_and_evaluation_stay_raw(own, gallery, folder):
    engine = Engine(own, gallery)
    raw = scores_of(engine, normalise=False, exhaustive=True)
    assert_same(by_id(own, gallery, folder), raw, 1e-5)
    rows = engine.score(CAPTIONS)
    assert_same(dict(zip(engine.ids, rows, strict=True)), raw, 1e-5)


def test_evaluation_as_searched_ranks_as_a_search(own, gallery):
    ids = gallery.ids()[:40]
    rows = [("test", id, CAPTIONS[place % len(CAPTIONS)]) for place, id in enumerate(ids)]
    table = CaptionTable(Path("captions"), tuple(rows))
    engine = Engine(own, gallery)
    found = {as_searched: engine.evaluate(table, "test", as_searched=as_searched) for as_searched in (True, False)}
    for as_searched, outcome in found.items():
        hits = engine.search_all(CAPTIONS, top_k=IMAGES, exhaustive=True, normalise=as_searched)
        ranked = [[hit.image.id for hit in one if hit.image.id in ids] for one in hits]
        first = np.mean([ranked[place % len(CAPTIONS)].index(id) < 10 for place, id in enumerate(ids)])
        assert outcome.recall.image_retrieval[2] == pytest.approx(100 * first)
    assert found[True].recall.image_retrieval != found[False].recall.image_retrieval
    with pytest.raises(InputError, match="normalised once"):
        engine.evaluate(table, "test", as_searched=True, normalisation=Normalisation("test"))


def test_a_bank_given_to_index_takes_its_place(own, folder, gallery, tmp_path):
    bank = Querybank.of(BANK[:9], inverse_temperature=5)
    given = indexed(folder, own, tmp_path / "given", querybank=bank)
    engine = Engine(own, given)
    assert_same(scores_of(engine, exhaustive=True), by_id(own, given, tmp_path), 1e-5)
    without = scores_of(engine, exhaustive=True, normalise=False)
    assert_same(without, scores_of(Engine(own, gallery), exhaustive=True, normalise=False), 1e-5)


def test_its_queries_are_encoded_once_for_all_blocks(own, folder, tmp_path, monkeypatch):
    encoded, run = [], own.encoders.encode_captions
    monkeypatch.setattr(own.encoders, "encode_captions", lambda texts: encoded.append(len(texts)) or run(texts))
    assert len(indexed(folder, own, tmp_path / "gallery").blocks) == 3
    assert sum(encoded) == len(BANK)


def test_photos_added_later_and_filters_are_normalised_too(own, folder, hubness, tmp_path):
    with FeatureStore.open(folder / "store") as store:
        ids = [info.id for info in store.infos()]
    make_seen_store(tmp_path / "store", range(0, 200)).close()
    output = tmp_path / "gallery"
    with FeatureStore.open(tmp_path / "store") as store:
        index_store(store, own, output, sizes=BlockSizes(128))
    added = indexed(folder, own, output)
    assert sorted(added.ids()) == sorted(ids)
    engine = Engine(own, added)
    hits = engine.search(CAPTIONS[0], where="id like '%5'", top_k=IMAGES)
    assert 0 < len(hits) < IMAGES
    for hit in hits:
        assert hit.hubness == pytest.approx(WEIGHT * hubness[hit.image.id], abs=1e-5)


def test_a_manifest_without_the_banks_file_is_damaged(folder, tmp_path):
    bundle = Path(shutil.copytree(folder / "bundle", tmp_path / "bundle"))
    (bundle / "querybank.txt").unlink()
    with pytest.raises(BundleError, match=r"has no querybank\.txt"):
        Bundle.open(bundle)
