"""The feature store: what goes in comes out, whatever happens to the writer, the file or the disk."""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

import lmdb
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shan_engine.base.column_types import INTEGER
from shan_engine.base.errors import InputError, StoreError
from shan_engine.base.metadata import Metadata
from shan_engine.store.feature_store import FeatureStore
from shan_engine.store.records import RegionRecord, encode_record, peek_record
from shan_engine.store.schema import StoreSchema
from shan_engine.store.verify import verify_store
from stores import SCHEMA, F, assert_same, record, seen_as


@given(
    ids=st.lists(st.text(min_size=1, max_size=40).filter(str.strip), min_size=1, max_size=4, unique=True),
    regions=st.integers(1, 100),
    boxed=st.booleans(),
    classes=st.lists(st.integers(0, 65535), max_size=40),
    path=st.text(max_size=20),
    dtype=st.sampled_from(["float32", "float16"]),
)
@settings(max_examples=25)
def test_round_trip(ids: list[str], regions: int, boxed: bool, classes: list[int], path: str, dtype: str) -> None:
    boxes = np.random.default_rng(1).random((regions, 4), np.float32) * 500 if boxed else None
    seen = seen_as(*classes, regions=regions) if classes else None
    wanted = [
        record(id, seed, regions, boxes=boxes, path=path, width=640, height=480, stamp="7:9", seen=seen)
        for seed, id in enumerate(ids)
    ]
    with tempfile.TemporaryDirectory() as folder:
        with FeatureStore.create(Path(folder) / "s", StoreSchema("test", F, dtype=dtype, version=2)) as store:
            store.write(wanted)
        with FeatureStore.open(Path(folder) / "s") as store:
            assert store.ids() == ids
            found = store.read(ids)
    for one, other in zip(found, wanted, strict=True):
        if dtype == "float32":
            assert_same(one, other)
        else:
            np.testing.assert_allclose(one.features, other.features, rtol=2**-11, atol=2**-24)
            assert (one.boxes is not None) == boxed


def test_ids_longer_than_a_key_of_lmdb(tmp_path: Path) -> None:
    folder = "ein sehr langer Ordnername über den Sommer/" * 11
    ids = [f"{folder}{end}" for end in ("a.jpg", "b.jpg", "x" * 3000)] + ["k" * 480, "k" * 481]
    with FeatureStore.create(tmp_path / "s", SCHEMA) as store:
        store.write([record(id, seed) for seed, id in enumerate(ids)])
        store.write([record(ids[1], 9)])
        store.put_metadata(Metadata({"n": INTEGER}, {ids[0]: (1,), ids[3]: (2,)}))
        assert sorted(store.ids()) == sorted(ids)
        assert [info.id for info in store.infos()] == store.ids()
        assert store.metadata().rows == {ids[0]: (1,), ids[3]: (2,)}
        for id, seed in zip(ids, (0, 9, 2, 3, 4), strict=True):
            assert id in store
            assert_same(store.read([id])[0], record(id, seed))
        store.delete([ids[0], ids[4]])
        assert sorted(store.ids()) == sorted(ids[1:4])
    assert all(problem is None for _, problem in verify_store(tmp_path / "s"))


def test_records_without_classes_have_the_bytes_that_they_always_had(tmp_path: Path) -> None:
    golden = Path(__file__).parents[2] / "golden" / "store-1"
    with FeatureStore.open(shutil.copytree(golden, tmp_path / "s")) as store:
        assert store.schema.version == StoreSchema("test", F).version == 1
        for info, held in zip(store.infos(), store.read(store.ids()), strict=True):
            again = encode_record(held, np.dtype(store.schema.dtype))
            assert info.checksum == peek_record(again).checksum
            assert info.classes == 0


def test_a_store_tells_what_photos_were_seen_as_where_it_knows(tmp_path: Path) -> None:
    seen = seen_as(7, 999)
    with FeatureStore.create(tmp_path / "s", StoreSchema("test", F, version=2)) as store:
        store.write([record("a"), record("b", seen=seen)])
        assert [info.classes for info in store.infos()] == [0, 2]
        none, found = store.seen(["a", "b"])
    assert none is None
    assert found is not None
    assert found.classes.tolist() == [7, 999]
    with (
        FeatureStore.create(tmp_path / "old", SCHEMA) as store,
        pytest.raises(InputError, match="image 'b' tells what it is seen as, which this store was not made for"),
    ):
        store.write([record("b", seen=seen)])


def test_file_name_bytes_that_are_no_unicode_are_kept(tmp_path: Path) -> None:
    id = os.fsdecode(b"caf\xe9.jpg")
    with FeatureStore.create(tmp_path / "s", SCHEMA) as store:
        store.write([record(id, path="/photos/" + id)])
        assert store.ids() == [id]
        assert store.read([id])[0].path == "/photos/" + id
        with pytest.raises(InputError, match="not Unicode"):
            store.write([record("\ud800")])


def test_regions_are_padded_with_a_mask(tmp_path: Path) -> None:
    with FeatureStore.create(tmp_path / "s", SCHEMA) as store:
        store.write([record("a", regions=2), record("b", regions=4)])
        features, mask = store.regions(["b", "a"])
    assert features.shape == (2, 4, F)
    assert mask.tolist() == [[True] * 4, [True, True, False, False]]
    assert not features[1, 2:].any()


def test_replace_and_delete(tmp_path: Path) -> None:
    with FeatureStore.create(tmp_path / "s", SCHEMA) as store:
        store.write([record("a", 1), record("b", 2), record("a", 3)])
        assert store.ids() == ["a", "b"]
        assert_same(store.read(["a"])[0], record("a", 3))
        store.write([record("a", 4)])
        assert store.ids() == ["b", "a"]
        assert len(store) == 2
        store.delete(id for id in ["b"])
        assert store.ids() == ["a"]
        assert "b" not in store
        assert "" not in store
        assert "x" * 600 not in store
        with pytest.raises(InputError, match=r"no image 'b' .*: check the id, or add that image"):
            store.read(["b"])
        with pytest.raises(InputError, match=r"no image 'b' .*: check the id, or add that image"):
            store.delete(["a", "b"])
        assert store.ids() == ["a"]


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (record("bad", dim=F + 1), "size 17, the store holds size 16"),
        (record(""), "empty id"),
        (record("x" * 4097), "longer than 4096 bytes"),
        (record("bad", regions=101), "101 regions"),
        (RegionRecord("bad", np.full((1, F), np.nan, np.float32)), "NaN"),
        (RegionRecord("bad", np.zeros((0, F), np.float32)), "shape"),
        (record("bad", boxes=np.zeros((2, 4), np.float32)), "boxes of shape"),
    ],
)
def test_a_batch_is_written_whole_or_not_at_all(tmp_path: Path, bad: RegionRecord, message: str) -> None:
    with FeatureStore.create(tmp_path / "s", SCHEMA) as store:
        store.write([record("kept")])
        with pytest.raises(InputError, match=message):
            store.write([record("good"), bad])
        assert store.ids() == ["kept"]


def test_float16_overflow_is_refused(tmp_path: Path) -> None:
    with FeatureStore.create(tmp_path / "s", StoreSchema("test", F, dtype="float16")) as store:
        with pytest.raises(InputError, match="beyond float16"):
            store.write([RegionRecord("big", np.full((1, F), 1e6, np.float32))])
        assert len(store) == 0


def test_another_schema_is_refused(tmp_path: Path) -> None:
    FeatureStore.create(tmp_path / "s", SCHEMA).close()
    for other in (StoreSchema("other", F), StoreSchema("test", 8), StoreSchema("test", F, dtype="float16")):
        with pytest.raises(StoreError, match="use a new store"):
            FeatureStore.create(tmp_path / "s", other)
    with pytest.raises(InputError, match="float64"):
        FeatureStore.create(tmp_path / "t", StoreSchema("test", F, dtype="float64"))
    with pytest.raises(StoreError, match="no feature store"):
        FeatureStore.open(tmp_path / "t")
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError, match="not a feature store"):
        FeatureStore.create(tmp_path / "file", SCHEMA)


@pytest.mark.parametrize(
    ("text", "message"),
    [(json.dumps({"version": 3}), "newer than 2"), ("{", "damaged"), ("[]", "damaged")],
)
def test_schema_record_newer_or_damaged(tmp_path: Path, text: str, message: str) -> None:
    FeatureStore.create(tmp_path / "s", SCHEMA).close()
    environment = lmdb.open(str(tmp_path / "s"), max_dbs=3)
    with environment.begin(write=True) as transaction:
        transaction.put(b"schema", text.encode(), db=environment.open_db(b"meta", txn=transaction))
    environment.close()
    with pytest.raises(StoreError, match=message):
        FeatureStore.open(tmp_path / "s")


def test_another_lmdb_environment_is_no_store(tmp_path: Path) -> None:
    environment = lmdb.open(str(tmp_path / "s"))
    with environment.begin(write=True) as transaction:
        transaction.put(b"a", b"b")
    environment.close()
    for use in (FeatureStore.open, lambda path: FeatureStore.create(path, SCHEMA)):
        with pytest.raises(StoreError, match="not a feature store: "):
            use(tmp_path / "s")
    with lmdb.open(str(tmp_path / "s")) as environment, environment.begin() as transaction:
        assert list(transaction.cursor()) == [(b"a", b"b")]


@pytest.mark.parametrize("readonly", [True, False])
def test_grows_past_its_first_map_while_it_is_open_elsewhere(tmp_path: Path, readonly: bool) -> None:
    path, dim = tmp_path / "s", 4096
    batch = [record(str(number), number, 100, dim) for number in range(10)]
    with FeatureStore.create(path, StoreSchema("test", dim)) as store:
        store.write(batch[:1])
    script = f"""
import sys
from pathlib import Path
from shan_engine.base.column_types import INTEGER
from shan_engine.base.metadata import Metadata
from shan_engine.store.feature_store import FeatureStore
with FeatureStore.open(Path({str(path)!r}), readonly={readonly}) as store:
    print(len(store), flush=True)
    sys.stdin.readline()
    print(len(store), "r4-9" in store and store.read(["r4-9"])[0].features.shape, flush=True)
"""
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as reader:
        assert reader.stdin is not None
        assert reader.stdout is not None
        assert reader.stdout.readline().strip() == "1"
        with FeatureStore.open(path, readonly=False) as store:
            for turn in range(5):
                store.write([RegionRecord(f"r{turn}-{one.id}", one.features) for one in batch])
            assert store.bytes_used > 1 << 26
            np.testing.assert_array_equal(store.read(["r4-9"])[0].features, batch[9].features)
        reader.stdin.write("\n")
        reader.stdin.flush()
        assert reader.stdout.readline().strip() == ("1 False" if readonly else "51 (100, 4096)")


def test_header_layout_is_the_documented_one(tmp_path: Path) -> None:
    path = tmp_path / "s"
    one = record("a", 5, 40)
    with FeatureStore.create(path, SCHEMA) as store:
        store.write([one])
    data = (path / "data.mdb").read_bytes()
    start = data.index(one.features.tobytes()[:64]) - 16
    _, regions, flags, text_bytes, unused = struct.unpack_from("<IHHII", data, start)
    text = data[start + 16 + one.features.nbytes :][:text_bytes]
    assert (regions, flags, unused) == (40, 0, 0)
    assert json.loads(text) == {"id": "a", "path": "", "size": [0, 0], "stamp": ""}
