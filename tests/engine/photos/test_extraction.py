"""Photo folders into a store, with tiny extractors whose features are known: mean colours of cells."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from extractors import backbone, detector
from PIL import Image
from shan_engine.base.errors import BackendError, InputError, StoreError
from shan_engine.photos import extract as extraction
from shan_engine.photos import plan
from shan_engine.photos.decode import ScaledPhoto, read_scaled
from shan_engine.photos.extract import extract_photos
from shan_engine.photos.extractor import FeatureExtractor, grid_boxes, read_recipe
from shan_engine.photos.find import FoundPhotos, find_photos
from shan_engine.store.feature_store import FeatureStore

COLOURS = {"a.png": (255, 0, 0), "b.png": (0, 255, 0), "sub/c.png": (0, 0, 255)}


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    for name, colour in COLOURS.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 20), colour).save(folder / name)
    return folder


def test_regions_and_boxes_in_pixels_of_the_photo(tmp_path: Path, photos: Path) -> None:
    image = Image.new("RGB", (40, 20), (255, 0, 0))
    image.paste((0, 0, 255), (20, 0, 40, 20))
    image.save(photos / "two.png")
    extractor = FeatureExtractor(detector(tmp_path), "cpu", threads=1)
    calls: list[int] = []
    result = extract_photos(
        photos, tmp_path / "s", extractor, batch_size=3, on_start=calls.append, on_photo=calls.append
    )
    assert (result.added, result.unchanged, result.removed, result.broken) == (4, 0, 0, ())
    assert calls == [4, 3, 4, 4]
    with FeatureStore.open(tmp_path / "s") as store:
        assert store.schema.feature_extractor == "halves"
        assert store.ids() == ["a.png", "b.png", "sub/c.png", "two.png"]
        for record in store.read(list(COLOURS)):
            np.testing.assert_allclose(record.features, [COLOURS[record.id]] * 2)
            assert (record.width, record.height) == (40, 20)
            assert record.path == str((photos / record.id).resolve())
        two = store.read(["two.png"])[0]
    # The resampling at the seam reaches into the halves.
    np.testing.assert_allclose(two.features, [[255, 0, 0], [0, 0, 255]], atol=8)
    np.testing.assert_array_equal(two.boxes, [[0, 0, 20, 20], [20, 0, 40, 20]])


def test_a_feature_map_becomes_a_grid(tmp_path: Path, photos: Path) -> None:
    extract_photos(photos, tmp_path / "s", FeatureExtractor(backbone(tmp_path), "cpu", threads=1))
    with FeatureStore.open(tmp_path / "s") as store:
        red = store.read(["a.png"])[0]
    np.testing.assert_allclose(red.features, [[1, -2, -1]] * 4, atol=1e-5)
    np.testing.assert_array_equal(red.boxes, [[0, 0, 20, 10], [20, 0, 40, 10], [0, 10, 20, 20], [20, 10, 40, 20]])


def test_cells_are_in_reading_order_with_their_features(tmp_path: Path) -> None:
    extractor = FeatureExtractor(backbone(tmp_path, mean=[0, 0, 0], std=[1, 1, 1]), "cpu", threads=1)
    pixels = np.zeros((1, 8, 8, 3), np.uint8)
    pixels[0, :4, 4:] = 255  # upper right
    ((features, boxes, _),) = extractor(pixels)
    assert boxes is not None
    np.testing.assert_allclose(features[:, 0], [0, 1, 0, 0], atol=1e-6)
    np.testing.assert_array_equal(boxes[1], [0.5, 0, 1, 0.5])
    assert grid_boxes(2, 3).shape == (6, 4)


def test_only_new_and_changed_photos_are_extracted(tmp_path: Path, photos: Path) -> None:
    extractor = FeatureExtractor(detector(tmp_path), "cpu", threads=1)
    extract_photos(photos, tmp_path / "s", extractor)
    totals: list[int] = []
    again = extract_photos(photos, tmp_path / "s", extractor, on_start=totals.append)
    assert (again.added, again.unchanged, again.removed, totals) == (0, 3, 0, [0])

    Image.new("RGB", (10, 10), (9, 9, 9)).save(photos / "b.png")
    os.utime(photos / "b.png", ns=(1, 1))
    (photos / "a.png").unlink()
    Image.new("RGB", (10, 10), (7, 7, 7)).save(photos / "d.png")
    third = extract_photos(photos, tmp_path / "s", extractor)
    assert (third.added, third.unchanged, third.removed) == (2, 1, 1)
    with FeatureStore.open(tmp_path / "s") as store:
        assert sorted(store.ids()) == ["b.png", "d.png", "sub/c.png"]
        changed = store.read(["b.png"])[0]
    assert changed.width == 10
    np.testing.assert_allclose(changed.features, 9)


def test_a_namesake_from_another_folder_replaces_nothing(tmp_path: Path, photos: Path) -> None:
    extractor = FeatureExtractor(detector(tmp_path), "cpu", threads=1)
    extract_photos(photos, tmp_path / "s", extractor)
    other = tmp_path / "other"
    other.mkdir()
    Image.new("RGB", (10, 10), (9, 9, 9)).save(other / "b.png")
    with pytest.raises(InputError, match=r"already has 'b\.png' from"):
        extract_photos(other, tmp_path / "s", extractor)
    photos.rename(tmp_path / "moved")  # the same photos elsewhere are no namesakes
    assert extract_photos(tmp_path / "moved", tmp_path / "s", extractor).unchanged == 3
    with FeatureStore.open(tmp_path / "s") as store:
        for record in store.read(list(COLOURS)):
            assert record.path == str(tmp_path / "moved" / record.id)
            np.testing.assert_allclose(record.features, [COLOURS[record.id]] * 2)


def test_a_store_of_another_extractor_is_refused_even_with_nothing_to_do(tmp_path: Path, photos: Path) -> None:
    extract_photos(photos, tmp_path / "s", FeatureExtractor(detector(tmp_path), "cpu", threads=1))
    with pytest.raises(StoreError, match="holds features of 'halves', not of 'map'"):
        extract_photos(photos, tmp_path / "s", FeatureExtractor(backbone(tmp_path), "cpu", threads=1))


def test_an_interrupted_run_goes_on(tmp_path: Path, photos: Path) -> None:
    extractor = FeatureExtractor(detector(tmp_path), "cpu", threads=1)

    def interrupt(done: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        extract_photos(photos, tmp_path / "s", extractor, batch_size=2, on_photo=interrupt)
    result = extract_photos(photos, tmp_path / "s", extractor, batch_size=2)
    assert (result.added, result.unchanged) == (1, 2)


def test_an_interrupted_run_drops_the_photos_that_wait(
    tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(40):
        Image.new("RGB", (16, 8)).save(photos / f"{number}.png")
    read: list[Path] = []
    over = threading.Event()

    def slow(path: Path, *size: int) -> ScaledPhoto:
        read.append(path)
        if len(read) > 1:
            over.wait(120)  # those that are begun when the interrupt comes end after it
        if len(read) > 2:
            time.sleep(1)  # and there is time to drop the others
        return read_scaled(path, *size)

    def interrupt(done: int) -> None:
        over.set()
        raise KeyboardInterrupt

    monkeypatch.setattr(extraction, "read_scaled", slow)
    extractor = FeatureExtractor(detector(tmp_path), "cpu", threads=1)
    with pytest.raises(KeyboardInterrupt) as interrupted:
        extract_photos(photos, tmp_path / "s", extractor, batch_size=1, workers=1, on_photo=interrupt)
    del interrupted  # its traceback holds the run's frames; the threads must be gone even so
    assert 1 <= len(read) <= 4
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("ThreadPoolExecutor")]


def test_a_photo_deleted_after_the_folder_was_listed(tmp_path: Path, photos: Path) -> None:
    extractor = FeatureExtractor(detector(tmp_path), "cpu", threads=1)
    result = extract_photos(
        photos, tmp_path / "s", extractor, on_start=lambda total: (photos / "b.png").unlink(), batch_size=1
    )
    assert result.added == 2
    assert result.broken == (f"{photos / 'b.png'} cannot be decoded: it was deleted or moved during the run",)
    assert extract_photos(photos, tmp_path / "s", extractor).unchanged == 2


def test_the_dtype_is_kept_and_a_conflict_is_said_even_with_nothing_to_do(tmp_path: Path, photos: Path) -> None:
    extractor = FeatureExtractor(detector(tmp_path), "cpu", threads=1)
    extract_photos(photos, tmp_path / "half", extractor, dtype="float16")
    Image.new("RGB", (10, 10), (7, 7, 7)).save(photos / "d.png")
    assert extract_photos(photos, tmp_path / "half", extractor).added == 1
    extract_photos(photos, tmp_path / "whole", extractor)
    for name, held, other in (("half", "float16", "float32"), ("whole", "float32", "float16")):
        with FeatureStore.open(tmp_path / name) as store:
            assert store.schema.dtype == held
        with pytest.raises(StoreError, match=f"{name} holds {held}, not {other}: leave out --storage"):
            extract_photos(photos, tmp_path / name, extractor, dtype=other)
        assert extract_photos(photos, tmp_path / name, extractor, dtype=held).unchanged == 4


def test_a_large_photo_is_recorded_whole(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    image = Image.new("RGB", (1200, 800), (0, 0, 255))
    image.paste((255, 0, 0), (0, 0, 1200, 400))
    exif = Image.Exif()
    exif[0x0112] = 6  # the upper half is the right one once it is upright
    image.save(tmp_path / "photos" / "a.jpg", exif=exif, quality=95)
    extract_photos(tmp_path / "photos", tmp_path / "s", FeatureExtractor(detector(tmp_path), "cpu", threads=1))
    with FeatureStore.open(tmp_path / "s") as store:
        record = store.read(["a.jpg"])[0]
    assert (record.width, record.height) == (800, 1200)
    np.testing.assert_array_equal(record.boxes, [[0, 0, 400, 1200], [400, 0, 800, 1200]])
    np.testing.assert_allclose(record.features, [[0, 0, 255], [255, 0, 0]], atol=8)


def test_broken_photos_are_reported_and_skipped(tmp_path: Path, photos: Path) -> None:
    (photos / "aa.jpg").write_bytes(b"broken")
    (photos / "z.png").write_bytes((photos / "a.png").read_bytes()[:40])
    done: list[int] = []
    extractor = FeatureExtractor(detector(tmp_path), "cpu", threads=1)
    result = extract_photos(photos, tmp_path / "s", extractor, batch_size=2, on_photo=done.append)
    assert (result.added, len(result.broken), done[-1]) == (3, 2, 5)
    assert "aa.jpg cannot be decoded" in result.broken[0]
    assert "z.png cannot be decoded" in result.broken[1]


def test_a_photo_that_became_broken_loses_its_old_features(tmp_path: Path, photos: Path) -> None:
    extractor = FeatureExtractor(detector(tmp_path), "cpu", threads=1)
    extract_photos(photos, tmp_path / "s", extractor)
    (photos / "a.png").write_bytes(b"broken")
    result = extract_photos(photos, tmp_path / "s", extractor)
    assert (result.added, result.unchanged, result.removed, len(result.broken)) == (0, 2, 1, 1)
    assert result.broken[0].endswith("not a photo; the features of its earlier version were removed")
    with FeatureStore.open(tmp_path / "s") as store:
        assert store.ids() == ["b.png", "sub/c.png"]
    again = extract_photos(photos, tmp_path / "s", extractor)
    assert (again.unchanged, again.removed, len(again.broken)) == (2, 0, 1)
    assert again.broken[0].endswith("not a photo")


def test_all_photos_became_broken(tmp_path: Path, photos: Path) -> None:
    extractor = FeatureExtractor(detector(tmp_path), "cpu", threads=1)
    extract_photos(photos, tmp_path / "s", extractor)
    for name in COLOURS:
        (photos / name).write_bytes(b"broken")
    for _ in range(2):  # the second time the store is empty
        with pytest.raises(InputError, match="none of the 3 photos"):
            extract_photos(photos, tmp_path / "s", extractor)
        with FeatureStore.open(tmp_path / "s") as store:
            assert store.ids() == []


def test_a_changed_photo_deleted_after_the_folder_was_listed(
    tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    extractor = FeatureExtractor(detector(tmp_path), "cpu", threads=1)
    extract_photos(photos, tmp_path / "s", extractor)
    os.utime(photos / "a.png", ns=(1, 1))

    def list_and_delete(folder: Path, **options: Any) -> FoundPhotos:
        found = find_photos(folder, **options)
        (folder / "a.png").unlink()
        return found

    monkeypatch.setattr(plan, "find_photos", list_and_delete)
    result = extract_photos(photos, tmp_path / "s", extractor)
    assert (result.unchanged, result.removed, len(result.broken)) == (2, 1, 1)


def test_nothing_but_broken_photos(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(b"broken")
    extractor = FeatureExtractor(detector(tmp_path), "cpu", threads=1)
    with pytest.raises(InputError, match=r"none of the 1 photos .* can be used, the first: .*a\.jpg cannot be decoded"):
        extract_photos(tmp_path / "photos", tmp_path / "s", extractor)


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        (None, "has no recipe"),
        ("{", "cannot be read"),
        ("[]", "cannot be read"),
        ('{"name": "x", "width": 8}', "cannot be read"),
        ('{"name": "x", "width": 8, "height": 8, "more": 1}', "cannot be read"),
        ('{"name": "", "width": 8, "height": 8}', "needs a name"),
        ('{"name": "x", "width": 0, "height": 8}', "needs a name"),
        ('{"name": "x", "width": "8", "height": 8}', "needs a name"),
        ('{"name": "x", "width": 8, "height": 8, "mean": [0]}', "needs a name"),
        ('{"name": "x", "width": 8, "height": 8, "mean": [0, 0, "a"]}', "needs a name"),
        ('{"name": "x", "width": 8, "height": 8, "std": [1, 0, 1]}', "needs a name"),
    ],
)
def test_wrong_recipes(tmp_path: Path, recipe: str | None, message: str) -> None:
    model = tmp_path / "m.onnx"
    model.write_bytes(b"")
    if recipe is not None:
        (tmp_path / "m.json").write_text(recipe)
    with pytest.raises(InputError, match=message):
        read_recipe(model)


def test_wrong_models(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no feature extractor"):
        read_recipe(tmp_path / "missing.onnx")
    model = detector(tmp_path)
    model.write_bytes(b"no graph")
    with pytest.raises(BackendError, match=r"cannot load .*detector\.onnx"):
        FeatureExtractor(model, "cpu")
