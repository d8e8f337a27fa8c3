"""Photos known by their bytes: renamed, touched, copied and vanished ones, and stores of older versions."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from extractors import detector
from PIL import Image
from shan_engine.base.column_types import INTEGER
from shan_engine.base.errors import StoreError
from shan_engine.base.metadata import Metadata
from shan_engine.photos.extract import ExtractionResult, extract_photos
from shan_engine.photos.extractor import FeatureExtractor
from shan_engine.store.feature_store import FeatureStore
from shan_engine.store.verify import verify_store

LEVELS = {"a.png": 1, "b.png": 2, "sub/c.png": 3, "sub/d.png": 4}


class Collection:
    """Photos of one colour each, and their store."""

    def __init__(self, folder: Path) -> None:
        self.photos, self.store = folder / "photos", folder / "s"
        self._extractor = FeatureExtractor(detector(folder), "cpu", threads=1)
        for name, level in LEVELS.items():
            self.add(name, level)

    def add(self, name: str, level: int) -> None:
        (self.photos / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4), (level,) * 3).save(self.photos / name)

    def move(self, old: str, new: str) -> None:
        (self.photos / new).parent.mkdir(parents=True, exist_ok=True)
        (self.photos / old).rename(self.photos / new)

    def copy(self, old: str, new: str) -> None:
        (self.photos / new).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(self.photos / old, self.photos / new)

    def extract(self, **options: Any) -> ExtractionResult:
        return extract_photos(options.pop("folders", self.photos), self.store, self._extractor, **options)

    def counts(self, **options: Any) -> dict[str, int]:
        """What a run counts, without zeros. The store's features are those of the photos then."""
        result = self.extract(**options)
        self.levels()
        names = ("added", "unchanged", "removed", "renamed", "copied")
        return {name: getattr(result, name) for name in names if getattr(result, name)}

    def levels(self) -> dict[str, float]:
        """The colours in the store, by id. Each photo that exists has the colour that its record has."""
        with FeatureStore.open(self.store) as store:
            records = store.read(sorted(store.ids()))
            assert len(store.entries()) == 1
        for record in records:
            assert record.path == str(self.photos / record.id)
            if Path(record.path).exists():
                with Image.open(record.path) as image:
                    np.testing.assert_allclose(record.features, [[image.getpixel((0, 0))[0]] * 3] * 2)
        return {record.id: float(record.features[0, 0]) for record in records}

    def places(self) -> dict[str, list[str]]:
        """The names of all files, by id, of images with several."""
        with FeatureStore.open(self.store) as store:
            return {id: [file.id for file in held.files] for id, held in store.contents().items() if held.files[1:]}


@pytest.fixture
def collection(tmp_path: Path) -> Collection:
    collection = Collection(tmp_path)
    collection.extract()
    return collection


def test_renamed_and_touched_photos_are_not_extracted(collection: Collection) -> None:
    collection.move("a.png", "new/z.png")
    collection.move("sub", "holiday")
    os.utime(collection.photos / "b.png", ns=(1, 1))
    assert collection.counts() == {"unchanged": 1, "renamed": 3}
    assert collection.levels() == {"b.png": 2, "holiday/c.png": 3, "holiday/d.png": 4, "new/z.png": 1}
    assert collection.counts() == {"unchanged": 4}


def test_a_touched_photo_keeps_its_record(collection: Collection) -> None:
    """So that the gallery need not encode it again."""
    with FeatureStore.open(collection.store) as store:
        before = {info.id: info.checksum for info in store.infos()}
    os.utime(collection.photos / "a.png", ns=(1, 1))
    assert collection.counts() == {"unchanged": 4}
    with FeatureStore.open(collection.store) as store:
        assert {info.id: info.checksum for info in store.infos()} == before


def test_names_that_are_exchanged(collection: Collection) -> None:
    collection.move("a.png", "free.png")
    collection.move("b.png", "a.png")
    collection.move("sub/c.png", "b.png")
    collection.move("free.png", "sub/c.png")
    assert collection.counts() == {"unchanged": 1, "renamed": 3}
    assert collection.levels() == {"a.png": 2, "b.png": 3, "sub/c.png": 1, "sub/d.png": 4}
    assert collection.counts() == {"unchanged": 4}


def test_a_new_photo_takes_the_name_of_a_renamed_one(collection: Collection) -> None:
    collection.move("a.png", "z.png")
    collection.add("a.png", 9)
    assert collection.counts() == {"added": 1, "unchanged": 3, "renamed": 1}
    assert collection.levels() == {"a.png": 9, "b.png": 2, "sub/c.png": 3, "sub/d.png": 4, "z.png": 1}


def test_copies_are_one_image_with_several_places(collection: Collection) -> None:
    collection.copy("a.png", "sub/copy.png")
    for name in ("new.png", "twin.png"):
        collection.add(name, 9)
    assert collection.counts() == {"added": 1, "unchanged": 4, "copied": 2}
    assert collection.places() == {"a.png": ["a.png", "sub/copy.png"], "new.png": ["new.png", "twin.png"]}
    assert collection.counts() == {"unchanged": 7}
    with FeatureStore.open(collection.store) as store:
        described = store.described()
    assert described is not None
    copies = {id: dict(zip(described.columns, row, strict=True))["copies"] for id, row in described.rows.items()}
    assert copies["a.png"] == str(collection.photos / "sub" / "copy.png")
    assert copies["b.png"] is None
    # The first file goes, and the image lives on with the other one; then that one changes.
    (collection.photos / "a.png").unlink()
    assert collection.counts() == {"unchanged": 6, "removed": 1}
    assert collection.places() == {"new.png": ["new.png", "twin.png"]}
    collection.add("new.png", 8)
    assert collection.counts() == {"added": 1, "unchanged": 5}
    assert collection.levels() == {
        "b.png": 2, "new.png": 8, "sub/c.png": 3, "sub/copy.png": 1, "sub/d.png": 4, "twin.png": 9
    }  # fmt: skip


def test_broken_copies_are_each_told(collection: Collection) -> None:
    for name in ("x.png", "y.png"):
        (collection.photos / name).write_bytes(b"broken")
    result = collection.extract()
    assert (result.added, result.copied, len(result.broken)) == (0, 0, 2)
    assert result.broken[1].endswith(f"y.png cannot be used: it has the same bytes as {collection.photos / 'x.png'}")


def test_a_table_goes_with_a_renamed_photo(collection: Collection) -> None:
    with FeatureStore.open(collection.store, readonly=False) as store:
        store.put_metadata(Metadata({"stars": INTEGER}, {"a.png": (5,), "elsewhere": (1,)}))
    collection.move("a.png", "z.png")
    collection.extract()
    with FeatureStore.open(collection.store) as store:
        held = store.metadata()
        assert held is not None
        assert held.rows == {"z.png": (5,), "elsewhere": (1,)}
        assert store.facts()["z.png"].facts["width"] == 4


@pytest.mark.parametrize("left", ["missing", "empty", "a note"])
def test_a_folder_that_vanished_whole_stays_until_it_is_pruned(collection: Collection, left: str) -> None:
    shutil.move(collection.photos / "sub", collection.photos.parent / "away")
    if left != "missing":
        (collection.photos / "sub").mkdir()
    if left == "a note":
        (collection.photos / "sub" / "not mounted.txt").touch()
    result = collection.extract()
    assert (result.removed, result.vanished) == (0, {str(collection.photos / "sub"): 2})
    assert len(collection.levels()) == 4
    shutil.rmtree(collection.photos / "sub", ignore_errors=True)
    shutil.copytree(collection.photos.parent / "away", collection.photos / "sub")
    assert collection.counts() == {"unchanged": 4}  # it is mounted again
    shutil.rmtree(collection.photos / "sub")
    assert collection.counts(prune=True) == {"unchanged": 2, "removed": 2}


def test_a_root_that_vanished_whole_stays_until_it_is_pruned(tmp_path: Path, collection: Collection) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "here.png")
    folders = [collection.photos, tmp_path / "here"]
    (tmp_path / "here").mkdir()
    (tmp_path / "here.png").rename(tmp_path / "here" / "x.png")
    collection.extract(folders=folders)
    collection.photos.rename(tmp_path / "away")
    result = collection.extract(folders=folders)
    assert (result.unchanged, result.removed, result.vanished) == (1, 0, {str(collection.photos): 4})
    assert collection.extract(folders=folders, prune=True).removed == 4


def test_a_disk_that_fails_is_no_deletion(collection: Collection, monkeypatch: pytest.MonkeyPatch) -> None:
    """A network share whose server is gone answers with errors."""
    scandir, stat, closed = os.scandir, os.stat, str(collection.photos / "sub")

    def failing(call: Any) -> Any:
        def fail(path: Any, *more: Any, **options: Any) -> Any:
            if str(path).startswith(closed):
                raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), str(path))
            return call(path, *more, **options)

        return fail

    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", failing(scandir))
        patch.setattr(os, "stat", failing(stat))
        result = collection.extract(prune=True)
    assert (result.unchanged, result.removed, len(result.broken)) == (2, 0, 1)
    assert result.broken[0].startswith(f"cannot read {closed}: Stale file handle")
    assert collection.counts() == {"unchanged": 4}


def test_a_store_of_an_older_version_goes_on(collection: Collection) -> None:
    with FeatureStore.open(collection.store, readonly=False) as store:
        records = store.read(store.ids())
        store.write(records)  # as older versions did, without what is known of files
        assert store.contents() == {}
    collection.copy("a.png", "copy.png")  # known by a photo that has no hash yet
    assert collection.counts() == {"unchanged": 4, "copied": 1}
    with FeatureStore.open(collection.store) as store:
        hashes = {content.hash for content in store.contents().values()}
    assert len(hashes) == 4
    assert "" not in hashes
    collection.move("b.png", "z.png")
    assert collection.counts() == {"unchanged": 4, "renamed": 1}


def test_a_damaged_list_of_files_is_told(collection: Collection) -> None:
    data = collection.store / "data.mdb"
    data.write_bytes(data.read_bytes().replace(b'"files"', b'"fiXes"'))
    with pytest.raises(StoreError, match=r"the list of files of the store .* is damaged"):
        collection.extract()
    with pytest.raises(StoreError, match=r"the list of files of the store .* is damaged"):
        list(verify_store(collection.store))


def test_files_of_one_size_are_told_apart_by_all_their_bytes(tmp_path: Path) -> None:
    """Scans without compression: alike in size and beginning, and only two alike to their ends."""
    collection = Collection(tmp_path)
    for name, last in (("x.bmp", 1), ("y.bmp", 2), ("z.bmp", 2)):
        image = Image.new("RGB", (200, 200))
        image.putpixel((199, 0), (last, last, last))  # BMP begins with the last line of pixels
        image.save(collection.photos / name)
    result = collection.extract()
    assert (result.added, result.copied) == (6, 1)
    assert collection.places() == {"y.bmp": ["y.bmp", "z.bmp"]}
