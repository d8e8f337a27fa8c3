"""Where a gallery may be made, and of what."""

from __future__ import annotations

import numpy as np
import pytest
from filelock import FileLock
from gallery_scores import blocks_of, folders
from msgspec.structs import replace
from shan_engine.base.errors import GalleryError, InputError
from shan_engine.gallery.reader import Gallery
from shan_engine.indexing.images import index_store
from shan_engine.store.feature_store import FeatureStore
from tiny import EXTRACTOR, FEATURES, make_record, make_store


def everything(folder):
    return {file: file.read_bytes() if file.is_file() else None for file in folder.rglob("*")}


def test_only_blocks_are_ever_deleted(scorer, store_path, gallery_copy):
    others = ("notes", "0123456789abcdef", "0123456789AB", "0123456789a", "0123456789ab.old")
    for name in (*others, "0123456789ab"):
        (gallery_copy / "blocks" / name).mkdir()
        (gallery_copy / "blocks" / name / "mine.txt").write_text("mine")
    with FeatureStore.open(store_path) as store:
        index_store(store, scorer, gallery_copy)
    assert folders(gallery_copy) == {*others, *blocks_of(gallery_copy)}


def test_a_folder_of_other_things_is_refused_and_left_alone(scorer, store_path, bundle_copy, tmp_path):
    for name in ("blocks/2024/photo.jpg", "blocks/0123456789ab/photo.jpg", ".hidden"):
        folder = tmp_path / "other" / name.replace("/", "-")
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_text("mine")
        (folder / "writer.lock").touch()
        before = everything(folder)
        with (
            FeatureStore.open(store_path) as store,
            pytest.raises(InputError, match=r"not empty, it holds '.*': choose"),
        ):
            index_store(store, scorer, folder)
        assert everything(folder) == before
    before = everything(bundle_copy)
    with FeatureStore.open(store_path) as store:
        with pytest.raises(GalleryError, match="is a bundle, not a gallery"):
            index_store(store, scorer, bundle_copy)
        with pytest.raises(InputError, match="is a file: choose"):
            index_store(store, scorer, bundle_copy / "vocab.json")
        (tmp_path / "empty").mkdir()
        (tmp_path / "empty" / "writer.lock").touch()
        assert index_store(store, scorer, tmp_path / "empty").added == 41
    assert everything(bundle_copy) == before


def test_a_gallery_keeps_its_numbers(scorer, tmp_path):
    path = tmp_path / "gallery"
    with make_store(tmp_path / "store", range(2)) as store:
        index_store(store, scorer, path, dtype="float16")
        store.write([make_record(number) for number in range(2, 4)])
        before = everything(path)
        with pytest.raises(InputError, match="holds float16, not float32: index with --storage float16, or into a new"):
            index_store(store, scorer, path, dtype="float32")
        assert everything(path) == before
        assert index_store(store, scorer, path).added == 2
        assert index_store(store, scorer, path, dtype="float16").unchanged == 4
    gallery = Gallery.open(path)
    assert gallery.manifest.dtype == "float16"
    assert {block.files["image_regions"].dtype for block in gallery.blocks} == {np.dtype(np.float16)}


def test_arrays_of_another_bundle_are_refused_before_any_is_written(scorer, tmp_path):
    path = tmp_path / "gallery"
    with make_store(tmp_path / "store", range(2)) as store:
        index_store(store, scorer, path)
        manifest = Gallery.open(path).manifest
        for arrays in ({"region_mask": (9,)}, {**manifest.arrays, "more": (3,)}, {"image_regions": (9, 32)}):
            replace(manifest, arrays=arrays).save(path)
            store.write([make_record(5)])
            with pytest.raises(GalleryError, match="its arrays are not those of"):
                index_store(store, scorer, path)
            assert folders(path) == {manifest.blocks[0].name}


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


def test_a_store_with_none_of_the_images_is_refused_unless_all_are_to_go(scorer, gallery_copy, tmp_path):
    before = everything(gallery_copy)
    with make_store(tmp_path / "other", range(100, 103)) as store:
        with pytest.raises(InputError, match=r"other has none of the 41 images of .* new folder, or pass --replace"):
            index_store(store, scorer, gallery_copy)
        assert everything(gallery_copy) == before
        outcome = index_store(store, scorer, gallery_copy, replace_all=True)
    assert (outcome.added, outcome.removed) == (3, 41)
    assert len(Gallery.open(gallery_copy)) == 3
