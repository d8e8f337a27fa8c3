"""Images found by id without their lists being parsed: additions, deletions, merges, damage, and older galleries."""

from __future__ import annotations

import json

import numpy as np
import pytest
from resigned import sign_fields
from shan_engine.base.errors import GalleryError, InputError
from shan_engine.gallery import block_files
from shan_engine.gallery.id_rows import ID_FILES, id_rows, rows_at
from shan_engine.gallery.reader import Gallery
from shan_engine.indexing.copy import merge_galleries
from shan_engine.indexing.images import BlockSizes, index_store
from tiny import make_record, make_store

SMALL = BlockSizes(images=8)


@pytest.fixture
def path(scorer, tmp_path):
    """A gallery of photo1 to photo21 in several blocks: photo0 was deleted, photo9 encoded again."""
    with make_store(tmp_path / "store", range(20)) as store:
        index_store(store, scorer, tmp_path / "gallery", sizes=SMALL)
        store.delete(["photo0"])
        store.write([make_record(9, seed=1), make_record(20), make_record(21)])
        index_store(store, scorer, tmp_path / "gallery", sizes=SMALL)
    return tmp_path / "gallery"


def as_older(path):
    """What an earlier version would have written."""
    fields = json.loads((path / "manifest.json").read_text("utf-8"))
    for block in fields["blocks"]:
        for name in ID_FILES:
            block["files"].pop(name)
            (path / "blocks" / block["name"] / name).unlink()
    sign_fields(path / "manifest.json", **fields)


def assert_found(gallery):
    for place, id in enumerate(gallery.ids()):
        assert gallery.place(id) == place
        assert gallery.image(id).id == id
    assert sorted(gallery.ids()) == sorted(f"photo{number}" for number in range(1, 22))
    for gone in ("photo0", "photo22", ""):
        with pytest.raises(InputError, match=f"has no image '{gone}'"):
            gallery.place(gone)
    part = gallery.restricted_to(["photo21", "photo9", "photo3"])
    assert set(part.ids()) == {"photo3", "photo9", "photo21"}
    assert part.place(part.ids()[1]) == 1
    with pytest.raises(InputError, match="no image 'photo4'"):
        part.place("photo4")
    with pytest.raises(InputError, match=r"has no image 'photo0' \(2 are missing\)"):
        gallery.restricted_to(["photo0", "photo1", "photo99"])


def test_images_are_found_by_id(path, tmp_path):
    assert_found(Gallery.open(path))
    assert_found(merge_galleries([Gallery.open(path)], tmp_path / "merged"))
    as_older(path)
    assert_found(Gallery.open(path))


def test_one_line_is_parsed_for_one_id(path, monkeypatch):
    parsed, decode = [], block_files.decode_row
    monkeypatch.setattr(block_files, "decode_row", lambda row: parsed.append(1) or decode(row))
    Gallery.open(path).place("photo21")
    assert len(parsed) == 1


@pytest.mark.parametrize("name", ID_FILES)
def test_a_changed_byte_is_told(path, name):
    block = Gallery.open(path).blocks[-1].name
    file = path / "blocks" / block / name
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(GalleryError, match=f"{name} is damaged"):
        Gallery.open(path).place("photo21")


def test_ids_with_one_hash_are_told_apart(path, monkeypatch):
    """All ids collide: each is found by its line in the list."""
    monkeypatch.setattr("shan_engine.gallery.id_rows.xxhash.xxh3_64_intdigest", lambda text: 7)
    as_older(path)
    assert_found(Gallery.open(path))


def test_rows_are_those_of_the_ids():
    ids = ["b", "a", "caf\udce9.jpg", "\ud800", "東京"]
    held = id_rows(ids)
    assert (np.diff(held["id-hashes"].astype(object)) > 0).all()
    assert [rows_at(held, id_rows([id])["id-hashes"]) for id in ids] == [[row] for row in range(5)]
    assert rows_at(held, id_rows(["c"])["id-hashes"]) == []
