"""Search in steps against exhaustive search, on a gallery small enough for both."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from resigned import sign_again
from shan_engine.base.errors import GalleryError, InputError
from shan_engine.bundle.contents import Bundle
from shan_engine.gallery.reader import Gallery
from shan_engine.indexing.images import BlockSizes, index_store
from shan_engine.kernel.library import variants
from shan_engine.scoring.scorer import Scorer
from shan_engine.search.answer import search
from shan_engine.search.cascade import Cascade
from shan_engine.search.measure import tune_gallery
from shan_engine.search.query import Query
from shan_engine.search.tuning import TARGETS, StageWidths, Tuning, choose_widths
from shan_engine.store.feature_store import FeatureStore
from tiny import CAPTIONS, make_record, make_store

pytestmark = pytest.mark.skipif(not variants(), reason="the kernel is not built")
IMAGES = 300


@pytest.fixture(scope="module")
def coded(scorer, tmp_path_factory) -> Path:
    """A gallery with centroids and its store, in one folder; copy it before changing it."""
    folder = tmp_path_factory.mktemp("coded")
    with make_store(folder / "store", range(IMAGES)) as store:
        index_store(store, scorer, folder / "gallery", sizes=BlockSizes(128, centroids_from=100))
    return folder


@pytest.fixture
def copy(coded, tmp_path) -> Path:
    return Path(shutil.copytree(coded, tmp_path / "copy"))


NARROW = StageWidths(60, 20)  # leaves most images out


def ranked(found) -> list[tuple[str, float]]:
    return [(hit.image.id, hit.score) for hit in found.hits]


def test_a_search_that_leaves_nothing_out_is_the_exhaustive_one(scorer, coded):
    gallery = Gallery.open(coded / "gallery")
    steps = search(scorer, gallery, CAPTIONS, top_k=12, recall_target=1.0)
    for found, wanted in zip(steps, search(scorer, gallery, CAPTIONS, top_k=12, exhaustive=True), strict=True):
        assert [id for id, _ in ranked(found)] == [id for id, _ in ranked(wanted)]
        np.testing.assert_allclose([s for _, s in ranked(found)], [s for _, s in ranked(wanted)], atol=1e-5)
        assert wanted.stages is None
        assert (found.stages.first_pass, found.stages.step_1) == (IMAGES, IMAGES)
        assert found.hits[0].words == wanted.hits[0].words


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8"])
def test_few_images_seen_have_their_exact_scores(scorer, coded, tmp_path, dtype):
    with FeatureStore.open(coded / "store") as store:
        index_store(store, scorer, tmp_path / "gallery", dtype=dtype, sizes=BlockSizes(centroids_from=100))
    gallery = Gallery.open(tmp_path / "gallery")
    together = search(scorer, gallery, CAPTIONS, top_k=10, widths=NARROW)
    exact = search(scorer, gallery, CAPTIONS, top_k=IMAGES, exhaustive=True)
    overlap = []
    for caption, found, wanted in zip(CAPTIONS, together, exact, strict=True):
        scores = dict(ranked(wanted))
        assert ranked(found) == ranked(search(scorer, gallery, [caption], top_k=10, widths=NARROW)[0])
        for id, score in ranked(found):
            assert score == pytest.approx(scores[id], abs=1e-5)
        assert (found.stages.step_1, found.stages.all_steps, found.stages.proven) == (60, 20, False)
        overlap.append(len({id for id, _ in ranked(found)} & {id for id, _ in ranked(wanted)[:10]}))
    assert np.mean(overlap) > 6  # by chance: 0.7


def test_step_1_is_the_scorers_own(scorer, coded):
    gallery = Gallery.open(coded / "gallery")
    stages, places = Cascade(scorer, gallery), np.array([0, 5, 127, 128, 299])
    for caption in CAPTIONS:
        encoded = scorer.encoders.encode_captions([scorer.encoders.tokens(caption)])
        rows = [(block, row) for block in gallery.blocks for row in range(len(block))]
        expected = [scorer.explain(scorer.encoders.complete(rows[p][0].rows_of([rows[p][1]])), encoded) for p in places]
        np.testing.assert_allclose(
            stages.step_1(encoded, places), [one["step_scores"][0, 0, 0] for one in expected], atol=1e-5
        )
        np.testing.assert_allclose(
            stages.all_steps(encoded, places), [one["scores"][0, 0] for one in expected], atol=1e-5
        )


def test_the_first_pass_is_step_1_of_the_centroids(scorer, coded):
    """Up to the lengths of attended regions: with one region, whose length is 1, it is exact."""
    gallery = Gallery.open(coded / "gallery")
    stages = Cascade(scorer, gallery)
    centroids, (codes, counts) = stages._centroids.vectors, stages._codes
    single = np.flatnonzero(counts == 1)
    for caption in CAPTIONS:
        encoded = scorer.encoders.encode_captions([scorer.encoders.tokens(caption)])
        images = {"image_regions": centroids[codes[single, :1]], "region_mask": np.ones((len(single), 1), np.bool_)}
        expected = scorer.explain(scorer.encoders.complete(images), encoded)["step_scores"][:, 0, 0]
        np.testing.assert_allclose(stages.first_pass([encoded])[single, 0], expected, atol=1e-5)


def test_images_come_and_go_without_new_centroids(scorer, copy):
    before = Gallery.open(copy / "gallery").manifest.centroids
    with FeatureStore.open(copy / "store", readonly=False) as store:
        store.delete(["photo7", "photo200"])
        store.write([make_record(number, seed=1) for number in (3, 150)])
        store.write([make_record(number) for number in range(IMAGES, IMAGES + 40)])
        result = index_store(store, scorer, copy / "gallery", sizes=BlockSizes(centroids_from=100))
    assert (result.added, result.removed) == (42, 4)
    gallery = Gallery.open(copy / "gallery")
    assert gallery.manifest.centroids == before
    stages = Cascade(scorer, gallery)
    for block, end in zip(gallery.blocks, gallery.ends, strict=True):
        stored = block.rows_of(np.arange(len(block)))
        codes = stages._centroids.codes(stored["image_regions"], stored["region_mask"])
        np.testing.assert_array_equal(stages._codes[0][end - len(block) : end], codes)
    exact = search(scorer, gallery, CAPTIONS, top_k=IMAGES + 38, exhaustive=True)
    for found, wanted in zip(search(scorer, gallery, CAPTIONS, top_k=5, widths=NARROW), exact, strict=True):
        scores = dict(ranked(wanted))
        assert not {"photo7", "photo200"} & scores.keys()
        assert all(score == pytest.approx(scores[id], abs=1e-5) for id, score in ranked(found))


def test_a_run_stopped_while_it_makes_codes_goes_on(scorer, coded, tmp_path):
    sizes = BlockSizes(128, centroids_from=100)
    totals: list[int] = []

    def stop(done: int) -> None:
        if done > IMAGES + 128:
            raise KeyboardInterrupt

    with FeatureStore.open(coded / "store") as store:
        with pytest.raises(KeyboardInterrupt):
            index_store(store, scorer, tmp_path / "gallery", sizes=sizes, on_start=totals.append, on_images=stop)
        half = Gallery.open(tmp_path / "gallery")
        assert (len(half), half.manifest.centroids) == (IMAGES, "")
        assert search(scorer, half, ["a dog"])[0].stages is None
        result = index_store(store, scorer, tmp_path / "gallery", sizes=sizes, on_start=totals.append)
    assert (result.added, result.unchanged) == (0, IMAGES)
    assert totals == [2 * IMAGES, IMAGES]
    assert search(scorer, Gallery.open(tmp_path / "gallery"), ["a dog"])[0].stages is not None


def test_what_is_proven_holds(local_bundle, coded, tmp_path):
    """With step 1 alone in the model, whoever has seen all of it has seen all there is."""
    scorer = Scorer(Bundle.open(local_bundle), "cpu", threads=1)
    with FeatureStore.open(coded / "store") as store:
        index_store(store, scorer, tmp_path / "gallery", sizes=BlockSizes(centroids_from=100))
    gallery = Gallery.open(tmp_path / "gallery")
    for width, proven in ((IMAGES, True), (50, False)):
        asked = [*CAPTIONS, Query.of("a dog", also=["man:0.5"], without=["grass"])]
        steps = search(scorer, gallery, asked, top_k=10, widths=StageWidths(width, 10))
        assert {found.stages.proven for found in steps} == {proven}
        for found, wanted in zip(steps, search(scorer, gallery, asked, exhaustive=True), strict=True):
            if proven:
                assert [id for id, _ in ranked(found)] == [id for id, _ in ranked(wanted)]
                np.testing.assert_allclose([s for _, s in ranked(found)], [s for _, s in ranked(wanted)], atol=1e-5)


def test_tuning_meets_its_targets(scorer, copy, monkeypatch):
    monkeypatch.setattr("shan_engine.search.tuning.LEAST_STEP_1", 1)
    monkeypatch.setattr("shan_engine.search.tuning.LEAST_ALL_STEPS", 1)
    gallery = Gallery.open(copy / "gallery")
    seen: list[int] = []
    tuning = tune_gallery(scorer, gallery, CAPTIONS, on_pairs=seen.append)
    assert seen == sorted(seen)
    assert seen[-1] == 2 * IMAGES * len(CAPTIONS)
    assert tuning == Tuning.load(copy / "gallery")
    exact = [{hit.image.id for hit in found.hits} for found in search(scorer, gallery, CAPTIONS, exhaustive=True)]
    widths = []
    for target in TARGETS:
        steps = search(scorer, gallery, CAPTIONS, recall_target=target)
        widths.append(steps[0].stages.step_1)
        shares = [len({h.image.id for h in found.hits} & held) / 10 for found, held in zip(steps, exact, strict=True)]
        assert np.mean(shares) >= target
    assert widths == sorted(widths)
    assert widths[0] < IMAGES


@pytest.mark.parametrize("target", [0.0, -1.0, 1.01, float("nan")])
def test_a_target_that_is_no_share_is_refused(scorer, coded, target):
    with pytest.raises(InputError, match="give a share of the hits"):
        search(scorer, Gallery.open(coded / "gallery"), ["a dog"], recall_target=target)


SOUND_TUNING = {"images": 24, "queries": 3, "top_k": 10, "step_1": [0.5] * 7, "all_steps": [10] * 7}


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[]",
        '{"images": 5}',
        *(
            json.dumps({**SOUND_TUNING, **change})
            for change in (
                {"top_k": 0},
                {"top_k": -1},
                {"images": True},
                {"step_1": [0.5] * 6},
                {"step_1": [1e308] * 7},
                {"step_1": [10**400] * 7},
                {"step_1": [float("nan")] * 7},
                {"all_steps": [10**400] * 7},
                {"all_steps": [0] * 7},
                {"more": 1},
            )
        ),
    ],
)
def test_a_damaged_tuning_is_named(copy, content):
    assert choose_widths(copy / "gallery", 10**6, 10, 0.99).step_1 < 10**6
    (copy / "gallery" / "tuning.json").write_text(content)
    with pytest.raises(GalleryError, match=r"tuning\.json is damaged"):
        choose_widths(copy / "gallery", 10**6, 10, 0.99)


@pytest.mark.parametrize("pattern", ["centroids-*.npy", "blocks/*/codes-*.npy"])
def test_damaged_codes_are_named_and_an_exhaustive_search_goes_on(scorer, copy, pattern):
    file = next((copy / "gallery").glob(pattern))
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    gallery = Gallery.open(copy / "gallery")
    with pytest.raises(GalleryError, match=rf"{file.name} is damaged"):
        search(scorer, gallery, ["a dog"])
    assert len(search(scorer, gallery, ["a dog"], exhaustive=True)[0].hits) == 10


def test_a_score_that_is_no_number_names_the_image(scorer, copy):
    file = sorted((copy / "gallery").glob("blocks/*/image_regions.npy"))[0]
    array = np.load(file)
    array[5] = np.nan
    np.save(file, array)
    sign_again(copy / "gallery")
    gallery = Gallery.open(copy / "gallery")
    block = next(block for block in gallery.blocks if np.isnan(block.files["image_regions"]).any())
    with pytest.raises(GalleryError, match=f"image '{block.ids[5]}' of the gallery .* has a NaN or infinite score"):
        search(scorer, gallery, CAPTIONS)


def test_without_the_kernel_all_images_are_scored(bundle_path, coded, monkeypatch):
    monkeypatch.setenv("SHAN_KERNEL", "off")
    scorer = Scorer(Bundle.open(bundle_path), "cpu", threads=1)
    gallery = Gallery.open(coded / "gallery")
    assert scorer.kernel is None
    (found,) = search(scorer, gallery, ["a dog"])
    assert found.stages is None
    with pytest.raises(InputError, match="nothing to tune"):
        tune_gallery(scorer, gallery, ["a dog"])
    monkeypatch.delenv("SHAN_KERNEL")
    (same,) = search(Scorer(Bundle.open(bundle_path), "cpu", threads=1), gallery, ["a dog"], recall_target=1.0)
    np.testing.assert_allclose([s for _, s in ranked(found)], [s for _, s in ranked(same)], atol=1e-5)
