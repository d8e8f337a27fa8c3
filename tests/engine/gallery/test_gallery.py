from __future__ import annotations

import json
import mmap
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from msgspec import structs
from resigned import sign_again
from shan_engine.base.errors import BundleError, GalleryError, InputError
from shan_engine.bundle.contents import Bundle
from shan_engine.bundle.manifest import Manifest
from shan_engine.gallery.reader import Gallery
from shan_engine.indexing.images import index_store
from shan_engine.jobs.run import score_job
from shan_engine.scoring.scorer import Scorer
from shan_engine.search.answer import search
from shan_engine.store.feature_store import FeatureStore
from shan_engine.text.query_files import QueryLine
from tiny import make_record, make_store


def test_blocks_are_mapped_views_unless_rows_are_deleted(gallery_path):
    gallery = Gallery.open(gallery_path)
    for block in gallery.blocks:
        assert all(isinstance(array.base.base.obj, mmap.mmap) for array in block.files.values())
        for place, arrays in block.batches(7):
            for name, array in arrays.items():
                assert np.shares_memory(array, block.files[name])
                assert len(array) == place.stop - place.start
    assert gallery.ids() == [image.id for image in gallery.images()]
    part = gallery.restricted_to(["photo3", "photo8"])
    assert part.ids() == [image.id for image in part.images()] == ["photo3", "photo8"]
    with pytest.raises(InputError, match=r"no image 'photo99' \(1 are missing\): index a store that has it, or"):
        gallery.restricted_to(["photo3", "photo99"])


def test_a_gallery_moves_with_its_photos(scorer, tmp_path):
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
    structs.replace(Manifest.load(bundle_copy), fingerprint="f" * 64).save(bundle_copy)
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
        first, second = (
            message.index("with --model (or in SHAN_MODEL)"),
            message.index("`shan-engine index STORE --model"),
        )
        assert first < second


def test_a_truncated_block_is_named(scorer, gallery_copy):
    file = next(gallery_copy.glob("blocks/*/image_regions.npy"))
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(GalleryError, match=r"image_regions\.npy is missing or truncated"):
        search(scorer, Gallery.open(gallery_copy), ["a dog"])
    file.unlink()
    with pytest.raises(GalleryError, match=r"image_regions\.npy is missing or truncated"):
        search(scorer, Gallery.open(gallery_copy), ["a dog"])


@pytest.mark.parametrize(("byte", "other"), [(b"}", b" "), (b"False", b"True ")])
def test_a_damaged_header_of_an_array_is_named(scorer, gallery_copy, byte, other):
    file = next(gallery_copy.glob("blocks/*/image_regions.npy"))
    file.write_bytes(file.read_bytes().replace(byte, other, 1))
    with pytest.raises(GalleryError, match=r"image_regions\.npy is (missing or truncated|damaged)"):
        search(scorer, Gallery.open(gallery_copy), ["a dog"])


def test_a_damaged_list_of_images_is_named(gallery_copy):
    file = next(gallery_copy.glob("blocks/*/images.jsonl"))
    lines = file.read_text().splitlines()
    for content in ("", "\n".join(lines[:-1]), "\n".join([*lines[:-1], "{"]), "\n".join([*lines[:-1], "[1]"])):
        file.write_text(content)
        with pytest.raises(GalleryError, match=r"images\.jsonl is damaged"):
            Gallery.open(gallery_copy).images()
        sign_again(gallery_copy)
        with pytest.raises(GalleryError, match=r"images\.jsonl is damaged"):
            Gallery.open(gallery_copy).images()
    file.unlink()
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
        for version, sentence in ((3, "schema 3, newer than 2: upgrade"), (1, "schema 1, older than 2: .* again|new")):
            (folder / "manifest.json").write_text(json.dumps({**data, "version": version, "news": True}))
            with pytest.raises(error, match=sentence):
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


def test_a_gallery_is_the_same_by_any_name(scorer, tmp_path, monkeypatch):
    home = tmp_path / "home"
    photo = str(home / "photos" / "0.jpg")
    with make_store(tmp_path / "store", range(0)) as store:
        store.write([replace(make_record(0, regions=3), path=photo)])
        index_store(store, scorer, home / "gallery")
        (tmp_path / "link").symlink_to(home / "gallery")
        monkeypatch.chdir(home / "gallery")
        for name in (".", "../gallery", str(tmp_path / "link")):
            assert [image.path for image in Gallery.open(Path(name)).images()] == [photo]
        store.write([replace(make_record(1, regions=2), path=str(home / "photos" / "1.jpg"))])
        index_store(store, scorer, Path())
    monkeypatch.chdir(tmp_path)
    images = Gallery.open(Path("link")).images()
    assert {image.path for image in images} == {photo, str(home / "photos" / "1.jpg")}
    lines = "".join(file.read_text() for file in home.glob("gallery/blocks/*/images.jsonl"))
    assert str(home) not in lines


# Names, as file systems have them

NAMES = ["caf\udce9.jpg", "caf\udce8.jpg", "a\u2028b.jpg", "a\x85b.jpg", 'a"\\b.jpg', "a\rb\nc.jpg", "日本.jpg"]


@pytest.fixture
def named(scorer, tmp_path):
    """A gallery of photos with such names below `photos/`."""
    with make_store(tmp_path / "store", range(0)) as store:
        photos = [(number, name, str(tmp_path / "photos" / name)) for number, name in enumerate(NAMES)]
        store.write([replace(make_record(number), id=name, path=path) for number, name, path in photos])
        index_store(store, scorer, tmp_path / "gallery")
        assert index_store(store, scorer, tmp_path / "gallery").unchanged == len(NAMES)
    return tmp_path / "gallery"


def test_names_come_back_as_they_are(scorer, named, tmp_path):
    gallery = Gallery.open(named)
    assert gallery.ids() == NAMES
    assert [(image.id, image.path) for image in gallery.images()] == [(n, str(tmp_path / "photos" / n)) for n in NAMES]
    assert {hit.image.id for hit in search(scorer, gallery, ["a dog"], top_k=9)[0].hits} == set(NAMES)
    (file,) = named.glob("blocks/*/images.jsonl")
    assert file.read_bytes().isascii()


def test_an_older_list_of_images_still_reads(named):
    """It holds the names themselves, as UTF-8."""
    (file,) = named.glob("blocks/*/images.jsonl")
    images = [json.loads(line) for line in file.read_text().split("\n")[:-1]]
    for image, name in zip(images, ("0", "1", *NAMES[2:]), strict=True):
        image |= {"id": name, "path": f"photos/{name}"}
    file.write_text("".join(json.dumps(image, ensure_ascii=False) + "\n" for image in images), "utf-8")
    sign_again(named)
    gallery = Gallery.open(named)
    assert gallery.ids()[2:] == NAMES[2:]
    assert [image.path for image in gallery.images()][2:] == [str(named.parent / "photos" / name) for name in NAMES[2:]]


def test_any_name_is_written_to_parquet(scorer, named, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    score_job(scorer, [Gallery.open(named)], [QueryLine("1", "a dog", "here")], tmp_path / "top.parquet")
    table = parquet.read_table(tmp_path / "top.parquet").to_pydict()
    assert set(table["image_id"]) == {r"caf\udce9.jpg", r"caf\udce8.jpg", *NAMES[2:]}


# What no longer fits together


@pytest.mark.parametrize("name", ["image_regions", "region_mask", "rows", "boxes"])
def test_one_changed_byte_is_found_when_it_is_read(scorer, gallery_copy, name):
    file = next(gallery_copy.glob(f"blocks/*/{name}.npy"))
    content = bytearray(file.read_bytes())
    content[-3] ^= 1
    file.write_bytes(content)
    with pytest.raises(GalleryError, match=r"'photo40' of .* damaged, a byte|npy is damaged, its bytes"):
        search(scorer, Gallery.open(gallery_copy), ["a dog"])


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("image_regions", np.zeros((41, 9, 5), np.float32)),
        ("image_regions", np.zeros((41, 9, 32), np.float64)),
        ("image_regions", np.zeros((40, 9, 32), np.float32)),
        ("image_regions", np.float32(1)),
        ("region_mask", np.zeros((41, 9), np.float32)),
    ],
)
def test_a_foreign_array_is_named(scorer, gallery_copy, name, array):
    np.save(next(gallery_copy.glob(f"blocks/*/{name}.npy")), array)
    with pytest.raises(GalleryError, match=rf"{name}\.npy does not fit the gallery's manifest, it holds .* not "):
        search(scorer, Gallery.open(gallery_copy), ["a dog"])


def test_foreign_boxes_and_archives_are_named(scorer, gallery_copy):
    file = next(gallery_copy.glob("blocks/*/boxes.npy"))
    np.save(file, np.zeros((41, 8, 4), np.float32))
    with pytest.raises(GalleryError, match=r"boxes\.npy is damaged"):
        search(scorer, Gallery.open(gallery_copy), ["a dog"])
    sign_again(gallery_copy)
    with pytest.raises(GalleryError, match=r"boxes\.npy does not fit"):
        search(scorer, Gallery.open(gallery_copy), ["a dog"])
    with file.open("wb") as archive:
        np.savez(archive, a=np.zeros(3))
    sign_again(gallery_copy)
    with pytest.raises(GalleryError, match=r"boxes\.npy does not fit"):
        search(scorer, Gallery.open(gallery_copy), ["a dog"])


@pytest.mark.parametrize("change", [{"id": 5}, {"path": None}, {"width": "9"}, {"checksum": True}, {"more": 1}])
def test_a_list_of_images_of_wrong_types_is_damaged(gallery_copy, change):
    file = next(gallery_copy.glob("blocks/*/images.jsonl"))
    lines = file.read_text().split("\n")
    file.write_text("\n".join([json.dumps({**json.loads(lines[0]), **change}), *lines[1:]]))
    sign_again(gallery_copy)
    for read in (Gallery.ids, Gallery.images):
        with pytest.raises(GalleryError, match=r"images\.jsonl is damaged"):
            read(Gallery.open(gallery_copy))
