"""Further parts of a score: the same numbers in every command and on every back end, and a formula gives them."""

from __future__ import annotations

import logging
import shutil
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from extractors import SEEN, classifier
from gallery_scores import assert_same, by_id
from part_bundle import NAMES, PARTS, add_parts, indexed, make_seen_store, seen_of
from resigned import sign_fields
from shan_engine.base.errors import BundleError
from shan_engine.bundle.contents import Bundle
from shan_engine.engine import Engine
from shan_engine.evaluation.evaluate import evaluate_split
from shan_engine.evaluation.recall import recall
from shan_engine.gallery.captions import CaptionGallery
from shan_engine.gallery.reader import Gallery
from shan_engine.indexing.captions import index_captions
from shan_engine.indexing.copy import merge_galleries, split_gallery
from shan_engine.indexing.encoding import pad_to
from shan_engine.indexing.images import BlockSizes, index_store
from shan_engine.indexing.querybank import Querybank
from shan_engine.jobs.options import JobOptions
from shan_engine.jobs.run import score_job
from shan_engine.kernel.library import variants
from shan_engine.photos.extractor import FeatureExtractor
from shan_engine.scoring.scorer import Scorer
from shan_engine.search.answer import search
from shan_engine.search.captions import search_captions
from shan_engine.search.measure import tune_gallery
from shan_engine.search.photo_query import QueryPhoto
from shan_engine.search.query import Query
from shan_engine.search.tuning import StageWidths
from shan_engine.store.feature_store import FeatureStore
from shan_engine.text.captions import CaptionTable
from shan_engine.text.query_files import numbered
from tiny import CAPTIONS, make_store

IMAGES = 300
needs_kernel = pytest.mark.skipif(not variants(), reason="the kernel is not built")


@pytest.fixture(scope="module")
def folder(bundle_path, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("parts")
    add_parts(Path(shutil.copytree(bundle_path, folder / "bundle")))
    make_seen_store(folder / "store", range(IMAGES)).close()
    return folder


@pytest.fixture(scope="module")
def parted(folder) -> Scorer:
    return Scorer(Bundle.open(folder / "bundle"), "cpu", threads=1)


@pytest.fixture(scope="module")
def gallery(folder, parted) -> Gallery:
    return indexed(folder, parted, folder / "gallery")


@pytest.fixture(scope="module")
def further(folder, parted) -> dict[str, np.ndarray]:
    """Both parts of each photo with every caption, captions x 2, by the formulas in float64."""
    captions = [parted.encoders.encode_captions([parted.encoders.tokens(caption)]) for caption in CAPTIONS]
    found = {}
    with FeatureStore.open(folder / "store") as store:
        for info in store.infos():
            (record,) = store.read([info.id])
            vector = parted.encoders.encode_images(*pad_to([record], 9))["image_vector"][0].astype(float)
            parts = np.zeros((len(CAPTIONS), 2))
            for row, caption in enumerate(captions):
                parts[row, 0] = PARTS["global"]["weight"] * vector @ caption["query_vector"][0]
                if record.seen is not None:
                    evidence = caption["class_weights"][0][record.seen.classes] @ record.seen.probabilities.astype(
                        float
                    )
                    floor, weight = PARTS["classes"]["floor"], PARTS["classes"]["weight"]
                    parts[row, 1] = weight * np.log(floor + evidence)
            found[info.id] = parts
    return found


@pytest.fixture(scope="module")
def expected(folder, scorer, further) -> dict[str, np.ndarray]:
    """The scores of the bundle without parts, with the parts added."""
    plain = by_id(scorer, indexed(folder, scorer, folder / "plain"), folder)
    return {id: scores + further[id].sum(1) for id, scores in plain.items()}


@pytest.mark.parametrize("kernel", ["", "off"])
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("float16", 4e-3), ("int8", 3e-2)])
def test_a_score_is_the_models_and_its_parts(folder, expected, tmp_path, monkeypatch, kernel, dtype, tolerance):
    if kernel:
        monkeypatch.setenv("SHAN_KERNEL", kernel)
    own = Scorer(Bundle.open(folder / "bundle"), "cpu", threads=1)
    found = by_id(own, indexed(folder, own, tmp_path / "gallery", dtype=dtype), tmp_path)
    assert_same(found, expected, tolerance)


def test_search_ranks_by_the_sum_and_tells_the_parts(parted, gallery, expected, further):
    for number, found in enumerate(search(parted, gallery, CAPTIONS, top_k=IMAGES, exhaustive=True)):
        order = sorted(expected, key=lambda id: -expected[id][number])
        assert [hit.image.id for hit in found][:20] == order[:20]
        assert found.score_parts == ("l2l", "g2l", "g2g", "global", "classes")
        for hit in found:
            assert sum(hit.step_scores) == pytest.approx(hit.score, abs=1e-5)
            np.testing.assert_allclose(hit.step_scores[3:], further[hit.image.id][number], rtol=0, atol=1e-5)


def test_a_hit_tells_what_it_was_seen_as_and_where(parted, gallery):
    (found,) = search(parted, gallery, CAPTIONS[:1], top_k=IMAGES, exhaustive=True)
    told = {hit.image.id: hit.seen for hit in found}
    assert told["photo7"] == ()
    boxes = {id: block.boxes(row) for block in gallery.blocks for row, id in enumerate(block.ids)}
    for id, seen in told.items():
        held = seen_of(id)
        likely = [at for at in range(3) if held and held.probabilities[at] >= 0.05]
        assert [one.name for one in seen] == [NAMES[held.classes[at]] for at in likely]
        for one, at in zip(seen, likely, strict=True):
            assert one.probability == pytest.approx(float(held.probabilities[at]))
            box = boxes[id][held.regions[at]]
            assert one.box == (tuple(box.tolist()) if np.isfinite(box).all() else None)


@needs_kernel
def test_stages_that_leave_nothing_out_find_what_an_exhaustive_search_finds(parted, gallery):
    asked = [Query.of(CAPTIONS[0], also=["a red hat:0.5"], without="a dog"), *CAPTIONS]
    stages = search(parted, gallery, asked, top_k=12, recall_target=1.0)
    for found, wanted in zip(stages, search(parted, gallery, asked, top_k=12, exhaustive=True), strict=True):
        assert found.stages.proven
        assert [hit.image.id for hit in found] == [hit.image.id for hit in wanted]
        np.testing.assert_allclose([hit.score for hit in found], [hit.score for hit in wanted], rtol=0, atol=1e-5)


@needs_kernel
def test_parts_count_before_the_first_cut(folder, tmp_path):
    own = Path(shutil.copytree(folder / "bundle", tmp_path / "bundle"))
    sign_fields(own / "manifest.json", parts={"classes": {"weight": 50.0, "floor": 0.2}})
    heavy = Scorer(Bundle.open(own), "cpu", threads=1)
    gallery = indexed(folder, heavy, tmp_path / "gallery")
    stages = search(heavy, gallery, CAPTIONS, top_k=10, widths=StageWidths(20, 10))
    wanted = search(heavy, gallery, CAPTIONS, top_k=10, exhaustive=True)
    assert [[hit.image.id for hit in one] for one in stages] == [[hit.image.id for hit in one] for one in wanted]
    # The steps add so little that no image left out can be a hit, and the bound knows it.
    assert any(one.stages.proven for one in stages)


@needs_kernel
def test_tuning_measures_ranks_with_the_parts(parted, gallery):
    tuning = tune_gallery(parted, gallery, CAPTIONS, top_k=10)
    (gallery.path / "tuning.json").unlink()
    ranks = []
    for every in search(parted, gallery, CAPTIONS, top_k=IMAGES, exhaustive=True):
        step_1 = [hit.step_scores[0] + sum(hit.step_scores[3:]) for hit in every]
        ranks += [sum(score >= own for score in step_1) for own in step_1[:10]]
    assert tuning.all_steps[-1] == max(ranks)


def test_some_images_of_a_gallery_have_the_same_scores(parted, gallery, expected, tmp_path):
    ids = [f"photo{number}" for number in (3, 7, 127, 128, 299)]
    found = by_id(parted, gallery.restricted_to(ids), tmp_path)
    assert_same(found, {id: expected[id] for id in ids})


@needs_kernel
def test_some_images_of_a_gallery_are_searched_in_stages(parted, gallery, expected):
    ids = [f"photo{number}" for number in range(0, IMAGES, 3)]
    widths = StageWidths(len(ids), len(ids))
    for number, found in enumerate(search(parted, gallery.restricted_to(ids), CAPTIONS, top_k=5, widths=widths)):
        assert found.stages.first_pass == len(ids)
        order = sorted(ids, key=lambda id: -expected[id][number])
        assert [hit.image.id for hit in found] == order[:5]
        for hit in found:
            assert hit.score == pytest.approx(expected[hit.image.id][number], abs=1e-5)


def test_a_table_of_hits_has_a_column_for_each_part(parted, gallery, further, tmp_path):
    options = JobOptions(top_k=7, block_pairs=200)
    score_job(parted, [gallery], numbered(CAPTIONS), tmp_path / "best.parquet", options=options)
    table = pq.read_table(tmp_path / "best.parquet").to_pylist()
    assert list(table[0])[-5:] == ["l2l", "g2l", "g2g", "global", "classes"]
    for row in table:
        assert sum(row[name] for name in list(row)[-5:]) == pytest.approx(row["score"], abs=1e-5)
        held = further[row["image_id"]][int(row["query_id"]) - 1]
        np.testing.assert_allclose((row["global"], row["classes"]), held, rtol=0, atol=1e-5)


def test_recall_is_that_of_the_sums(parted, gallery, expected, tmp_path):
    ids = [f"photo{number}" for number in (9, 2, 30, 7, 11)]
    rows = "".join(f"test\t{id}\t{caption}\n" for id, caption in zip(ids, CAPTIONS, strict=True))
    (tmp_path / "c.tsv").write_text(f"split\timage\tcaption\n{rows}")
    table = CaptionTable.read(tmp_path / "c.tsv")
    scores = np.array([expected[id] for id in ids])
    assert evaluate_split([(parted, gallery)], table, "test").recall == recall(scores, np.arange(5))


def test_hubness_is_measured_with_the_parts(folder, parted, expected, tmp_path):
    bank = Querybank.of(CAPTIONS, inverse_temperature=7.0)
    found = by_id(parted, indexed(folder, parted, tmp_path / "gallery", querybank=bank), tmp_path)
    for id, scores in expected.items():
        hubness = np.log(np.exp(7.0 * scores.astype(float)).mean()) / 7.0
        np.testing.assert_allclose(found[id], scores - hubness, rtol=0, atol=2e-5, err_msg=id)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("int8", 3e-2)])
def test_captions_that_fit_a_photo_are_ranked_by_the_sum(parted, gallery, expected, tmp_path, dtype, tolerance):
    (tmp_path / "captions.txt").write_text("\n".join(CAPTIONS))
    index_captions(tmp_path / "captions.txt", parted, tmp_path / "captions", dtype=dtype)
    block, row = gallery.find(12)
    photo = QueryPhoto(Path("photo12"), block.rows_of([row]), block.boxes(row))
    found = search_captions(parted, CaptionGallery.open(tmp_path / "captions", parted.bundle), photo)
    assert found.score_parts == parted.score_parts
    for hit in found:
        assert hit.score == pytest.approx(expected["photo12"][int(hit.id) - 1], abs=tolerance)
        assert sum(hit.step_scores) == pytest.approx(hit.score, abs=1e-3 if dtype == "int8" else 1e-5)
    assert [hit.score for hit in found] == sorted((hit.score for hit in found), reverse=True)


@pytest.mark.parametrize("exhaustive", [True, False])
def test_a_photo_counts_by_its_vector(parted, gallery, expected, exhaustive):
    block, row = gallery.find(40)
    photo = QueryPhoto(Path("photo40"), block.rows_of([row]), block.boxes(row))
    weight = PARTS["global"]["weight"]
    vectors = np.concatenate([block.files["image_vector"] for block in gallery.blocks])
    for text in (None, CAPTIONS[0]):
        query = Query.of(text, photo=photo, photo_weight=0.5)
        (found,) = search(parted, gallery, [query], top_k=IMAGES, exhaustive=exhaustive, recall_target=1.0)
        for hit in found:
            like = weight * 0.5 * float(vectors[int(hit.image.id[5:])] @ vectors[40])
            assert sum(hit.step_scores) == pytest.approx(hit.score, abs=2e-5)
            assert len(hit.step_scores) == len(found.score_parts)
            if text is None:
                assert hit.step_scores[-2:] == pytest.approx((like, 0), abs=1e-5)


@pytest.mark.skipif(find_spec("triton") is None, reason="the torch back end needs Triton")
def test_a_gallery_held_on_a_device_gives_the_same(folder, gallery, expected):
    held = Scorer(Bundle.open(folder / "bundle"), "cpu", backend="torch", threads=1)
    ids = [f"photo{number}" for number in (3, 7, 127, 128, 299)]
    part = gallery.restricted_to(ids)
    for number, found in enumerate(search(held, part, CAPTIONS[:2], top_k=3)):
        order = sorted(ids, key=lambda id: -expected[id][number])
        assert [hit.image.id for hit in found] == order[:3]
        for hit in found:
            assert hit.score == pytest.approx(expected[hit.image.id][number], abs=1e-5)


def test_a_gallery_without_classes_has_no_evidence_and_says_so(folder, parted, further, tmp_path, caplog):
    make_store(tmp_path / "store", range(50)).close()
    gallery = indexed(tmp_path, parted, tmp_path / "gallery")
    assert not any(name.startswith("seen") for name in gallery.manifest.arrays)
    with caplog.at_level(logging.INFO):
        (found,) = Engine(parted, gallery).search_all(CAPTIONS[0], exhaustive=True)
    assert "has no data for the part 'classes'" in caplog.text
    for hit in found:
        assert (hit.step_scores[3], hit.seen) == (pytest.approx(further[hit.image.id][0][0], abs=1e-5), ())
        assert hit.step_scores[4] == 0
        assert sum(hit.step_scores) == pytest.approx(hit.score, abs=1e-5)


def test_updates_and_copies_keep_the_parts(folder, parted, gallery, expected, tmp_path):
    shutil.copytree(folder / "store", tmp_path / "store")
    with FeatureStore.open(tmp_path / "store", readonly=False) as store:
        store.delete([f"photo{number}" for number in range(100, IMAGES)])
        index_store(store, parted, tmp_path / "gallery", sizes=BlockSizes(64, staged_from=1000))
    index_again = indexed(folder, parted, tmp_path / "gallery")
    assert_same(by_id(parted, index_again, tmp_path), expected)
    parts = split_gallery(gallery, 2, tmp_path / "split")
    merged = merge_galleries([Gallery.open(part) for part in parts], tmp_path / "merged")
    assert_same(by_id(parted, merged, tmp_path), expected)


@pytest.mark.parametrize(
    ("parts", "fault"),
    [
        ({"text": {"weight": 1.0}}, "the unknown part 'text': upgrade"),
        ({"classes": {"weight": 1.0}}, "wrong settings (weight): export"),
        ({"global": {"weight": 1.0, "floor": 0.1}}, "wrong settings (weight, floor): export"),
    ],
)
def test_parts_that_cannot_be_scored_are_refused(folder, tmp_path, parts, fault):
    own = Path(shutil.copytree(folder / "bundle", tmp_path / "bundle"))
    sign_fields(own / "manifest.json", parts=parts)
    with pytest.raises(BundleError) as raised:
        Scorer(Bundle.open(own), "cpu", threads=1)
    assert fault in str(raised.value)


def test_a_query_photo_brings_what_it_is_seen_as(seeing, album, tmp_path):
    network = FeatureExtractor(classifier(tmp_path), "cpu")
    photo = QueryPhoto.read(album / "photos" / "05.png", seeing.encoders, lambda: network)
    for name, values in SEEN.items():
        np.testing.assert_array_equal(photo.images[name], values)
