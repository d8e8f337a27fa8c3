"""Whatever is wrong, the installed command says so in one sentence, exits 1 and keeps what is stored."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import lmdb
import numpy as np
import onnxruntime
import pytest
from conftest import CAPTIONS, make_store
from extractors import detector
from installed import output_of, refusal, shan
from PIL import Image
from shan_engine.gallery import Gallery
from shan_engine.store import FeatureStore


@dataclass(frozen=True)
class Place:
    """Sound things to spoil: all below `here`."""

    here: Path
    bundle: Path
    gallery: Path
    store: Path

    def search(self, *queries: str) -> str:
        return refusal("search", *queries, "--gallery", self.gallery, "--model", self.bundle)

    def index(self) -> str:
        return refusal("index", self.store, "--model", self.bundle, "--output", self.here / "new")


@pytest.fixture
def place(tmp_path, bundle_copy, gallery_copy, store_path):
    store = tmp_path / "store"
    shutil.copytree(store_path, store)
    return Place(tmp_path, bundle_copy, gallery_copy, store)


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    Image.new("RGB", (20, 20), (255, 0, 0)).save(folder / "a.png")
    return folder


def edit_json(path: Path, **changes: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


class TestQueries:
    @pytest.mark.parametrize("query", ["", "   ", "\t\n"])
    def test_empty(self, place, query):
        assert "empty" in place.search(query)

    def test_none(self):
        assert "nothing to search for" in refusal("search")

    def test_too_long(self, place):
        assert "the model takes 126: shorten it" in place.search("dog " * 400)

    def test_file_missing_empty_or_of_another_encoding(self, place):
        file = place.here / "queries.txt"
        common = ("search", "--gallery", place.gallery, "--model", place.bundle, "--queries", file)
        assert f"cannot read {file}" in refusal(*common)
        file.write_text("\n")
        assert "has no captions" in refusal(*common)
        file.write_text("a dog\n\na cat\n")
        assert f"{file}, line 2 is empty" in refusal(*common)
        file.write_bytes("un café".encode("latin-1"))
        assert "not UTF-8" in refusal(*common)

    def test_top_k_of_zero_is_a_usage_error(self, place):
        assert shan("search", "a dog", "--gallery", place.gallery, "--top-k", 0).returncode == 2


class TestStores:
    def test_missing(self, place):
        shutil.rmtree(place.store)
        for command in ("info", "verify", "compact"):
            assert f"there is no feature store at {place.store}" in refusal("store", command, place.store)
        assert f"there is no feature store at {place.store}" in place.index()

    def test_foreign_file(self, place):
        (place.store / "data.mdb").write_bytes(b"x" * 100_000)
        assert f"{place.store} is damaged" in place.index()

    def test_truncated(self, place):
        data = place.store / "data.mdb"
        with data.open("r+b") as file:
            file.truncate(data.stat().st_size // 2)
        assert f"{place.store} is truncated" in place.index()

    def test_damaged_record(self, place):
        with FeatureStore.open(place.store) as store:
            needle = store.read(["photo7"])[0].features.tobytes()[:48]
        data = (place.store / "data.mdb").read_bytes()
        assert needle in data
        (place.store / "data.mdb").write_bytes(data.replace(needle, bytes(48)))
        assert "image 'photo7'" in place.index()
        done = shan("store", "verify", place.store)
        assert done.returncode == 1
        assert "'photo7'" in done.stderr
        assert "1 of 41 images" in done.stderr

    def test_newer_schema(self, place):
        with lmdb.open(str(place.store), max_dbs=3) as environment:
            meta = environment.open_db(b"meta", create=False)
            with environment.begin(write=True, db=meta) as transaction:
                schema = json.loads(transaction.get(b"schema"))
                transaction.put(b"schema", json.dumps({**schema, "version": 99}).encode())
        assert "schema 99" in place.index()

    def test_unknown_id_deletes_nothing(self, place):
        assert "no image 'nowhere'" in refusal("store", "delete", place.store, "photo1", "nowhere")
        with FeatureStore.open(place.store) as store:
            assert "photo1" in store

    def test_empty(self, place):
        make_store(place.here / "empty", range(0)).close()
        assert "is empty" in refusal(
            "index", place.here / "empty", "--model", place.bundle, "--output", place.here / "new"
        )

    def test_features_of_another_size_or_extractor(self, place):
        make_store(place.here / "wide", range(3), dim=30).close()
        sentence = refusal("index", place.here / "wide", "--model", place.bundle, "--output", place.here / "new")
        assert "size 30" in sentence
        assert "expects 24" in sentence
        make_store(place.here / "other", range(3), extractor="other").close()
        sentence = refusal("index", place.here / "other", "--model", place.bundle, "--output", place.here / "new")
        assert "'other'" in sentence
        assert "'tiny-extractor'" in sentence
        assert not (place.here / "new").exists()


class TestGalleries:
    def test_missing(self, place):
        shutil.rmtree(place.gallery)
        assert f"there is no gallery at {place.gallery}" in place.search("a dog")

    def test_of_another_bundle(self, place):
        sentence = refusal("search", "a dog", "--gallery", place.gallery)
        assert f"the gallery {place.gallery} was made by bundle" in sentence
        assert "shan-engine index" in sentence
        edit_json(place.gallery / "manifest.json", fingerprint="0" * 64)
        sentence = refusal("index", place.store, "--model", place.bundle, "--output", place.gallery)
        assert "was made by bundle 000000000000" in sentence
        assert len(Gallery.open(place.gallery)) == 41

    def test_damaged(self, place):
        (place.gallery / "manifest.json").write_text("{")
        assert f"{place.gallery}/manifest.json is damaged" in place.search("a dog")

    def test_truncated_block(self, place):
        array = next(place.gallery.glob("blocks/*/image_regions.npy"))
        with array.open("r+b") as file:
            file.truncate(500)
        assert f"{array} is missing or truncated" in place.search("a dog")

    def test_newer_schema(self, place):
        edit_json(place.gallery / "manifest.json", version=99)
        assert "schema 99" in place.search("a dog")

    def test_without_the_images_of_the_captions(self, place):
        captions = place.here / "captions.tsv"
        captions.write_text("split\timage\tcaption\ntest\tphoto1\ta dog\ntest\tnowhere\ta cat\n")
        common = ("evaluate", "--gallery", place.gallery, "--model", place.bundle, "--captions", captions)
        assert "no image 'nowhere'" in refusal(*common)
        assert "'val'" in refusal(*common, "--split", "val")
        captions.write_text("image,caption\nphoto1,a dog\n")
        assert str(captions) in refusal(*common)
        captions.unlink()
        assert str(captions) in refusal(*common)


class TestBundles:
    def test_missing(self, place):
        shutil.rmtree(place.bundle)
        assert str(place.bundle) in place.search("a dog")

    @pytest.mark.parametrize("name", ["image_encoder.onnx", "text_encoder.onnx", "pair_scorer.onnx", "vocab.json"])
    def test_one_changed_byte(self, place, name):
        data = bytearray((place.bundle / name).read_bytes())
        data[len(data) // 2] ^= 1
        (place.bundle / name).write_bytes(data)
        assert f"{name}" in place.search("a dog")
        assert "new" not in {path.name for path in place.here.iterdir()}

    def test_newer_schema(self, place):
        edit_json(place.bundle / "manifest.json", version=99)
        assert "schema 99" in place.search("a dog")

    def test_no_cuda_here(self, place):
        if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
            pytest.skip("this machine may have CUDA")
        sentence = refusal("search", "a dog", "--gallery", place.gallery, "--model", place.bundle, "--device", "cuda")
        assert "pip install 'shan-engine[gpu]', or use --device cpu" in sentence

    def test_without_an_extractor(self, place, photos):
        sentence = refusal("extract", photos, "--store", place.here / "s", "--model", place.bundle)
        assert "has no feature extractor: name one with --extractor" in sentence


class TestPhotos:
    def test_folder_missing_or_without_photos(self, tmp_path):
        extractor = detector(tmp_path)
        common = ("--store", tmp_path / "s", "--extractor", extractor)
        assert f"there is no folder {tmp_path / 'nowhere'}" in refusal("extract", tmp_path / "nowhere", *common)
        (tmp_path / "empty").mkdir()
        (tmp_path / "empty" / "notes.txt").write_text("no photo")
        assert "no photos in" in refusal("extract", tmp_path / "empty", *common)
        assert not (tmp_path / "s").exists()

    def test_all_broken(self, tmp_path, photos):
        (photos / "a.png").write_bytes(b"broken")
        sentence = refusal("extract", photos, "--store", tmp_path / "s", "--extractor", detector(tmp_path))
        assert "none of the 1 photos" in sentence

    def test_extractor_missing_or_damaged(self, tmp_path, photos):
        common = ("extract", photos, "--store", tmp_path / "s", "--extractor")
        assert "there is no feature extractor" in refusal(*common, tmp_path / "none.onnx")
        extractor = detector(tmp_path)
        extractor.write_bytes(b"not a graph")
        assert f"cannot load {extractor}" in refusal(*common, extractor)

    def test_a_store_of_other_features(self, place, photos):
        extractor = detector(place.here)
        sentence = refusal("extract", photos, "--store", place.store, "--extractor", extractor)
        assert "holds features of 'tiny-extractor', not of 'halves'" in sentence
        with FeatureStore.open(place.store) as store:
            assert len(store) == 41


class TestImports:
    def test_nan(self, tmp_path):
        features = np.ones((4, 9, 24), np.float32)
        features[2, 3, 4] = np.nan
        np.save(tmp_path / "ims.npy", features)
        sentence = refusal("import", tmp_path / "ims.npy", "--store", tmp_path / "s")
        assert "NaN or infinite features in row 2" in sentence

    def test_ids_that_do_not_fit(self, tmp_path):
        np.save(tmp_path / "ims.npy", np.ones((4, 9, 24), np.float32))
        (tmp_path / "ids.txt").write_text("a\nb\n")
        sentence = refusal("import", tmp_path / "ims.npy", "--ids", tmp_path / "ids.txt", "--store", tmp_path / "s")
        assert str(tmp_path / "ids.txt") in sentence
        assert not (tmp_path / "s").exists()

    @pytest.mark.parametrize("name", ["none.npy", "none.tsv", "photo.txt"])
    def test_missing_or_unknown(self, tmp_path, name):
        if name.endswith(".txt"):
            (tmp_path / name).write_text("x")
        assert str(tmp_path / name) in refusal("import", tmp_path / name, "--store", tmp_path / "s")

    def test_another_size_keeps_the_store(self, place):
        np.save(place.here / "ims.npy", np.ones((4, 9, 30), np.float32))
        common = ("import", place.here / "ims.npy", "--store", place.store, "--extractor", "tiny-extractor")
        assert "'24', not '30'" in refusal(*common)
        with FeatureStore.open(place.store) as store:
            assert len(store) == 41


class TestCheckpoints:
    def test_missing_or_damaged(self, tmp_path, checkpoint):
        output = tmp_path / "bundle"
        assert "config.json" in refusal("export", tmp_path / "none", "--output", output)
        copy = Path(shutil.copytree(checkpoint.folder, tmp_path / "copy"))
        (copy / "model.safetensors").write_bytes(b"damaged")
        assert f"the checkpoint {copy} cannot be read" in refusal("export", copy, "--output", output)
        assert not output.exists()

    def test_a_bundle_is_not_overwritten_unasked(self, place, checkpoint):
        before = (place.bundle / "manifest.json").read_bytes()
        assert "is there already" in refusal("export", checkpoint.folder, "--output", place.bundle)
        assert (place.bundle / "manifest.json").read_bytes() == before

    def test_captions_without_features(self, place):
        captions, vectors = place.here / "captions.tsv", place.here / "glove.txt"
        captions.write_text("split\timage\tcaption\ntrain\tnowhere\ta dog\ndev\tphoto1\ta dog\n")
        vectors.write_text("dog 0.1 0.2\n")
        common = ("train", "--store", place.store, "--captions", captions, "--output", place.here / "out")
        assert "cannot be read" in refusal(*common, "--word-vectors", place.here / "none.txt")
        assert refusal(*common, "--word-vectors", vectors)
        vectors.write_text("dog 0.1 0.2\ncat 0.3\n")
        assert f"{vectors}, line 2" in refusal(*common, "--word-vectors", vectors)


class TestScores:
    def test_suffix(self, place):
        queries = place.here / "q.txt"
        queries.write_text("a dog\n")
        common = ("score", "--gallery", place.gallery, "--model", place.bundle, "--queries", queries)
        assert "name it .npy" in refusal(*common, "--output", place.here / "scores.csv")
        assert "cannot write" in refusal(*common, "--output", queries / "scores.npy")

    def test_one_bad_caption_is_named(self, place):
        queries = place.here / "q.txt"
        queries.write_text("a dog\n" + "dog " * 400 + "\n")
        common = ("score", "--gallery", place.gallery, "--model", place.bundle, "--queries", queries)
        assert "caption 2" in refusal(*common, "--output", place.here / "scores.npy")
        assert not (place.here / "scores.npy").exists()


class TestFullDisk:
    def test_extract(self, small_disk, tmp_path):
        disk, folder = small_disk("256k"), tmp_path / "photos"
        folder.mkdir()
        for number in range(200):
            Image.new("RGB", (16, 8), (number, 0, 0)).save(folder / f"{'long' * 50}{number}.png")
        command = ("extract", folder, "--store", disk / "s", "--extractor", detector(tmp_path), "--batch-size", 8)
        assert "the disk is full" in refusal(*command)
        output_of("store", "verify", disk / "s")

    def test_index_keeps_the_gallery(self, small_disk, place):
        disk = small_disk("600k")
        gallery = Path(shutil.copytree(place.gallery, disk / "g"))
        make_store(place.here / "more", range(400)).close()
        sentence = refusal("index", place.here / "more", "--model", place.bundle, "--output", gallery)
        assert "the disk is full" in sentence
        search = ("search", CAPTIONS[0], "--gallery", gallery, "--model", place.bundle, "--json", "-k", 500)
        assert len(json.loads(output_of(*search))[0]["hits"]) == 41

    @pytest.mark.parametrize(("name", "size"), [("scores.npy", "64k"), ("best.parquet", "16k")])
    def test_score_leaves_no_half_file(self, small_disk, place, name, size):
        disk = small_disk(size)
        queries = place.here / "q.txt"
        queries.write_text("".join(f"a dog over {number} grass\n" for number in range(3000)))
        common = ("score", "--gallery", place.gallery, "--model", place.bundle, "--queries", queries)
        assert "the disk is full" in refusal(*common, "--output", disk / name, "--top-k", 41)
        assert not list(disk.iterdir())

    def test_export_leaves_no_bundle(self, small_disk, checkpoint):
        disk = small_disk("64k")
        assert "the disk is full" in refusal("export", checkpoint.folder, "--output", disk / "bundle")
        assert not list(disk.iterdir())

    def test_report(self, small_disk, place):
        disk = small_disk("4k")
        report = disk / "report.html"
        common = ("search", "a dog", "--gallery", place.gallery, "--model", place.bundle)
        assert "the disk is full" in refusal(*common, "--html", report)
        assert not report.exists()
