"""Search in stages against exhaustive search, on a gallery small enough for both."""

from __future__ import annotations

import numpy as np
import pytest
from msgspec import structs
from resigned import sign_again
from shan_engine.base.errors import GalleryError, InputError
from shan_engine.bundle.contents import Bundle
from shan_engine.gallery.manifest import GalleryManifest
from shan_engine.gallery.pooled import POOLED_FILES, has_pooled
from shan_engine.gallery.reader import Gallery
from shan_engine.indexing.images import BlockSizes, index_store
from shan_engine.indexing.querybank import Querybank
from shan_engine.kernel.library import variants
from shan_engine.scoring.scorer import Scorer
from shan_engine.search.answer import search
from shan_engine.search.cascade import Cascade
from shan_engine.search.measure import tune_gallery
from shan_engine.search.query import EncodedClause, Query
from shan_engine.search.tuning import StageWidths
from shan_engine.store.feature_store import FeatureStore
from tiny import CAPTIONS, make_record, make_store

pytestmark = pytest.mark.skipif(not variants(), reason="the kernel is not built")
IMAGES = 300  # of the gallery `staged`
NARROW = StageWidths(60, 20)  # leaves most images out


def ranked(found) -> list[tuple[str, float]]:
    return [(hit.image.id, hit.score) for hit in found.hits]


def test_a_search_that_leaves_nothing_out_is_the_exhaustive_one(scorer, staged):
    gallery = Gallery.open(staged / "gallery")
    steps = search(scorer, gallery, CAPTIONS, top_k=12, recall_target=1.0)
    for found, wanted in zip(steps, search(scorer, gallery, CAPTIONS, top_k=12, exhaustive=True), strict=True):
        assert [id for id, _ in ranked(found)] == [id for id, _ in ranked(wanted)]
        np.testing.assert_allclose([s for _, s in ranked(found)], [s for _, s in ranked(wanted)], atol=1e-5)
        assert wanted.stages is None
        assert (found.stages.first_pass, found.stages.step_1) == (IMAGES, IMAGES)
        assert found.hits[0].words == wanted.hits[0].words


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8"])
def test_few_images_seen_have_their_exact_scores(scorer, staged, tmp_path, dtype):
    with FeatureStore.open(staged / "store") as store:
        index_store(store, scorer, tmp_path / "gallery", dtype=dtype, sizes=BlockSizes(staged_from=100))
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


def test_step_1_is_the_scorers_own(scorer, staged):
    gallery = Gallery.open(staged / "gallery")
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


def test_the_first_pass_is_the_mean_region_by_the_mean_word(scorer, staged):
    gallery = Gallery.open(staged / "gallery")
    stages, (a, b) = Cascade(scorer, gallery), (scorer.constants.region_weight, scorer.constants.word_weight)
    stored = [block.rows_of(np.arange(len(block))) for block in gallery.blocks]
    regions, mask = (np.concatenate([one[name] for one in stored]) for name in ("image_regions", "region_mask"))
    means = np.stack([own[real].mean(axis=0) for own, real in zip(regions, mask, strict=True)])
    expected, clauses = np.zeros(IMAGES), []
    for caption, weight in zip(CAPTIONS, (1.0, 0.5, -0.4), strict=False):
        encoded = scorer.encoders.encode_captions([scorer.encoders.tokens(caption)])
        mean = encoded["caption_words"][0].mean(axis=0)
        expected += weight * 0.75 * (a + b) * (means @ mean) / np.linalg.norm(mean)
        clauses.append(EncodedClause(weight, encoded))
    (found,), _ = stages.first_pass([clauses])
    np.testing.assert_allclose(found, expected, atol=0.01)  # int8


def test_images_come_and_go(scorer, copy):
    with FeatureStore.open(copy / "store", readonly=False) as store:
        store.delete(["photo7", "photo200"])
        store.write([make_record(number, seed=1) for number in (3, 150)])
        store.write([make_record(number) for number in range(IMAGES, IMAGES + 40)])
        result = index_store(store, scorer, copy / "gallery")
    assert (result.added, result.removed) == (42, 4)
    gallery = Gallery.open(copy / "gallery")
    assert all(has_pooled(entry.files) for entry in gallery.manifest.blocks)
    exact = search(scorer, gallery, CAPTIONS, top_k=IMAGES + 38, exhaustive=True)
    for found, wanted in zip(search(scorer, gallery, CAPTIONS, top_k=5, widths=NARROW), exact, strict=True):
        scores = dict(ranked(wanted))
        assert not {"photo7", "photo200"} & scores.keys()
        assert found.stages.step_1 == 60
        assert all(score == pytest.approx(scores[id], abs=1e-5) for id, score in ranked(found))


def test_a_gallery_that_grew_is_as_good_as_one_made_at_once(scorer, staged, tmp_path):
    """It has no mean regions until it is large; then it gets those that it would have had from the beginning."""
    sizes, totals = BlockSizes(128, staged_from=300), list[int]()
    for end in (100, 200, IMAGES):
        with make_store(tmp_path / f"store{end}", range(end)) as store:
            index_store(store, scorer, tmp_path / "gallery", sizes=sizes, on_start=totals.append)
        gallery = Gallery.open(tmp_path / "gallery")
        assert gallery.manifest.staged == (end == IMAGES)
        assert (search(scorer, gallery, ["a dog"])[0].stages is None) == (end < IMAGES)
    assert totals[:2] == [100, 100]
    assert totals[2] > 100
    at_once = Gallery.open(staged / "gallery")
    assert all(has_pooled(entry.files) for entry in gallery.manifest.blocks)
    for asked in (CAPTIONS, ["a dog"]):
        one, other = (search(scorer, each, asked, top_k=10, widths=NARROW) for each in (gallery, at_once))
        assert [dict(ranked(found)) for found in one] == [
            pytest.approx(dict(ranked(found)), abs=1e-5) for found in other
        ]


def test_a_gallery_of_an_earlier_version_is_searched_and_renewed(scorer, copy):
    """Its manifest names centroids, and its blocks have no mean regions."""
    wanted = search(scorer, Gallery.open(copy / "gallery"), CAPTIONS, top_k=10, widths=NARROW)
    checksum, manifest = "0123456789abcdef", GalleryManifest.load(copy / "gallery")
    entries = []
    for entry in manifest.blocks:
        files = {name: held for name, held in entry.files.items() if not name.startswith("pooled")}
        folder = copy / "gallery" / "blocks" / entry.name
        for name in POOLED_FILES:
            (folder / name).unlink()
        (folder / f"codes-{checksum}.npy").write_bytes(b"codes")
        entries.append(structs.replace(entry, files={**files, f"codes-{checksum}.npy": checksum}))
    (copy / "gallery" / f"centroids-{checksum}.npy").write_bytes(b"centroids")
    structs.replace(manifest, blocks=tuple(entries), centroids=checksum).save(copy / "gallery")
    earlier = Gallery.open(copy / "gallery")
    assert [ranked(found) for found in search(scorer, earlier, CAPTIONS, top_k=10, widths=NARROW)] == list(
        map(ranked, wanted)
    )
    for _ in range(2):
        with FeatureStore.open(copy / "store") as store:
            assert index_store(store, scorer, copy / "gallery").unchanged == IMAGES
    assert GalleryManifest.load(copy / "gallery") == manifest
    assert not [*(copy / "gallery").glob("centroids-*"), *(copy / "gallery").glob("blocks/*/codes-*")]
    renewed = search(scorer, Gallery.open(copy / "gallery"), CAPTIONS, top_k=10, widths=NARROW)
    assert list(map(ranked, renewed)) == list(map(ranked, wanted))


def test_what_is_proven_holds(local_bundle, staged, tmp_path):
    """With step 1 alone in the model, whoever has seen all of it has seen all there is."""
    scorer = Scorer(Bundle.open(local_bundle), "cpu", threads=1)
    with FeatureStore.open(staged / "store") as store:
        index_store(store, scorer, tmp_path / "gallery", sizes=BlockSizes(staged_from=100))
    gallery = Gallery.open(tmp_path / "gallery")
    for width, proven in ((IMAGES, True), (50, False)):
        asked = [*CAPTIONS, Query.of("a dog", also=["man:0.5"], without=["grass"])]
        steps = search(scorer, gallery, asked, top_k=10, widths=StageWidths(width, 10))
        assert {found.stages.proven for found in steps} == {proven}
        for found, wanted in zip(steps, search(scorer, gallery, asked, exhaustive=True), strict=True):
            if proven:
                assert [id for id, _ in ranked(found)] == [id for id, _ in ranked(wanted)]
                np.testing.assert_allclose([s for _, s in ranked(found)], [s for _, s in ranked(wanted)], atol=1e-5)


@pytest.mark.parametrize("pattern", ["blocks/*/pooled.npy", "blocks/*/pooled-scales.npy"])
def test_damaged_mean_regions_are_named_and_an_exhaustive_search_goes_on(scorer, copy, pattern):
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


def test_without_the_kernel_all_images_are_scored(bundle_path, staged, monkeypatch):
    monkeypatch.setenv("SHAN_KERNEL", "off")
    scorer = Scorer(Bundle.open(bundle_path), "cpu", threads=1)
    gallery = Gallery.open(staged / "gallery")
    assert scorer.kernel is None
    (found,) = search(scorer, gallery, ["a dog"])
    assert found.stages is None
    with pytest.raises(InputError, match="nothing to tune"):
        tune_gallery(scorer, gallery, ["a dog"])
    monkeypatch.delenv("SHAN_KERNEL")
    (same,) = search(Scorer(Bundle.open(bundle_path), "cpu", threads=1), gallery, ["a dog"], recall_target=1.0)
    np.testing.assert_allclose([s for _, s in ranked(found)], [s for _, s in ranked(same)], atol=1e-5)


@pytest.mark.parametrize(
    ("array", "message"),
    [("hubness", "hubness.npy is damaged, its bytes are not those"), ("region_mask", "image .* is damaged, a byte of")],
)
def test_a_changed_byte_is_told(scorer, staged, tmp_path, array, message):
    """The first pass reads hubness of all images, also of those that no later stage checks."""
    path = tmp_path / "gallery"
    with FeatureStore.open(staged / "store") as store:
        index_store(store, scorer, path, querybank=Querybank.of(CAPTIONS), sizes=BlockSizes(128, staged_from=100))
    best = search(scorer, Gallery.open(path), [CAPTIONS[0]], top_k=1, widths=NARROW)[0].hits[0].image.id
    block = next(block for block in Gallery.open(path).blocks if best in block.ids)
    file = path / "blocks" / block.name / f"{array}.npy"
    data = bytearray(file.read_bytes())
    data[-len(np.load(file).tobytes()) // block.entry.images * (block.entry.images - block.ids.index(best))] ^= 1
    file.write_bytes(data)
    with pytest.raises(GalleryError, match=message):
        search(scorer, Gallery.open(path), [CAPTIONS[0]], top_k=1, widths=NARROW)
