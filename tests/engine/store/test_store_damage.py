"""Damaged and truncated stores: what is wrong is found and named, and nothing crashes."""

from __future__ import annotations

import errno
import json
import mmap
import os
import struct
import subprocess
import sys
import tempfile
import zlib
from pathlib import Path

import lmdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from shan_engine.base.errors import StoreError
from shan_engine.photos.plan import make_plan
from shan_engine.store.dtype import stored_dtype
from shan_engine.store.feature_store import FeatureStore
from shan_engine.store.lmdb import clear_errors, open_environment
from shan_engine.store.schema import StoreSchema, read_schema
from shan_engine.store.verify import verify_store
from stores import SCHEMA, F, record, seen_as


def _flip(path: Path, needle: bytes, offset: int = 0) -> None:
    data = bytearray(path.read_bytes())
    assert data.count(needle) == 1
    data[data.index(needle) + offset] ^= 0x41
    path.write_bytes(data)


@pytest.mark.parametrize("part", ["features", "classes", "metadata", "header"])
def test_a_damaged_record_is_found_by_id(tmp_path: Path, part: str) -> None:
    path = tmp_path / "s"
    seen = [seen_as(*range(1000 * number, 1000 * number + 32)) for number in range(3)]
    records = [record(f"image-{n}", n, 40, stamp=f"stamp-{n}", seen=seen[n]) for n in range(3)]
    with FeatureStore.create(path, StoreSchema("test", F, version=2)) as store:
        store.write(records)
    feature_bytes = records[1].features.tobytes()
    if part == "metadata":
        _flip(path / "data.mdb", b'"stamp":"stamp-1"')
    elif part == "classes":
        _flip(path / "data.mdb", seen[1].classes.tobytes())
    else:
        _flip(path / "data.mdb", feature_bytes[:64], 10 if part == "features" else -16 + 9)
    with FeatureStore.open(path) as store:
        found = dict(verify_store(path))
        assert found["image-0"] is None
        assert found["image-2"] is None
        assert "image-1" in str(found["image-1"])
        assert "damaged" in str(found["image-1"])
        with pytest.raises(StoreError, match=r"'image-1' in .* is damaged"):
            store.read(["image-0", "image-1"])
        if part in ("metadata", "header"):
            with pytest.raises(StoreError, match=r"'image-1' in .* is damaged"):
                store.infos()
    with FeatureStore.open(path, readonly=False) as store:
        store.write([records[1]])
        assert all(problem is None for _, problem in verify_store(path))


@pytest.mark.parametrize("kept", [0.95, 0.5, 0.02, 0.0])
def test_a_truncated_file_is_an_error_not_a_crash(tmp_path: Path, kept: float) -> None:
    path = tmp_path / "s"
    with FeatureStore.create(path, SCHEMA) as store:
        store.write([record(str(number), number, 50) for number in range(40)])
        size = store.bytes_used
    os.truncate(path / "data.mdb", int(size * kept))
    for readonly in (True, False):
        with pytest.raises(StoreError, match="truncated"):
            FeatureStore.open(path, readonly=readonly)


@given(st.lists(st.tuples(st.booleans(), st.lists(st.integers(0, 12), max_size=6), st.integers(1, 100)), max_size=12))
@settings(max_examples=15)
def test_a_sound_store_never_looks_truncated(steps: list[tuple[bool, list[int], int]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path, held = Path(folder) / "s", set()
        FeatureStore.create(path, StoreSchema("test", 64)).close()
        for adds, numbers, regions in steps:
            with FeatureStore.open(path, readonly=False) as store:
                if adds:
                    store.write([record(str(number), number, regions, 64) for number in numbers])
                    held.update(map(str, numbers))
                else:
                    gone = held & set(map(str, numbers))
                    store.delete(gone)
                    held -= gone
        with FeatureStore.open(path) as store:
            assert set(store.ids()) == held
            assert all(problem is None for _, problem in verify_store(path))


def test_a_file_of_something_else_is_damaged(tmp_path: Path) -> None:
    (tmp_path / "data.mdb").write_bytes(b"x" * 100_000)
    for use in (FeatureStore.open, lambda path: FeatureStore.create(path, SCHEMA)):
        with pytest.raises(StoreError, match=r"is damaged \(.*MDB_INVALID.*\): run `shan-engine repair"):
            use(tmp_path)
    assert (tmp_path / "data.mdb").read_bytes() == b"x" * 100_000


def test_create_refuses_a_truncated_store(tmp_path: Path) -> None:
    with FeatureStore.create(tmp_path, SCHEMA) as store:
        store.write([record(str(number), number, 50) for number in range(40)])
    os.truncate(tmp_path / "data.mdb", 8192)
    with pytest.raises(StoreError, match="truncated"):
        FeatureStore.create(tmp_path, SCHEMA)
    assert (tmp_path / "data.mdb").stat().st_size == 8192


@pytest.mark.parametrize(
    "change",
    [
        {"dtype": "flobt32"},
        {"dtype": ["float32"]},
        {"feature_dim": "16"},
        {"feature_dim": -1},
        {"feature_dim": True},
        {"max_regions": "x"},
        {"max_regions": 0},
        {"max_regions": 100.0},
        {"feature_extractor": 5},
        {"version": "1"},
        {"version": 0},
        {"version": None},
        {"more": 1},
    ],
)
def test_a_schema_record_of_wrong_types_is_damaged(tmp_path: Path, change: dict[str, object]) -> None:
    FeatureStore.create(tmp_path, SCHEMA).close()
    with lmdb.open(str(tmp_path), max_dbs=3) as environment:
        meta = environment.open_db(b"meta", create=False)
        with environment.begin(write=True, db=meta) as transaction:
            schema = json.loads(transaction.get(b"schema"))
            transaction.put(b"schema", json.dumps({**schema, **change}).encode())
    with pytest.raises(StoreError, match=r"the schema record of .* is damaged \(.*\): restore the store from a copy"):
        FeatureStore.open(tmp_path)
    with pytest.raises(StoreError, match="is damaged"):
        FeatureStore.create(tmp_path, SCHEMA)


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"null", b"{}", b"\xff", b"[" * 100_000])
def test_a_schema_record_that_is_none_is_damaged(tmp_path: Path, text: bytes) -> None:
    with pytest.raises(StoreError, match=r"the schema record of .* is damaged"):
        read_schema(tmp_path, text)


def test_too_many_readers_are_no_damage(tmp_path: Path) -> None:
    with FeatureStore.create(tmp_path / "s", SCHEMA) as store:
        store.write([record("a")])
    (tmp_path / "s" / "lock.mdb").unlink()
    script = f"""
import sys, lmdb
environment = lmdb.open({str(tmp_path / "s")!r}, max_readers=1, max_dbs=3)
with environment.begin():
    print("reading", flush=True)
    sys.stdin.readline()
"""
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as reader:
        assert reader.stdin is not None
        assert reader.stdout is not None
        assert reader.stdout.readline() == "reading\n"
        with pytest.raises(StoreError, match=r"too many programs are reading .*READERS_FULL.*: end some of them"):
            FeatureStore.open(tmp_path / "s")
        reader.stdin.write("\n")
        reader.stdin.flush()
        assert reader.wait() == 0
    with FeatureStore.open(tmp_path / "s") as store:
        assert store.ids() == ["a"]


def test_other_errors_are_called_what_they_are(tmp_path: Path) -> None:
    path = tmp_path / "s"
    FeatureStore.create(path, SCHEMA).close()
    with FeatureStore.open(path), pytest.raises(StoreError, match=r"cannot be used \(.*already open in this process"):
        FeatureStore.open(path)
    (path / "lock.mdb").unlink()
    (path / "lock.mdb").mkdir()
    with pytest.raises(StoreError, match=r"cannot be used \(.*[Dd]irectory"):
        FeatureStore.open(path)
    (path / "lock.mdb").rmdir()
    FeatureStore.open(path).close()


REPAIR = "run `shan-engine repair "


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (lmdb.CorruptedError("x"), "is damaged (x): " + REPAIR),
        (lmdb.PageNotFoundError("x"), "is damaged (x): " + REPAIR),
        (lmdb.PanicError("x"), "is damaged (x): " + REPAIR),
        (
            lmdb.VersionMismatchError("x"),
            "was written by another version of LMDB (x): use the shan-engine that made it",
        ),
        (lmdb.LockError("x"), "cannot be locked (x): end the other programs"),
        (OSError(errno.ENOLCK, "x"), "cannot be locked ([Errno 37] x): end the other programs"),
        (OSError(errno.EACCES, "x"), "cannot be opened: permission denied, let its owner"),
        (OSError(errno.EROFS, "x"), "cannot be written: its disk is read-only, so copy it"),
        (OSError(errno.EIO, "x"), "cannot be read or written (input/output error): check its disk"),
    ],
)
def test_each_error_has_its_own_fix(tmp_path: Path, error: Exception, sentence: str) -> None:
    with pytest.raises(StoreError) as raised, clear_errors(tmp_path):
        raise error
    assert str(raised.value).startswith(f"the store {tmp_path} {sentence}")


def test_a_page_beyond_the_file_ends_the_checking_process_and_not_ours(tmp_path: Path) -> None:
    path, large = tmp_path / "s", record("large", 1, 100)
    with FeatureStore.create(path, SCHEMA) as store:
        store.write([large])
    data = bytearray((path / "data.mdb").read_bytes())
    page, pages = data.index(large.features.tobytes()[:64]) // mmap.PAGESIZE, len(data) // mmap.PAGESIZE
    # The leaf's pointer to the record's first page: moved to the file's last one, the rest is beyond the end.
    pointer, beyond = (struct.pack("=Q", number) for number in (page, pages - 1))
    assert pointer in data
    (path / "data.mdb").write_bytes(data.replace(pointer, beyond))
    with pytest.raises(StoreError, match=r"is damaged \(one of its pages cannot be read\): run `shan-engine repair"):
        list(verify_store(path))


def test_an_empty_data_file_is_no_store_and_one_can_be_made_there(tmp_path: Path) -> None:
    path = tmp_path / "s"
    path.mkdir()
    (path / "data.mdb").touch()
    with pytest.raises(StoreError, match="there is no feature store at"):
        FeatureStore.open(path)
    with FeatureStore.create(path, SCHEMA) as store:
        store.write([record("one", 1)])
    with FeatureStore.open(path) as store:
        assert store.ids() == ["one"]


def test_a_store_that_another_program_has_only_begun_to_make_is_none_yet(tmp_path: Path) -> None:
    path = tmp_path / "s"
    path.mkdir()
    open_environment(path, readonly=False).close()
    assert (path / "data.mdb").stat().st_size > 0
    assert FeatureStore.open_if_made(path) is None
    assert stored_dtype(path, "float16") == "float16"
    with pytest.raises(StoreError, match="there is no feature store at"):
        FeatureStore.open(path)
    photos = tmp_path / "photos"
    photos.mkdir()
    Image.new("RGB", (64, 48), "teal").save(photos / "a.png")
    assert [photo.id for photo in make_plan(photos, path, "any").extract] == ["a.png"]


@pytest.mark.parametrize(
    "text",
    ["{}", "[1]", "null", '{"id": 5, "path": "", "size": [1, 1], "stamp": ""}', "[" * 5000, '{"id": "a"', "1e400"],
)
def test_a_record_that_was_signed_with_other_metadata_is_told(tmp_path: Path, text: str) -> None:
    """As a hostile author writes it: its checksum fits."""
    with FeatureStore.create(tmp_path / "s", SCHEMA) as store:
        store.write([record("a")])
    with lmdb.open(str(tmp_path / "s"), max_dbs=8) as environment, environment.begin(write=True) as transaction:
        table = environment.open_db(b"records", txn=transaction)
        ((key, value),) = transaction.cursor(table)
        size = struct.unpack_from("<I", value, 8)[0]
        body = value[4:8] + struct.pack("<I", len(text)) + value[12 : len(value) - size] + text.encode()
        transaction.put(key, struct.pack("<I", zlib.crc32(body)) + body, db=table)
    with FeatureStore.open(tmp_path / "s") as store:
        for read in (lambda: store.read(["a"]), store.infos):
            with pytest.raises(StoreError, match=r"image 'a' in .* is damaged"):
                read()
    assert "image 'a'" in str(dict(verify_store(tmp_path / "s"))["a"])
