"""Galleries cut into parts and put together hold the same bytes and find the same images."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from gallery_scores import matrix
from msgspec import structs
from shan_engine.base.errors import GalleryError, InputError
from shan_engine.base.metadata import Metadata
from shan_engine.gallery.filters import columns, matching
from shan_engine.gallery.pooled import Pooled
from shan_engine.gallery.reader import Gallery
from shan_engine.indexing.copy import gallery_facts, merge_galleries, split_gallery
from shan_engine.indexing.images import BlockSizes, index_store
from shan_engine.search.answer import search
from tiny import CAPTIONS, make_record, make_store


@pytest.fixture(params=["float32", "float16", "int8"])
def stored(request, scorer, tmp_path, monkeypatch):
    """41 images in blocks of 10, searched in stages, of which two are deleted."""
    monkeypatch.setattr("shan_engine.indexing.copy.BLOCK_IMAGES", 10)
    sizes = BlockSizes(10, staged_from=30)
    with make_store(tmp_path / "store", range(41)) as store:
        index_store(store, scorer, tmp_path / "g", dtype=request.param, sizes=sizes)
        store.delete(["photo4", "photo25"])
        index_store(store, scorer, tmp_path / "g", sizes=sizes)
    return Gallery.open(tmp_path / "g")


def raw(gallery):
    """All rows of all files of all images, in order."""
    parts = [block.raw(np.arange(len(block)), pooled=True) for block in gallery.blocks]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def assert_same(one, other):
    assert one.images() == other.images()
    found, wanted = raw(one), raw(other)
    assert found.keys() == wanted.keys()
    for name in wanted:
        np.testing.assert_array_equal(found[name], wanted[name], err_msg=name)


@pytest.mark.parametrize("parts", [1, 3, 39])
def test_parts_put_together_again_are_the_whole(stored, scorer, tmp_path, parts):
    assert stored.manifest.staged
    paths = split_gallery(stored, parts, tmp_path / "parts")
    opened = [Gallery.open(path, scorer.bundle) for path in paths]
    assert [path.name for path in paths] == [f"part-{number:03d}" for number in range(parts)]
    assert max(map(len, opened)) - min(map(len, opened)) <= 1
    assert [id for part in opened for id in part.ids()] == stored.ids()
    assert not any(entry.deleted for part in opened for entry in part.manifest.blocks)
    merged = merge_galleries(opened, tmp_path / "merged")
    assert_same(merged, stored)
    assert [entry.images for entry in merged.manifest.blocks] == [10, 10, 10, 9]
    for number, part in enumerate(opened[:3]):
        (tmp_path / f"{number}").mkdir()
        whole = matrix(scorer, stored.restricted_to(part.ids()), tmp_path)
        np.testing.assert_allclose(matrix(scorer, part, tmp_path / f"{number}"), whole, rtol=0, atol=1e-6)
    one, other = (search(scorer, gallery, CAPTIONS, explain=False) for gallery in (merged, stored))
    assert [[hit.image for hit in result.hits] for result in one] == [
        [hit.image for hit in result.hits] for result in other
    ]


def test_photos_are_found_from_where_a_gallery_lies(scorer, tmp_path):
    photo = tmp_path / "there" / "photos" / "0.jpg"
    with make_store(tmp_path / "store", range(0)) as store:
        store.write([replace(make_record(0), path=str(photo))])
        index_store(store, scorer, tmp_path / "there" / "gallery")
    (path,) = split_gallery(Gallery.open(tmp_path / "there" / "gallery"), 1, tmp_path / "elsewhere")
    merge_galleries([Gallery.open(path)], tmp_path / "there" / "again")
    for place in (path, tmp_path / "there" / "again"):
        assert Gallery.open(place).images()[0].path == str(photo)
    (lines,) = (tmp_path / "there" / "again").glob("blocks/*/images.jsonl")
    assert '"photos/0.jpg"' in lines.read_text()


def test_small_galleries_are_searched_in_stages_when_they_become_large(scorer, gallery_path, other_path, tmp_path):
    galleries = [Gallery.open(path) for path in (gallery_path, other_path)]
    merged = merge_galleries(galleries, tmp_path / "merged", staged_from=50)
    assert merged.manifest.staged
    assert not any(gallery.manifest.staged for gallery in galleries)
    written, made = merged.blocks[0].pooled, Pooled.of(merged.blocks[0].files)
    np.testing.assert_array_equal(written.vectors, made.vectors)
    np.testing.assert_array_equal(written.scales, made.scales)


def test_what_cannot_be_split_or_merged(scorer, gallery_path, gallery_copy, other_path, make_checkpoint, tmp_path):
    gallery, other = Gallery.open(gallery_path), Gallery.open(other_path)
    for parts in (0, 42):
        with pytest.raises(InputError, match=r"has 41 images: choose between 1 and that many parts"):
            split_gallery(gallery, parts, tmp_path / "parts")
    with pytest.raises(InputError, match=r"gallery is there already: choose a new folder"):
        merge_galleries([other], gallery_copy)
    with pytest.raises(InputError, match=r"the image 'photo0' is in .*gallery and in .*gallery: leave one"):
        merge_galleries([gallery, Gallery.open(gallery_copy)], tmp_path / "merged")
    with make_store(tmp_path / "store", range(100, 103)) as store:
        index_store(store, scorer, tmp_path / "int8", dtype="int8")
    with pytest.raises(InputError, match=r"differ in storage \(float32, int8\): index their stores alike"):
        merge_galleries([gallery, Gallery.open(tmp_path / "int8")], tmp_path / "merged")
    foreign = Gallery(other.path, structs.replace(other.manifest, fingerprint="f" * 64))
    with pytest.raises(InputError, match=r"differ in bundle \("):
        merge_galleries([gallery, foreign], tmp_path / "merged")
    with pytest.raises(InputError, match="nothing to merge"):
        merge_galleries([], tmp_path / "merged")
    file = next(gallery_copy.glob("blocks/*/image_regions.npy"))
    content = bytearray(file.read_bytes())
    content[-3] ^= 1
    file.write_bytes(content)
    with pytest.raises(GalleryError, match=r"'photo40' of .* damaged, a byte"):
        split_gallery(Gallery.open(gallery_copy), 3, tmp_path / "parts")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["gallery", "int8", "store"]


def test_facts(gallery_path):
    facts = gallery_facts(Gallery.open(gallery_path))
    assert (facts["images"], facts["blocks"], facts["deleted_rows"]) == (41, 1, 0)
    assert facts["arrays"] == {"image_regions": [9, 32], "region_mask": [9]}
    assert facts["bytes"] > 41 * 9 * 32 * 4


def test_what_is_known_of_photos_goes_with_them(scorer, tmp_path, monkeypatch):
    for module in ("images", "copy"):
        monkeypatch.setattr(f"shan_engine.indexing.{module}.BLOCK_IMAGES", 10)
    known = {f"photo{n}": (2000 + n, f"owner {n % 3}") for n in range(0, 23, 2)}
    with make_store(tmp_path / "store", range(23)) as store:
        store.put_metadata(Metadata({"year": "INTEGER", "owner": "TEXT"}, known))
        index_store(store, scorer, tmp_path / "g")
    with make_store(tmp_path / "other", range(23, 30)) as store:
        index_store(store, scorer, tmp_path / "bare")
    whole = Gallery.open(tmp_path / "g")
    where = "year > 2006 and owner <> 'owner 1'"
    parts = [Gallery.open(path) for path in split_gallery(whole, 3, tmp_path / "parts")]
    assert [id for part in parts for id in matching(part, where).ids()] == matching(whole, where).ids()
    merged = merge_galleries([Gallery.open(tmp_path / "bare"), *parts], tmp_path / "merged")
    assert matching(merged, where).ids() == matching(whole, where).ids()
    assert matching(merged, "year is null").ids() == [f"photo{n}" for n in (*range(23, 30), *range(1, 23, 2))]
    assert columns(merged) == ["id", "path", "year", "owner"]
    with make_store(tmp_path / "third", range(30, 33)) as store:
        store.put_metadata(Metadata({"Owner": "TEXT"}, {"photo30": ("owner 9",)}))
        index_store(store, scorer, tmp_path / "upper")
    both = merge_galleries([whole, Gallery.open(tmp_path / "upper")], tmp_path / "both")
    assert columns(both) == ["id", "path", "year", "owner"]  # SQL takes names of another case for the same
    assert matching(both, "owner = 'owner 9'").ids() == ["photo30"]
