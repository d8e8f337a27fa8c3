"""Importing into a store that is there: its dtype is kept, its images only replaced where that is asked for."""

from __future__ import annotations

import base64
from pathlib import Path

import numpy as np
import pytest
from shan_engine.base.errors import InputError, StoreError
from shan_engine.store.dtype import stored_dtype
from shan_engine.store.feature_store import FeatureStore
from shan_engine.store.importers import import_features

RNG = np.random.default_rng(0)


def features(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def save(path: Path, array: np.ndarray) -> Path:
    np.save(path, array)
    return path


def stored(store: Path) -> dict[str, np.ndarray]:
    with FeatureStore.open(store) as opened:
        ids = opened.ids()
        return {record.id: record.features for record in opened.read(ids)}


def write_tsv(path: Path, images: dict[str, np.ndarray]) -> Path:
    lines = []
    for id, array in images.items():
        arrays = (np.zeros((len(array), 4), np.float32), array)
        lines.append("\t".join([id, "9", "9", str(len(array)), *(base64.b64encode(x).decode() for x in arrays)]))
    path.write_text("\n".join(lines))
    return path


def test_the_dtype_is_kept_and_a_conflict_is_refused(tmp_path: Path) -> None:
    for name, dtype in (("half", "float16"), ("full", None)):
        for turn in range(2):
            ids = tmp_path / "ids.txt"
            ids.write_text(f"{turn}-a\n{turn}-b\n")
            path = save(tmp_path / "x.npy", features(2, 3, 8))
            import_features(path, tmp_path / name, ids=ids, dtype=None if turn else dtype)
        with FeatureStore.open(tmp_path / name) as store:
            assert (store.schema.dtype, len(store)) == (dtype or "float32", 4)
    with pytest.raises(StoreError, match=r"half holds float16, not float32: leave out --storage"):
        import_features(path, tmp_path / "half", ids=ids, dtype="float32")
    with pytest.raises(StoreError, match=r"full holds float32, not float16: leave out --storage"):
        import_features(path, tmp_path / "full", ids=ids, dtype="float16")
    with pytest.raises(InputError, match="cannot hold float64"):
        import_features(path, tmp_path / "new", dtype="float64")
    assert stored_dtype(tmp_path / "new", None) == "float32"
    assert stored_dtype(tmp_path / "new", "float16") == "float16"


def test_row_numbers_of_a_second_file_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    dev, test, store = features(3, 2, 8), features(5, 2, 8), tmp_path / "s"
    import_features(save(tmp_path / "dev_ims.npy", dev), store)
    path = save(tmp_path / "test_ims.npy", test)
    with pytest.raises(InputError, match=rf"^3 images, such as '0', are in the store {store} already: .*--ids .*--rep"):
        import_features(path, store, batch_size=1)
    np.testing.assert_array_equal(list(stored(store).values()), dev)
    ids = tmp_path / "ids.txt"
    ids.write_text("a\nb\nc\nd\n2")
    with pytest.raises(InputError, match=rf"^the image '2' is in the store {store} already"):
        import_features(path, store, ids=ids, batch_size=1)
    np.testing.assert_array_equal(list(stored(store).values()), dev)
    ids.write_text("a\nb\nc\nd\ne")
    assert import_features(path, store, ids=ids) == 5
    assert list(stored(store)) == [*"012", *"abcde"]


def test_replace_puts_images_in_the_place_of_those_there(tmp_path: Path) -> None:
    store = tmp_path / "s"
    import_features(save(tmp_path / "a.npy", features(3, 2, 8)), store)
    newer = features(2, 2, 8)
    for _ in range(2):
        assert import_features(save(tmp_path / "b.npy", newer), store, replace=True) == 2
        found = stored(store)
        assert sorted(found) == ["0", "1", "2"]
        np.testing.assert_array_equal([found["0"], found["1"]], newer)


def test_a_cut_off_import_is_finished_with_replace(tmp_path: Path) -> None:
    images, store = features(6, 2, 8), tmp_path / "s"
    path = save(tmp_path / "x.npy", images)

    def cut_off(done: int) -> None:
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        import_features(path, store, batch_size=2, on_records=cut_off)
    with pytest.raises(InputError, match=r"^4 images, such as '0'"):
        import_features(path, store)
    assert import_features(path, store, replace=True) == 6
    found = stored(store)
    np.testing.assert_array_equal([found[str(row)] for row in range(6)], images)


def test_a_folder_is_refused_whole_and_a_tsv_from_the_batch_of_the_held_id_on(tmp_path: Path) -> None:
    store, held = tmp_path / "s", features(2, 8)
    images = {id: features(2, 8) for id in "abc"}
    folder = tmp_path / "npz"
    folder.mkdir()
    for id, array in images.items():
        np.savez(folder / f"{id}.npz", features=array)
    import_features(write_tsv(tmp_path / "first.tsv", {"c": held}), store)
    with pytest.raises(InputError, match=r"^the image 'c' is in the store"):
        import_features(folder, store, batch_size=1)
    assert list(stored(store)) == ["c"]
    tsv = write_tsv(tmp_path / "x.tsv", images)
    with pytest.raises(InputError, match=r"^the image 'c' is in the store"):
        import_features(tsv, store, batch_size=1)
    found = stored(store)
    assert list(found) == ["c", "a", "b"]
    np.testing.assert_array_equal(found["c"], held)
    for again in (folder, tsv):
        assert import_features(again, store, replace=True, batch_size=1) == 3
        found = stored(store)
        for id, array in images.items():
            np.testing.assert_array_equal(found[id], array)


@pytest.mark.parametrize(
    ("images", "dtype", "said"),
    [
        (np.full((2, 2, 8), 1e6, np.float32), "float16", "has features beyond float16: use a float32 store"),
        (np.ones((1, 70_000, 2), np.float32), None, "has 70000 regions, the store's maximum is 65535"),
    ],
)
def test_features_that_do_not_fit_leave_no_store(tmp_path: Path, images: np.ndarray, dtype: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        import_features(save(tmp_path / "x.npy", images), tmp_path / "s", dtype=dtype)
    assert not (tmp_path / "s").exists()
