"""Importing features from files made in the published formats, and each way such a file can be wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from published import features, save, stored
from shan_engine.base.errors import InputError, StoreError
from shan_engine.store.feature_store import FeatureStore
from shan_engine.store.importers import import_features
from shan_engine.store.schema import StoreSchema


@pytest.mark.parametrize("kind", ["<f4", "<f2", ">f4"])
def test_npy_rows_become_images(tmp_path: Path, kind: str) -> None:
    array = features(7, 36, 8).astype(kind)
    calls: list[tuple[str, int]] = []
    count = import_features(
        save(tmp_path / "dev_ims.npy", array),
        tmp_path / "s",
        batch_size=3,
        on_start=lambda total: calls.append(("start", total)),
        on_records=lambda done: calls.append(("done", done)),
    )
    found = stored(tmp_path / "s")
    assert count == 7
    assert calls == [("start", 7), ("done", 3), ("done", 6), ("done", 7)]
    assert list(found) == [str(row) for row in range(7)]
    for row, record in enumerate(found.values()):
        np.testing.assert_array_equal(record.features, array[row].astype(np.float32))
        assert record.boxes is None
    with FeatureStore.open(tmp_path / "s") as store:
        assert (store.schema.feature_extractor, store.schema.max_regions) == ("imported-8d", 100)


def test_npy_of_one_vector_an_image_and_options(tmp_path: Path) -> None:
    path = save(tmp_path / "x.npy", features(6, 8))
    assert import_features(path, tmp_path / "s", dtype="float16", extractor="resnet") == 6
    with FeatureStore.open(tmp_path / "s") as store:
        assert (store.schema.feature_extractor, store.schema.dtype) == ("resnet", "float16")
        assert store.read(["3"])[0].features.shape == (1, 8)


def test_more_than_100_regions_widen_the_schema(tmp_path: Path) -> None:
    import_features(save(tmp_path / "x.npy", features(2, 144, 4)), tmp_path / "s")
    with FeatureStore.open(tmp_path / "s") as store:
        assert store.schema.max_regions == 144


@pytest.mark.parametrize("lines", [None, 30, 150])
def test_npy_with_every_image_five_times(tmp_path: Path, lines: int | None) -> None:
    images = features(30, 4, 8)
    path = save(tmp_path / "test_ims.npy", np.repeat(images, 5, axis=0))
    ids = None
    if lines:
        ids = tmp_path / "ids.txt"
        ids.write_text("".join(f"photo-{line * 30 // lines}\r\n" for line in range(lines)))
    assert import_features(path, tmp_path / "s", ids=ids, batch_size=7) == 30
    found = stored(tmp_path / "s")
    assert list(found) == [f"photo-{i}" if lines else str(i) for i in range(30)]
    np.testing.assert_array_equal(np.stack([one.features for one in found.values()]), images)


def test_five_rows_that_differ_are_five_images(tmp_path: Path) -> None:
    assert import_features(save(tmp_path / "x.npy", features(10, 2, 4)), tmp_path / "s") == 10


def test_a_repetition_that_breaks_off_is_refused(tmp_path: Path) -> None:
    array = np.repeat(features(100, 2, 4), 5, axis=0)
    array[5 * 3 + 2] += 1  # group 3 is not among those sampled
    with pytest.raises(InputError, match=r"x\.npy .*rows 15 to 19 differ"):
        import_features(save(tmp_path / "x.npy", array), tmp_path / "s")


def test_ids_name_the_rows(tmp_path: Path) -> None:
    ids = tmp_path / "ids.txt"
    ids.write_text("\N{BOM}grün.jpg\nb\nc", "utf-8")
    import_features(save(tmp_path / "x.npy", features(3, 2, 4)), tmp_path / "s", ids=ids)
    assert list(stored(tmp_path / "s")) == ["grün.jpg", "b", "c"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"a\nb\n", "has 2 ids, .* has 3 rows"),
        (b"a\n\nc\n", "line 2, is empty"),
        (b"a\nb\na\n", "id 'a' twice"),
        (b"\xff\n\n\n", "cannot be read"),
        (None, "cannot be read"),
    ],
)
def test_wrong_ids(tmp_path: Path, text: bytes | None, message: str) -> None:
    ids = tmp_path / "ids.txt"
    if text is not None:
        ids.write_bytes(text)
    with pytest.raises(InputError, match=message):
        import_features(save(tmp_path / "x.npy", features(3, 2, 4)), tmp_path / "s", ids=ids)
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((2, 3, 4), np.complex64), "holds complex64"),
        (np.array([["a", "b"]]), "holds <U1"),
        (np.array([{}, {}]), "not a whole .npy file"),
        (np.zeros((2, 3, 4, 5), np.float32), "has shape"),
        (np.zeros((0, 3, 4), np.float32), "is empty"),
        (np.array([[0.0, 1.0], [1.0, np.inf]], np.float32), "NaN or infinite features in row 1"),
        (np.full((10, 2, 4), np.nan, np.float32), "NaN or infinite features in row 0"),
    ],
)
def test_wrong_npy(tmp_path: Path, array: np.ndarray, message: str) -> None:
    with pytest.raises(InputError, match=rf"x\.npy.*{message}"):
        import_features(save(tmp_path / "x.npy", array), tmp_path / "s")
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize("size", [0, 5, 100, 200])
def test_truncated_npy(tmp_path: Path, size: int) -> None:
    path = save(tmp_path / "x.npy", features(3, 2, 4))
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(InputError, match=r"x\.npy is not a whole"):
        import_features(path, tmp_path / "s")


@pytest.mark.parametrize(
    ("part", "other"),
    [
        (b"(3, 2, 4)", b"((3, 2, 4"),
        (b"(3, 2, 4), }         ", b"(9223372036854775808,)}"),
        (b"\x93NUMPY", b"PK\x03\x04xx"),
    ],
)
def test_an_npy_with_a_damaged_header(tmp_path: Path, part: bytes, other: bytes) -> None:
    path = save(tmp_path / "x.npy", features(3, 2, 4))
    assert part in path.read_bytes()
    path.write_bytes(path.read_bytes().replace(part, other, 1))
    with pytest.raises(InputError, match=r"x\.npy is not a whole"):
        import_features(path, tmp_path / "s")


def test_a_failed_import_keeps_what_was_stored(tmp_path: Path) -> None:
    import_features(save(tmp_path / "a.npy", features(3, 2, 4)), tmp_path / "s")
    bad = features(8, 2, 4)
    bad[7] = np.nan
    ids = tmp_path / "ids.txt"
    ids.write_text("".join(f"new-{i}\n" for i in range(8)))
    path = save(tmp_path / "b.npy", bad)
    with pytest.raises(
        InputError, match=r"row 7: .*; 6 images before it were imported and kept, so pass --replace to run again$"
    ):
        import_features(path, tmp_path / "s", ids=ids, batch_size=3)
    assert list(stored(tmp_path / "s")) == ["0", "1", "2", *(f"new-{i}" for i in range(6))]
    with pytest.raises(InputError, match=r"row 7: extract that image again$"):
        import_features(path, tmp_path / "t", ids=ids, batch_size=8)
    # What the sentence says is so.
    bad[7] = 1
    save(path, bad)
    with pytest.raises(InputError, match=r"^6 images, such as 'new-0', are in the store"):
        import_features(path, tmp_path / "s", ids=ids, batch_size=3)
    assert import_features(path, tmp_path / "s", ids=ids, batch_size=3, replace=True) == 8
    assert len(stored(tmp_path / "s")) == 11


@pytest.mark.parametrize("dtype", ["i1", "<u2", ">i4", "<i8", "<f8", ">f2", "longdouble", "?"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_npy_of_any_numbers_and_layout(tmp_path: Path, dtype: str, order: str) -> None:
    array = np.asarray((np.arange(3 * 4 * 5) % 7 - 2).reshape(3, 4, 5).clip(0), np.dtype(dtype), order=order)
    assert import_features(save(tmp_path / "x.npy", array), tmp_path / "s") == 3
    for row, record in stored(tmp_path / "s").items():
        np.testing.assert_array_equal(record.features, array[int(row)].astype(np.float32))


@pytest.mark.parametrize(("name", "boxes"), [("features", "boxes"), ("feat", "bbox"), ("x", None)])
def test_npz_folder(tmp_path: Path, name: str, boxes: str | None) -> None:
    folder = tmp_path / "features"
    folder.mkdir()
    wanted = {}
    for id in ("b", "a.jpg"):
        wanted[id] = features(5, 8)
        more = {boxes: features(5, 4), "image_w": np.int64(30), "image_h": 20} if boxes else {}
        np.savez(folder / f"{id}.npz", **{name: wanted[id], **more})
    (folder / "notes.txt").write_text("not features")
    (folder / ".hidden.npz").write_text("not features")
    assert import_features(folder, tmp_path / "s") == 2
    found = stored(tmp_path / "s")
    assert list(found) == ["a.jpg", "b"]
    for id, record in found.items():
        np.testing.assert_array_equal(record.features, wanted[id])
        assert (record.width, record.height) == ((30, 20) if boxes else (0, 0))
        assert (record.boxes is not None) == bool(boxes)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"other": features(2, 8)}, "holds other: name its features"),
        ({"x": features(8)}, "features of shape"),
        ({"x": np.zeros((2, 8), np.complex64)}, "features of type complex64"),
        ({"x": np.array([[{}]])}, "not a whole .npz"),
        ({"x": np.full((2, 8), np.inf, np.float32)}, "NaN or infinite features"),
        ({"x": features(2, 8), "boxes": features(3, 4)}, "boxes of shape"),
        ({"x": features(2, 8), "image_w": np.zeros(2)}, "image_w"),
    ],
)
def test_wrong_npz(tmp_path: Path, arrays: dict[str, np.ndarray], message: str) -> None:
    np.savez(tmp_path / "bad.npz", **arrays)
    with pytest.raises(InputError, match=rf"bad\.npz.*{message}"):
        import_features(tmp_path, tmp_path / "s")


@pytest.mark.parametrize("cut", [lambda data: b"", lambda data: b"no zip", lambda data: data[: len(data) // 2]])
def test_truncated_npz(tmp_path: Path, cut: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "bad.npz"
    np.savez(path, x=features(5, 8))
    path.write_bytes(cut(path.read_bytes()))
    with pytest.raises(InputError, match=r"bad\.npz is not a whole"):
        import_features(tmp_path, tmp_path / "s")


def test_wrong_places(tmp_path: Path) -> None:
    (tmp_path / "x.h5").write_text("x")
    (tmp_path / "x.tsv").write_text("x")
    with pytest.raises(InputError, match="there is no file or folder"):
        import_features(tmp_path / "missing.npy", tmp_path / "s")
    with pytest.raises(InputError, match=r"x\.h5 has an unknown format"):
        import_features(tmp_path / "x.h5", tmp_path / "s")
    with pytest.raises(InputError, match=r"has no \.npz file"):
        import_features(tmp_path, tmp_path / "s")
    with pytest.raises(InputError, match="leave out the ids file"):
        import_features(tmp_path / "x.tsv", tmp_path / "s", ids=tmp_path / "x.h5")
    with pytest.raises(InputError, match="batch of 0"):
        import_features(tmp_path / "x.tsv", tmp_path / "s", batch_size=0)


def test_another_dimension_needs_a_new_store(tmp_path: Path) -> None:
    FeatureStore.create(tmp_path / "s", StoreSchema("imported-4d", 4)).close()
    with pytest.raises(StoreError, match="use a new store"):
        import_features(save(tmp_path / "x.npy", features(2, 8)), tmp_path / "s")
