"""Wrong stores, photos, features and checkpoints: the installed command says so and keeps what is stored."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import lmdb
import numpy as np
import pytest
from extractors import detector
from in_process import refusal, shan
from shan_engine.store.feature_store import FeatureStore
from tiny import make_store


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
        assert f"run `shan-engine repair {place.store}`, then extract or import them again" in done.stderr
        assert shan("repair", place.store, "--yes").returncode == 0
        assert shan("store", "verify", place.store).returncode == 0

    def test_a_check_reads_no_modules_of_the_current_folder(self, place, tmp_path, monkeypatch):
        (tmp_path / "json.py").write_text("raise SystemExit(3)")
        monkeypatch.chdir(tmp_path)
        assert shan("store", "verify", place.store).returncode == 0

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

    def test_what_training_cannot_take(self, place):
        captions, vectors = place.here / "captions.tsv", place.here / "glove.txt"
        captions.write_text("split\timage\tcaption\ntrain\tnowhere\ta dog\ndev\tphoto1\ta dog\n")
        vectors.write_text("dog 0.1 0.2\n")
        common = ("train", "--store", place.store, "--captions", captions, "--output", place.here / "out")
        assert "there are no word vectors" in refusal(*common, "--word-vectors", place.here / "none.txt")
        assert "the feature store has no image 'nowhere'" in refusal(*common, "--word-vectors", vectors)
        for twice in (
            ("--temperature", 4, "--set", "temperature=7"),
            ("--set", "temperature=4", "--set", "temperature=7"),
        ):
            assert "temperature is given twice: leave out --set 'temperature=7'" in refusal(
                *common, "--word-vectors", vectors, *twice
            )
        for setting, wanted in (
            ("row_dropout=1", "training's row_dropout is 1: it must be a number from 0 to below 1"),
            ("margin=wide", "training's margin is 'wide': it must be a number above 0"),
            ("min_count=true", "training's min_count is True: it must be a whole number above 0"),
            ("embed_dim=64", "embed_dim has an option of its own: write --embed-dim 64"),
        ):
            assert wanted in refusal(*common, "--word-vectors", vectors, "--set", setting)
        vectors.write_text("dog 0.1 0.2\ncat 0.3\n")
        assert f"{vectors}, line 2" in refusal(*common, "--word-vectors", vectors)
