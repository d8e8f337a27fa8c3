"""Galleries whose scores are normalised by a querybank: a plain gallery's scores, less every image's hubness."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock
from gallery_scores import by_id
from hypothesis import given
from hypothesis import strategies as st
from shan_engine.base.errors import GalleryError, InputError
from shan_engine.bundle.contents import Bundle
from shan_engine.gallery.reader import Gallery
from shan_engine.indexing.copy import gallery_facts, merge_galleries, split_gallery
from shan_engine.indexing.images import BlockSizes, index_store
from shan_engine.indexing.querybank import FILE, Querybank
from shan_engine.jobs.run import score_job
from shan_engine.kernel.library import variants
from shan_engine.scoring.scorer import Scorer
from shan_engine.search.answer import search
from shan_engine.search.cascade import Cascade
from shan_engine.search.measure import tune_gallery
from shan_engine.search.photo_query import QueryPhoto
from shan_engine.search.query import Phrase, Query
from shan_engine.search.tuning import StageWidths
from shan_engine.store.feature_store import FeatureStore
from shan_engine.text.query_files import numbered
from tiny import CAPTIONS, WORDS, make_store

IMAGES = 300
BETA = 7.0
BANK = Querybank.of([f"a {one} {other}" for one in WORDS[:10] for other in WORDS[10:]], inverse_temperature=BETA)


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("querybank") / "store"
    make_store(path, range(IMAGES)).close()
    return path


def indexed(scorer, store, output, bank=None, dtype=None) -> Gallery:
    sizes = BlockSizes(128, staged_from=100)
    with FeatureStore.open(store) as opened:
        index_store(opened, scorer, output, dtype=dtype, querybank=bank, sizes=sizes)
    return Gallery.open(output)


@pytest.fixture(scope="module")
def plain(scorer, store) -> Gallery:
    return indexed(scorer, store, store.parent / "plain")


@pytest.fixture(scope="module")
def normalised(scorer, store) -> Gallery:
    return indexed(scorer, store, store.parent / "normalised", BANK)


@pytest.fixture(scope="module")
def hubness(scorer, plain, store) -> dict[str, float]:
    """By the formula in float64, from the scores that `score` writes for the bank's captions."""
    scores = by_id(scorer, plain, store.parent, BANK.captions)
    return {id: np.log(np.exp(BETA * row.astype(np.float64)).mean()) / BETA for id, row in scores.items()}


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8"])
def test_scores_are_less_the_hubness(scorer, store, hubness, tmp_path, dtype):
    found = by_id(scorer, indexed(scorer, store, tmp_path / "g", BANK, dtype), tmp_path)
    raw = by_id(scorer, indexed(scorer, store, tmp_path / "raw", dtype=dtype), tmp_path)
    assert np.std(list(hubness.values())) > 0.01
    for id, scores in raw.items():  # the hubness is that of the images before they are rounded
        np.testing.assert_allclose(found[id], scores - hubness[id], rtol=0, atol=2e-5, err_msg=id)


def test_a_hits_parts_are_its_score_and_hubness(scorer, plain, normalised, hubness):
    (found,), (raw,) = (search(scorer, gallery, CAPTIONS[:1], top_k=IMAGES) for gallery in (normalised, plain))
    scores = {hit.image.id: hit.score for hit in raw.hits}
    assert {hit.hubness for hit in raw.hits} == {None}
    assert [hit.image.id for hit in found.hits] != [hit.image.id for hit in raw.hits]
    for hit in found.hits:
        assert hit.hubness == pytest.approx(hubness[hit.image.id], abs=1e-5)
        assert hit.score == pytest.approx(scores[hit.image.id] - hubness[hit.image.id], abs=2e-5)
        assert sum(hit.step_scores) - hit.hubness == pytest.approx(hit.score, abs=2e-5)


def photo_of(gallery, place):
    block, row = gallery.find(place)
    return QueryPhoto(Path("photo.jpg"), block.rows_of([row]), block.boxes(row))


@pytest.mark.skipif(not variants(), reason="the kernel is not built")
@pytest.mark.parametrize("parts", ["one", "several"])
def test_a_search_in_steps_is_the_exhaustive_one(scorer, plain, normalised, hubness, parts):
    questions = [Query((Phrase(caption),)) for caption in CAPTIONS]
    if parts == "several":  # weights of phrases sum to 0.6
        phrases = (Phrase(CAPTIONS[0]), Phrase(CAPTIONS[1], 0.4), Phrase(CAPTIONS[2], -0.8))
        questions = [Query(phrases, photo_of(normalised, 40), 0.5)]
    exact, raw = (search(scorer, g, questions, top_k=IMAGES, exhaustive=True) for g in (normalised, plain))
    weight = 0.6 if parts == "several" else 1.0
    for one, other in zip(exact, raw, strict=True):
        scores = {hit.image.id: hit.score for hit in other.hits}
        for hit in one.hits:
            assert hit.score == pytest.approx(scores[hit.image.id] - weight * hubness[hit.image.id], abs=3e-5)
    for widths in (StageWidths(IMAGES, IMAGES), StageWidths(120, 40)):
        for found, wanted in zip(search(scorer, normalised, questions, top_k=10, widths=widths), exact, strict=True):
            scores = {hit.image.id: hit.score for hit in wanted.hits}
            ids = [hit.image.id for hit in found.hits]
            assert found.stages.step_1 == widths.step_1
            for hit in found.hits:
                assert hit.score == pytest.approx(scores[hit.image.id], abs=2e-5)
                assert sum(hit.step_scores) - hit.hubness == pytest.approx(hit.score, abs=3e-5)
            if widths.step_1 == IMAGES:
                assert ids == [hit.image.id for hit in wanted.hits[:10]]


@pytest.mark.skipif(not variants(), reason="the kernel is not built")
def test_tuning_measures_normalised_ranks(scorer, normalised):
    tuning = tune_gallery(scorer, normalised, CAPTIONS, top_k=10)
    ranks = []
    for hits in search(scorer, normalised, CAPTIONS, top_k=10, exhaustive=True):
        every = search(scorer, normalised, [hits.query], top_k=IMAGES, exhaustive=True)[0]
        local = {hit.image.id: hit.step_scores[0] - hit.hubness for hit in every.hits}
        ranks += [sum(score >= local[hit.image.id] for score in local.values()) for hit in hits.hits]
    assert tuning.all_steps[-1] == max(ranks)
    (normalised.path / "tuning.json").unlink()


@pytest.mark.skipif(find_spec("triton") is None, reason="needs Triton")
def test_a_held_gallery_is_normalised(scorer, bundle_path, normalised):
    on_torch = Scorer(Bundle.open(bundle_path), "cpu", backend="torch", threads=1)
    some = normalised.restricted_to(["photo0", "photo3", "photo200", "photo299"])
    (found,), (wanted,) = (search(one, some, CAPTIONS[:1], exhaustive=True) for one in (on_torch, scorer))
    assert [hit.image.id for hit in found.hits] == [hit.image.id for hit in wanted.hits]
    np.testing.assert_allclose([hit.score for hit in found.hits], [hit.score for hit in wanted.hits], atol=1e-5)
    photos = [Query((Phrase("a dog"), Phrase("grass", 2.0)))]
    (found,), (wanted,) = (search(one, some, photos, exhaustive=True, explain=False) for one in (on_torch, scorer))
    np.testing.assert_allclose([hit.score for hit in found.hits], [hit.score for hit in wanted.hits], atol=2e-5)


def test_images_that_come_later_are_normalised_by_the_same(scorer, normalised, tmp_path):
    with make_store(tmp_path / "first", range(200)) as store:
        index_store(store, scorer, tmp_path / "g", querybank=BANK)
    with make_store(tmp_path / "all", range(IMAGES)) as store:
        result = index_store(store, scorer, tmp_path / "g")
        assert (result.added, result.unchanged) == (100, 200)
        assert index_store(store, scorer, tmp_path / "g", querybank=BANK).added == 0
        with pytest.raises(InputError, match="is normalised by another querybank: leave --querybank out"):
            index_store(store, scorer, tmp_path / "g", querybank=Querybank.of(["a dog"]))
        index_store(store, scorer, tmp_path / "raw")
        with pytest.raises(InputError, match="is not normalised: leave --querybank out"):
            index_store(store, scorer, tmp_path / "raw", querybank=BANK)
        (tmp_path / "g" / FILE).write_text((tmp_path / "g" / FILE).read_text().replace("a dog", "a fog"))
        with pytest.raises(GalleryError, match=r"querybank\.json is damaged .* index the store into a new"):
            index_store(store, scorer, tmp_path / "g")
    found, wanted = (by_id(scorer, gallery, tmp_path) for gallery in (Gallery.open(tmp_path / "g"), normalised))
    for id, scores in wanted.items():
        np.testing.assert_allclose(found[id], scores, rtol=0, atol=1e-5, err_msg=id)


def test_parts_and_merged_galleries_stay_normalised(scorer, store, normalised, plain, tmp_path):
    paths = split_gallery(normalised, 2, tmp_path / "parts")
    merged = merge_galleries([Gallery.open(path) for path in paths], tmp_path / "merged")
    for gallery in (merged, Gallery.open(paths[0])):
        assert gallery_facts(gallery)["normalised_by_captions"] == len(BANK.captions)
        assert Querybank.of_gallery(gallery) == BANK
    found, wanted = (by_id(scorer, gallery, tmp_path) for gallery in (merged, normalised))
    assert all(np.array_equal(found[id], wanted[id]) for id in wanted)
    with FeatureStore.open(store) as opened:
        assert index_store(opened, scorer, merged.path).unchanged == IMAGES
    other = split_gallery(plain, 2, tmp_path / "plain")[1]
    with pytest.raises(InputError, match="are not normalised by the same querybank"):
        merge_galleries([Gallery.open(paths[0]), Gallery.open(other)], tmp_path / "mixed")
    assert gallery_facts(plain)["normalised_by_captions"] == 0


def test_a_job_over_galleries_of_another_normalisation_is_refused(scorer, normalised, plain, tmp_path):
    with pytest.raises(InputError, match="are not normalised by the same querybank"):
        score_job(scorer, [normalised, plain], numbered(CAPTIONS), tmp_path / "scores.npy")
    assert not list(tmp_path.iterdir())


def test_a_refused_bank_writes_nothing(scorer, store, tmp_path):
    with FeatureStore.open(store) as opened, pytest.raises(InputError, match="knows no word of the querybank"):
        index_store(opened, scorer, tmp_path / "g", querybank=Querybank.of(["xyzzy", "qwxzy plugh"]))
    assert not (tmp_path / "g").exists()


def test_a_bank_is_read_as_queries_are(scorer):
    """Typing errors, too many words, none that is known: what people typed."""
    images = scorer.encoders.encode_images(np.ones((2, 3, 24), np.float32), np.ones((2, 3), np.bool_))
    typed = Querybank.of([f"A {WORDS[0].upper()}", "xyzzy", f"{WORDS[1]} " * 500])
    meant = Querybank.of([f"a {WORDS[0]}", " ".join([WORDS[1]] * (scorer.bundle.manifest.max_words - 2))])
    np.testing.assert_array_equal(typed.measure(scorer)(images), meant.measure(scorer)(images))


@pytest.mark.parametrize("where", ["Querybank.save", "GalleryManifest.save", "write_block"])
def test_a_run_stopped_before_its_first_block_stays_normalised(scorer, store, normalised, tmp_path, monkeypatch, where):
    class Stop(BaseException):
        pass

    def stop(*arguments, **options):
        raise Stop

    with FeatureStore.open(store) as opened:
        with monkeypatch.context() as patch:
            patch.setattr(f"shan_engine.indexing.images.{where}", stop)
            with pytest.raises(Stop):
                index_store(opened, scorer, tmp_path / "g", querybank=BANK)
        began = (tmp_path / "g" / FILE).exists()
        assert began == (where != "Querybank.save")
        index_store(opened, scorer, tmp_path / "g", querybank=None if began else BANK)
    assert Querybank.of_gallery(Gallery.open(tmp_path / "g")) == BANK
    found, wanted = (by_id(scorer, gallery, tmp_path) for gallery in (Gallery.open(tmp_path / "g"), normalised))
    for id, scores in wanted.items():
        np.testing.assert_allclose(found[id], scores, rtol=0, atol=1e-5, err_msg=id)


def test_who_comes_second_goes_by_the_bank_of_the_first(scorer, store, tmp_path, monkeypatch):
    """Another run makes the gallery after this one has looked and before it has the lock."""
    with FeatureStore.open(store) as opened:

        class Lock(FileLock):
            def acquire(self):
                monkeypatch.setattr("shan_engine.base.locks.FileLock", FileLock)
                index_store(opened, scorer, tmp_path / "g", querybank=Querybank.of(["a dog"]))
                return super().acquire()

        monkeypatch.setattr("shan_engine.base.locks.FileLock", Lock)
        with pytest.raises(InputError, match="is normalised by another querybank"):
            index_store(opened, scorer, tmp_path / "g", querybank=BANK)


@pytest.mark.skipif(not variants(), reason="the kernel is not built")
@pytest.mark.parametrize("taken", [-3, 3])
@pytest.mark.parametrize(("step_1", "proven"), [(IMAGES, True), (50, False)])
def test_what_is_proven_holds(local_bundle, store, tmp_path, monkeypatch, taken, step_1, proven):
    """With step 1 alone in the model, who has seen all of it has seen all there is, whatever is taken from scores."""
    local = Scorer(Bundle.open(local_bundle), "cpu", threads=1)
    gallery = indexed(local, store, tmp_path / "g", BANK)
    monkeypatch.setattr(Cascade, "hubness", np.full(IMAGES, taken, np.float32))
    widths = StageWidths(step_1, 10)
    for found in search(local, gallery, CAPTIONS, top_k=10, explain=False, widths=widths):
        assert found.stages.proven is proven


@given(st.lists(st.lists(st.floats(-3, 3, width=32), min_size=3, max_size=3), min_size=1, max_size=9), st.floats(-3, 4))
def test_hubness_is_the_formula_for_any_beta(scores, exponent):
    beta = 10**exponent
    rows = np.array(scores, np.float32)
    exact = np.array(scores, np.longdouble)
    highest = exact.max(axis=0)
    expected = highest + np.log(np.exp(beta * (exact - highest)).mean(axis=0)) / beta
    np.testing.assert_allclose(Querybank(("a",), beta).hubness(rows), expected.astype(float), rtol=0, atol=1e-6)


def test_banks_are_evenly_spread_and_not_of_nothing(tmp_path):
    assert Querybank.of("abcdefg", size=3).captions == ("a", "c", "e")
    assert Querybank.of(("c", "d"), size=9) == Querybank(("c", "d"), 20.0)
    for captions in ((), ("a",)):
        with pytest.raises(InputError, match="a querybank must have captions"):
            Querybank.of(captions, size=len(captions) - 1)
    for beta in (0, np.nan, np.inf, 1e5, -1):
        with pytest.raises(InputError, match=r"the inverse temperature is .*: choose one from 0\.001 to 10,000"):
            Querybank.of(("a",), inverse_temperature=beta)
    with pytest.raises(InputError, match=r"log\.csv is not a querybank: give a \.txt file"):
        Querybank.read(tmp_path / "log.csv")


def test_the_file_says_what_was_taken(normalised):
    held = json.loads((normalised.path / FILE).read_text())
    assert held["captions"] == list(BANK.captions)
    assert held["inverse_temperature"] == BETA
