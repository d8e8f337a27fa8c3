from __future__ import annotations

from installed import output_of, refusal, shan
from shan_engine.gallery.reader import Gallery
from tiny import make_record, make_store


def test_a_gallery_keeps_its_storage_unless_told_otherwise(bundle_path, tmp_path):
    gallery, model = tmp_path / "gallery", ("--model", bundle_path)
    with make_store(tmp_path / "s", range(2)) as store:
        output_of("index", tmp_path / "s", "--output", gallery, *model, "--storage", "float16")
        store.write([make_record(2)])
    sentence = refusal("index", tmp_path / "s", "--output", gallery, *model, "--storage", "float32")
    assert "holds float16, not float32: index with --storage float16" in sentence
    output_of("index", tmp_path / "s", "--output", gallery, *model)
    assert (len(Gallery.open(gallery)), Gallery.open(gallery).manifest.dtype) == (3, "float16")
    output_of("index", tmp_path / "s", "--output", tmp_path / "new", *model)
    assert Gallery.open(tmp_path / "new").manifest.dtype == "float32"
    assert shan("index", tmp_path / "s", "--output", gallery, *model, "--storage", "int4").returncode == 2


def test_photos_among_which_a_gallery_is_asked_for_are_left_alone(bundle_path, store_path, tmp_path):
    album = tmp_path / "blocks" / "holiday"
    album.mkdir(parents=True)
    (album / "beach.jpg").write_bytes(b"photo")
    sentence = refusal("index", store_path, "--output", tmp_path, "--model", bundle_path)
    assert f"{tmp_path} is not a gallery and is not empty, it holds 'blocks'" in sentence
    assert sorted(tmp_path.rglob("*")) == [tmp_path / "blocks", album, album / "beach.jpg"]
