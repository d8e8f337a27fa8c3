from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from conftest import CAPTIONS, EXTRACTOR, FEATURES, make_record, make_store
from filelock import FileLock
from oracle import shan_score
from shan_engine import indexing
from shan_engine.bundle import Bundle
from shan_engine.captions import CaptionTable
from shan_engine.errors import BundleError, GalleryError, InputError
from shan_engine.evaluation import evaluate_split, recall
from shan_engine.gallery import Gallery
from shan_engine.indexing import index_store
from shan_engine.records import pad_regions
from shan_engine.score_job import score_matrix, score_top_k
from shan_engine.scoring import Scorer
from shan_engine.search import search
from shan_engine.store import FeatureStore


def matrix(scorer, gallery, tmp_path, captions=CAPTIONS):
    score_matrix(scorer, gallery, captions, tmp_path / "scores.npy")
    return np.load(tmp_path / "scores.npy")


def by_id(scorer, gallery, tmp_path):
    scores = matrix(scorer, gallery, tmp_path)
    return {image.id: scores[:, column] for column, image in enumerate(gallery.images())}


def assert_same(one, other, tolerance=1e-5):
    assert one.keys() == other.keys()
    for id in one:
        np.testing.assert_allclose(one[id], other[id], rtol=0, atol=tolerance, err_msg=id)


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(indexing, "BLOCK_IMAGES", 8)
    monkeypatch.setattr(indexing, "ENCODE_BATCH", 3)


# Scores


def test_a_gallerys_scores_are_the_papers(scorer, checkpoint, gallery_path, tmp_path):
    """Photos with 1 to 9 regions, padded together; captions of 1 to 21 words, padded together."""
    gallery = Gallery.open(gallery_path, scorer.bundle)
    assert len(gallery) == 41
    found = by_id(scorer, gallery, tmp_path)
    for number in (0, 1, 3, 6, 12, 40):
        record = make_record(number)
        for row, caption in enumerate(CAPTIONS):
            expected = shan_score(checkpoint.tensors, checkpoint.config, record.features, scorer.tokens(caption))
            assert found[record.id][row] == pytest.approx(sum(expected), abs=1e-4)


def test_padding_and_batching_never_change_a_score(scorer, tmp_path):
    records = [make_record(number) for number in range(8)]
    tokens = [scorer.tokens(caption) for caption in CAPTIONS]
    together = scorer.score_pairs(scorer.encode_images(*pad_regions(records)), scorer.encode_captions(tokens))
    for i, record in enumerate(records):
        alone = scorer.encode_images(*pad_regions([record]))
        wider = scorer.encode_images(*indexing.pad_to([record], 15))
        for c, caption in enumerate(tokens):
            words = scorer.encode_captions([caption])
            for image in (alone, wider):
                assert scorer.score_pairs(image, words)[0, 0] == pytest.approx(together[i, c], abs=1e-5)


def test_small_calls_give_the_same_matrix(scorer, gallery_path, tmp_path, monkeypatch):
    gallery = Gallery.open(gallery_path)
    whole = matrix(scorer, gallery, tmp_path)
    monkeypatch.setattr("shan_engine.scoring.CALL_FLOATS", 1)
    monkeypatch.setattr("shan_engine.scoring.MAX_CAPTIONS", 2)
    monkeypatch.setattr("shan_engine.score_job.GROUP_CAPTIONS", 3)
    done = []
    score_matrix(scorer, gallery, CAPTIONS, tmp_path / "cut.npy", on_pairs=done.append)
    np.testing.assert_allclose(np.load(tmp_path / "cut.npy"), whole, rtol=0, atol=1e-5)
    assert done == sorted(done)
    assert done[-1] == whole.size


def test_search_is_the_top_of_the_matrix(scorer, gallery_path, tmp_path):
    gallery = Gallery.open(gallery_path)
    scores = matrix(scorer, gallery, tmp_path)
    images = gallery.images()
    for top_k in (1, 7, 500):
        results = search(scorer, gallery, CAPTIONS, top_k=top_k, explain=False)
        assert [result.query for result in results] == list(CAPTIONS)
        for row, result in zip(scores, results, strict=True):
            order = np.argsort(-row, kind="stable")[:top_k]
            assert [hit.image for hit in result.hits] == [images[place] for place in order]
            assert [hit.rank for hit in result.hits] == list(range(1, len(order) + 1))
            np.testing.assert_allclose([hit.score for hit in result.hits], row[order], rtol=0, atol=1e-6)


def test_a_hit_explains_itself(scorer, gallery_path):
    result = search(scorer, Gallery.open(gallery_path), ["a dog runs ."], top_k=41)[0]
    for hit in result.hits:
        assert sum(hit.step_scores) == pytest.approx(hit.score, abs=1e-5)
        assert [word.word for word in hit.words] == ["a", "dog", "runs", "."]
        number = int(hit.image.id.removeprefix("photo"))
        record = make_record(number)
        for word in hit.words:
            assert 0 <= word.region < len(record.features)
            assert 0 < word.weight <= 1 + 1e-6
            if record.boxes is None:
                assert word.box is None
            else:
                assert word.box == pytest.approx(tuple(record.boxes[word.region]))


def test_parquet_is_the_top_of_the_matrix(scorer, gallery_path, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    gallery = Gallery.open(gallery_path)
    scores, ids = matrix(scorer, gallery, tmp_path), [image.id for image in gallery.images()]
    score_top_k(scorer, gallery, CAPTIONS, tmp_path / "top.parquet", top_k=4)
    rows = parquet.read_table(tmp_path / "top.parquet").to_pylist()
    expected = [
        (caption, rank, ids[place], scores[row, place])
        for row, caption in enumerate(CAPTIONS)
        for rank, place in enumerate(np.argsort(-scores[row], kind="stable")[:4], 1)
    ]
    assert [(r["query"], r["rank"], r["image_id"]) for r in rows] == [e[:3] for e in expected]
    np.testing.assert_allclose([r["score"] for r in rows], [e[3] for e in expected], rtol=0, atol=1e-6)


def test_evaluation_is_recall_of_the_matrix(scorer, gallery_path, tmp_path):
    gallery = Gallery.open(gallery_path)
    images = ["photo9", "photo2", "photo30"]
    rows = [("test", images[m % 3], caption) for m, caption in enumerate(CAPTIONS)]
    (tmp_path / "c.tsv").write_text("split\timage\tcaption\n" + "".join("\t".join(row) + "\n" for row in rows), "utf-8")
    table = CaptionTable.read(tmp_path / "c.tsv")
    found = by_id(scorer, gallery, tmp_path)
    expected = recall(np.stack([found[id] for id in images]), table.split("test").caption_images)
    outcome = evaluate_split(scorer, gallery, table, "test")
    assert outcome.recall == expected
    assert (outcome.images, outcome.captions) == (3, 5)
    (tmp_path / "c.tsv").write_text("split\timage\tcaption\ntest\tnobody\ta dog\n")
    with pytest.raises(InputError, match="nobody"):
        evaluate_split(scorer, gallery, CaptionTable.read(tmp_path / "c.tsv"), "test")


def test_queries_that_cannot_be_answered(scorer, gallery_path, tmp_path):
    gallery = Gallery.open(gallery_path)
    with pytest.raises(InputError, match="empty"):
        search(scorer, gallery, [" "])
    with pytest.raises(InputError, match="top-k is 0"):
        search(scorer, gallery, ["a dog"], top_k=0)
    with pytest.raises(InputError, match="127 words, the model takes 126"):
        search(scorer, gallery, ["dog " * 127])
    assert len(search(scorer, gallery, ["dog " * 126], top_k=1)[0].hits) == 1
    with pytest.raises(InputError, match=r"caption 2: .* empty"):
        score_matrix(scorer, gallery, ["a dog", ""], tmp_path / "bad.npy")
    with pytest.raises(InputError, match=r"\.npy"):
        score_matrix(scorer, gallery, ["a dog"], tmp_path / "bad.txt")
    with pytest.raises(InputError, match="no captions"):
        score_matrix(scorer, gallery, [], tmp_path / "bad.npy")
    assert not list(tmp_path.iterdir())


# The gallery on disk


def test_incremental_is_fresh(scorer, tmp_path, small_blocks):
    path = tmp_path / "gallery"
    with make_store(tmp_path / "store", range(29)) as store:
        assert index_store(store, scorer, path).added == 29
        assert len(Gallery.open(path).blocks) == 4

        def check(outcome, added, removed, unchanged):
            assert (outcome.added, outcome.removed, outcome.unchanged) == (added, removed, unchanged)
            fresh = tmp_path / "fresh"
            index_store(store, scorer, fresh)
            gallery = Gallery.open(path, scorer.bundle)
            assert_same(by_id(scorer, gallery, tmp_path), by_id(scorer, Gallery.open(fresh), tmp_path))
            assert {image.id: image for image in gallery.images()} == {i.id: i for i in Gallery.open(fresh).images()}
            assert len(gallery.images()) == len(store)
            top = search(scorer, gallery, CAPTIONS[:1], top_k=5)[0].hits
            again = search(scorer, Gallery.open(fresh), CAPTIONS[:1], top_k=5)[0].hits
            assert [hit.image.id for hit in top] == [hit.image.id for hit in again]
            for one, other in zip(top, again, strict=True):
                assert [(w.word, w.region, w.box) for w in one.words] == [
                    (w.word, w.region, w.box) for w in other.words
                ]
            kept = {entry.name for entry in gallery.manifest.blocks}
            assert {folder.name for folder in (path / "blocks").iterdir()} == kept
            shutil.rmtree(fresh)

        check(index_store(store, scorer, path), 0, 0, 29)
        store.write([make_record(number) for number in range(29, 33)])  # added
        check(index_store(store, scorer, path), 4, 0, 29)
        store.write([make_record(4, seed=1), make_record(31, seed=1)])  # changed
        check(index_store(store, scorer, path), 2, 2, 31)
        store.delete(["photo0", "photo10", "photo12"])  # removed
        check(index_store(store, scorer, path), 0, 3, 30)
        store.delete([f"photo{number}" for number in range(16, 24)])
        store.write([make_record(50), make_record(7, seed=2)])
        check(index_store(store, scorer, path), 2, 9, 21)


def test_an_interrupted_index_goes_on(scorer, tmp_path, small_blocks):
    path = tmp_path / "gallery"

    def stop(done):
        if done >= 20:
            raise KeyboardInterrupt

    with make_store(tmp_path / "store", range(29)) as store:
        with pytest.raises(KeyboardInterrupt):
            index_store(store, scorer, path, on_images=stop)
        assert len(Gallery.open(path)) == 16
        outcome = index_store(store, scorer, path)
        assert (outcome.added, outcome.unchanged) == (13, 16)
        index_store(store, scorer, tmp_path / "fresh")
    gallery = Gallery.open(path)
    assert_same(by_id(scorer, gallery, tmp_path), by_id(scorer, Gallery.open(tmp_path / "fresh"), tmp_path))
    assert len(list((path / "blocks").iterdir())) == len(gallery.blocks)


def test_an_interrupted_update_keeps_the_old_gallery(scorer, tmp_path, small_blocks):
    path = tmp_path / "gallery"

    def stop(done):
        raise KeyboardInterrupt

    with make_store(tmp_path / "store", range(12)) as store:
        index_store(store, scorer, path)
        before = by_id(scorer, Gallery.open(path), tmp_path)
        store.delete(["photo9"])
        store.write([make_record(20)])
        with pytest.raises(KeyboardInterrupt):
            index_store(store, scorer, path, on_images=stop)
    assert_same(by_id(scorer, Gallery.open(path), tmp_path), before, 0)


def test_blocks_are_mapped_views_unless_rows_are_deleted(gallery_path):
    gallery = Gallery.open(gallery_path)
    for block in gallery.blocks:
        for place, arrays in block.batches(7):
            for array in arrays.values():
                assert isinstance(array, np.memmap) or isinstance(array.base, np.memmap)
                assert not array.flags.owndata
                assert len(array) == place.stop - place.start
    assert gallery.ids() == [image.id for image in gallery.images()]
    part = gallery.restricted_to(["photo3", "photo8"])
    assert part.ids() == [image.id for image in part.images()] == ["photo3", "photo8"]
    with pytest.raises(InputError, match="photo99"):
        gallery.restricted_to(["photo3", "photo99"])


def test_float16_is_close_to_float32_and_half_the_size(scorer, store_path, gallery_path, tmp_path):
    with FeatureStore.open(store_path) as store:
        index_store(store, scorer, tmp_path / "half", dtype="float16")
        with pytest.raises(InputError, match="int8"):
            index_store(store, scorer, tmp_path / "other", dtype="int8")
    half, full = Gallery.open(tmp_path / "half"), Gallery.open(gallery_path)
    assert half.manifest.dtype == "float16"
    assert half.bytes_used < 0.7 * full.bytes_used
    assert_same(by_id(scorer, half, tmp_path), by_id(scorer, full, tmp_path), 2e-2)


def test_a_gallery_moves_with_its_photos(scorer, tmp_path):
    from dataclasses import replace

    home = tmp_path / "here"
    with make_store(tmp_path / "store", range(2)) as store:
        store.write([replace(make_record(0), path=str(home / "photos" / "0.jpg")), replace(make_record(1), path="")])
        index_store(store, scorer, home / "gallery")
    home.rename(tmp_path / "there")
    images = {image.id: image.path for image in Gallery.open(tmp_path / "there" / "gallery").images()}
    assert images == {"photo0": str(tmp_path / "there" / "photos" / "0.jpg"), "photo1": ""}


def index_into(gallery, bundle, store_path):
    with FeatureStore.open(store_path) as store:
        index_store(store, Scorer(bundle, "cpu"), gallery)


def test_another_bundles_gallery_is_refused(scorer, bundle_copy, gallery_copy, store_path):
    manifest = json.loads((bundle_copy / "manifest.json").read_text())
    manifest["fingerprint"] = "f" * 64
    (bundle_copy / "manifest.json").write_text(json.dumps(manifest))
    other = Bundle.open(bundle_copy)
    for action in (
        lambda: Gallery.open(gallery_copy, other),
        lambda: index_into(gallery_copy, other, store_path),
    ):
        with pytest.raises(GalleryError) as caught:
            action()
        message = str(caught.value)
        assert "f" * 12 in message
        assert scorer.bundle.manifest.fingerprint[:12] in message
        assert "`shan-engine index STORE --model" in message


def test_a_truncated_block_is_named(scorer, gallery_copy):
    file = next(gallery_copy.glob("blocks/*/image_regions.npy"))
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(GalleryError, match=r"image_regions\.npy is missing or truncated"):
        search(scorer, Gallery.open(gallery_copy), ["a dog"])
    file.unlink()
    with pytest.raises(GalleryError, match=r"image_regions\.npy is missing or truncated"):
        search(scorer, Gallery.open(gallery_copy), ["a dog"])


def test_a_damaged_list_of_images_is_named(gallery_copy):
    file = next(gallery_copy.glob("blocks/*/images.jsonl"))
    lines = file.read_text().splitlines()
    for content in ("", "\n".join(lines[:-1]), "\n".join([*lines[:-1], "{"]), "\n".join([*lines[:-1], "[1]"])):
        file.write_text(content)
        with pytest.raises(GalleryError, match=r"images\.jsonl is missing or damaged"):
            Gallery.open(gallery_copy).images()


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"version": 1}', '{"version": "x"}', '{"version": null}'])
def test_a_damaged_manifest_is_named(gallery_copy, bundle_copy, content):
    (gallery_copy / "manifest.json").write_text(content)
    with pytest.raises(GalleryError, match="damaged"):
        Gallery.open(gallery_copy)
    (bundle_copy / "manifest.json").write_text(content)
    with pytest.raises(BundleError, match="damaged"):
        Bundle.open(bundle_copy)


def test_a_newer_schema_asks_for_an_upgrade(gallery_copy, bundle_copy):
    for folder, kind, error in ((gallery_copy, Gallery, GalleryError), (bundle_copy, Bundle, BundleError)):
        data = json.loads((folder / "manifest.json").read_text())
        (folder / "manifest.json").write_text(json.dumps({**data, "version": 2, "news": True}))
        with pytest.raises(error, match="schema 2, newer than 1: upgrade"):
            kind.open(folder)
    for kind, error in ((Gallery, GalleryError), (Bundle, BundleError)):
        with pytest.raises(error, match="there is no"):
            kind.open(gallery_copy / "nowhere")


@pytest.mark.parametrize("name", ["image_encoder.onnx", "text_encoder.onnx", "pair_scorer.onnx", "vocab.json"])
def test_a_bundle_with_one_changed_byte_is_refused(bundle_copy, name):
    content = bytearray((bundle_copy / name).read_bytes())
    content[len(content) // 2] ^= 1
    (bundle_copy / name).write_bytes(content)
    with pytest.raises(BundleError, match=name):
        Bundle.open(bundle_copy)
    (bundle_copy / name).unlink()
    with pytest.raises(BundleError, match=f"has no {name}"):
        Bundle.open(bundle_copy)


def test_a_store_of_another_model_is_refused(scorer, tmp_path):
    wide = rf"size {FEATURES + 1} .* expects {FEATURES}"
    with make_store(tmp_path / "wide", range(2), dim=FEATURES + 1) as store, pytest.raises(InputError, match=wide):
        index_store(store, scorer, tmp_path / "g")
    other = rf"'bottom-up', .* trained on '{EXTRACTOR}'"
    with (
        make_store(tmp_path / "other", range(2), extractor="bottom-up") as store,
        pytest.raises(InputError, match=other),
    ):
        index_store(store, scorer, tmp_path / "g")
    assert not (tmp_path / "g").exists()
    with make_store(tmp_path / "none", range(2)) as store:
        store.delete(["photo0", "photo1"])
        with pytest.raises(InputError, match="is empty"):
            index_store(store, scorer, tmp_path / "g")


def test_more_regions_than_the_gallery_holds(scorer, tmp_path):
    with make_store(tmp_path / "store", range(0)) as store:
        store.write([make_record(1, regions=3)])
        index_store(store, scorer, tmp_path / "g")
        store.write([make_record(2, regions=5)])
        with pytest.raises(InputError, match="5 regions, the gallery's images have at most 3"):
            index_store(store, scorer, tmp_path / "g")
    assert [image.id for image in Gallery.open(tmp_path / "g").images()] == ["photo1"]


def test_a_second_writer_is_refused(scorer, store_path, gallery_copy):
    busy = pytest.raises(GalleryError, match="another process is writing")
    with FileLock(gallery_copy / "writer.lock"), FeatureStore.open(store_path) as store, busy:
        index_store(store, scorer, gallery_copy)
