"""Several folders in one store: ids, what is left out, and folders that overlap, link to each other, or move."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from extractors import detector
from PIL import Image
from shan_engine.base.errors import InputError
from shan_engine.photos.extract import extract_photos
from shan_engine.photos.extractor import FeatureExtractor
from shan_engine.photos.find import find_photos
from shan_engine.photos.moved_roots import move_root
from shan_engine.store.feature_store import FeatureStore
from shan_engine.store.records import RegionRecord
from shan_engine.store.schema import StoreSchema


@pytest.fixture
def extractor(tmp_path: Path) -> FeatureExtractor:
    return FeatureExtractor(detector(tmp_path), "cpu", threads=1)


def photo(path: Path, level: int = 1) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 4), (level,) * 3).save(path)
    return path


def paths(store: Path) -> dict[str, str]:
    with FeatureStore.open(store) as opened:
        return {info.id: info.path for info in opened.infos()}


def found(*folders: Path, exclude: tuple[str, ...] = ()) -> list[str]:
    return [photo.id for photo in find_photos(folders, exclude=exclude).photos]


def test_ids_of_several_folders_begin_with_their_names(tmp_path: Path) -> None:
    one, two = tmp_path / "a" / "Photos", tmp_path / "b" / "Photos"
    photo(one / "x.png")
    photo(two / "sub" / "x.png")
    photo(tmp_path / "Scans" / "x.png")
    assert found(one) == ["x.png"]
    assert found(one, tmp_path / "Scans") == ["Photos/x.png", "Scans/x.png"]
    assert found(one, two) == ["Photos-2/sub/x.png", "Photos/x.png"]


def test_a_folder_that_joins_changes_no_id(tmp_path: Path, extractor: FeatureExtractor) -> None:
    store, one, two = tmp_path / "s", tmp_path / "one", tmp_path / "two"
    photo(one / "x.png", 1)
    photo(one / "two" / "x.png", 2)  # the id that the other folder's photo would get
    photo(two / "x.png", 3)
    extract_photos(one, store, extractor)
    extract_photos([one, two], store, extractor)
    assert paths(store).keys() == {"x.png", "two/x.png", "two-2/x.png"}
    photo(one / "y.png", 4)
    photo(two / "y.png", 5)
    extract_photos([two, one], store, extractor)
    assert paths(store).keys() == {"x.png", "two/x.png", "two-2/x.png", "y.png", "two-2/y.png"}
    assert extract_photos(two, store, extractor).unchanged == 2  # alone, it keeps its name, and the others stay
    assert len(paths(store)) == 5


def test_the_folder_around_a_known_one_takes_no_id_from_it(tmp_path: Path, extractor: FeatureExtractor) -> None:
    photo(tmp_path / "all" / "in" / "x.png", 1)
    photo(tmp_path / "all" / "x.png", 2)
    extract_photos(tmp_path / "all" / "in", tmp_path / "s", extractor)
    assert extract_photos(tmp_path / "all", tmp_path / "s", extractor).added == 1
    inner, outer = str(tmp_path / "all" / "in" / "x.png"), str(tmp_path / "all" / "x.png")
    assert paths(tmp_path / "s") == {"x.png": inner, "all/x.png": outer}


def test_overlapping_folders_hold_a_photo_once(tmp_path: Path) -> None:
    photo(tmp_path / "all" / "in" / "x.png")
    photo(tmp_path / "all" / "y.png")
    (tmp_path / "way").symlink_to(tmp_path / "all")
    everything = ["in/x.png", "y.png"]
    assert found(tmp_path / "all" / "in", tmp_path / "all") == everything
    assert found(tmp_path / "all", tmp_path / "way", tmp_path / "all" / ".." / "all") == everything


def test_linked_folders_are_followed_once(tmp_path: Path) -> None:
    photo(tmp_path / "nas" / "x.png")
    photo(tmp_path / "photos" / "z" / "y.png")
    (tmp_path / "photos" / "album").symlink_to(tmp_path / "nas")
    (tmp_path / "photos" / "again").symlink_to(tmp_path / "photos" / "z")  # the folder itself comes first
    (tmp_path / "nas" / "loop").symlink_to(tmp_path / "photos")
    (tmp_path / "photos" / "up").symlink_to(tmp_path)
    (tmp_path / "photos" / "self").symlink_to("self")
    (tmp_path / "photos" / "gone").symlink_to("nowhere")
    assert found(tmp_path / "photos") == ["album/x.png", "z/y.png"]
    assert find_photos(tmp_path / "photos").unreadable == ()


def test_thumbnails_and_bins_are_left_out(tmp_path: Path) -> None:
    hidden = (".thumbnails/a.png", "@eaDir/a.png/thumb.png", "#recycle/a.png", "x/$RECYCLE.BIN/a.png", "x/.b.png")
    for name in ("x/a.png", *hidden, "C.lrdata/a.png", "P.photoslibrary/resources/a.png"):
        photo(tmp_path / "photos" / name)
    photo(tmp_path / "photos" / "P.photoslibrary" / "originals" / "a.png")
    assert found(tmp_path / "photos") == ["P.photoslibrary/originals/a.png", "x/a.png"]
    assert found(tmp_path / "photos" / ".thumbnails") == ["a.png"]  # given by name


def test_patterns_are_those_of_a_gitignore(tmp_path: Path) -> None:
    for name in ("a.png", "b.png", "deep/a.png", "deep/keep/a.png", "Screenshots/a.png", ".take/a.png"):
        photo(tmp_path / "photos" / name)
    folder = tmp_path / "photos"
    assert found(folder, exclude=("Screenshots/", "/a.png")) == ["b.png", "deep/a.png", "deep/keep/a.png"]
    (folder / ".shanignore").write_text("# of the whole folder\nScreenshots\n!.take/\nb.*\n")
    (folder / "deep" / ".shanignore").write_text("*.png\n!keep/*\n")
    assert found(folder) == [".take/a.png", "a.png", "deep/keep/a.png"]
    assert found(folder, exclude=("a.png", "!/b.png")) == ["b.png"]
    with pytest.raises(InputError, match="--exclude has an invalid pattern"):
        found(folder, exclude=("!",))
    (folder / ".shanignore").write_bytes(b"\xff")
    with pytest.raises(InputError, match=r"\.shanignore is not UTF-8 text"):
        found(folder)


def test_photos_that_are_left_out_later_are_removed(tmp_path: Path, extractor: FeatureExtractor) -> None:
    photo(tmp_path / "photos" / "a.png", 1)
    photo(tmp_path / "photos" / "dull" / "b.png", 2)
    extract_photos(tmp_path / "photos", tmp_path / "s", extractor)
    assert extract_photos(tmp_path / "photos", tmp_path / "s", extractor, exclude=["dull"]).removed == 1
    assert paths(tmp_path / "s").keys() == {"a.png"}


@pytest.mark.parametrize("missing", [["nowhere"], ["photos", "nowhere"]])
def test_a_folder_that_never_was_is_an_error(tmp_path: Path, extractor: FeatureExtractor, missing: list[str]) -> None:
    photo(tmp_path / "photos" / "a.png")
    with pytest.raises(InputError, match=f"there is no folder {tmp_path / 'nowhere'}"):
        extract_photos([tmp_path / name for name in missing], tmp_path / "s", extractor)


def test_a_moved_collection_keeps_ids_and_features(tmp_path: Path, extractor: FeatureExtractor) -> None:
    store = tmp_path / "s"
    for level, name in enumerate(("one/a.png", "one/b.png", "two/a.png"), 1):
        photo(tmp_path / "old" / name, level)
    (tmp_path / "old" / "one" / "copy.png").write_bytes((tmp_path / "old" / "one" / "a.png").read_bytes())
    folders = [tmp_path / "old" / "one", tmp_path / "old" / "two"]
    extract_photos(folders, store, extractor)
    (tmp_path / "old").rename(tmp_path / "new")
    for name in ("one/a.png", "two/a.png"):
        os.utime(tmp_path / "new" / name, ns=(9, 9))
    assert move_root(store, tmp_path / "old", tmp_path / "new") == 3
    assert move_root(store, tmp_path / "old", tmp_path / "new") == 0
    totals: list[int] = []
    again = extract_photos(
        [tmp_path / "new" / "one", tmp_path / "new" / "two"], store, extractor, on_start=totals.append
    )
    assert (again.added, again.unchanged, again.removed, again.copied, again.renamed) == (0, 4, 0, 0, 0)
    with FeatureStore.open(store) as opened:
        assert {id: content.files[-1].path for id, content in opened.contents().items()} == {
            "one/a.png": str(tmp_path / "new/one/copy.png"),
            "one/b.png": str(tmp_path / "new/one/b.png"),
            "two/a.png": str(tmp_path / "new/two/a.png"),
        }
        for record in opened.read(["one/a.png", "one/b.png", "two/a.png"]):
            assert record.path == str(tmp_path / "new" / record.id)
        np.testing.assert_allclose(opened.read(["two/a.png"])[0].features, 3)


def test_wrong_moves(tmp_path: Path, extractor: FeatureExtractor) -> None:
    photo(tmp_path / "photos" / "a.png")
    extract_photos(tmp_path / "photos", tmp_path / "s", extractor)
    with pytest.raises(InputError, match=f"there is no folder {tmp_path / 'nowhere'}"):
        move_root(tmp_path / "s", tmp_path / "photos", tmp_path / "nowhere")
    (tmp_path / "other").mkdir()
    with pytest.raises(InputError, match=f"has no photo below {tmp_path / 'phot'}:"):
        move_root(tmp_path / "s", tmp_path / "phot", tmp_path / "other")


def test_imported_features_stay_beside_photos(tmp_path: Path, extractor: FeatureExtractor) -> None:
    features = np.ones((2, 3), np.float32)
    with FeatureStore.create(tmp_path / "s", StoreSchema("halves", 3)) as store:
        store.write([RegionRecord("imported", features), RegionRecord("a.png", features)])
    photo(tmp_path / "photos" / "a.png", 7)
    for unchanged in (0, 1):
        result = extract_photos(tmp_path / "photos", tmp_path / "s", extractor)
        assert (result.added, result.unchanged, result.removed) == (1 - unchanged, unchanged, 0)
    with FeatureStore.open(tmp_path / "s") as store:
        imported, extracted = store.read(["imported", "a.png"])
        np.testing.assert_array_equal(imported.features, features)
        np.testing.assert_allclose(extracted.features, 7)
