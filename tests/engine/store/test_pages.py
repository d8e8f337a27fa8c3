"""Damaged pages of a store: whatever byte changes, LMDB never follows it, and no record is read as another."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from shan_engine.base.errors import ShanError, StoreError
from shan_engine.base.metadata import Metadata
from shan_engine.store.contents import Content, Place
from shan_engine.store.facts import StoredFacts
from shan_engine.store.feature_store import FeatureStore
from stores import SCHEMA, assert_same, record

PAGE = 4096


@pytest.fixture(scope="module")
def full_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with every table, values with pages of their own, a tree of two levels and free pages."""
    path = tmp_path_factory.mktemp("pages") / "s"
    with FeatureStore.create(path, SCHEMA) as store:
        for start in range(0, 120, 40):
            records = [record(f"photo-{n:03}", n, 90 if n % 40 == 3 else 2) for n in range(start, start + 40)]
            places = {r.id: Content("ab" * 16, (Place(r.id, f"/x/{r.id}", "s"),)) for r in records}
            store.write(records, contents=places)
        store.put_facts({r: StoredFacts("s", {"camera": "Nikon"}) for r in store.ids()})
        store.put_metadata(Metadata({"year": "INTEGER"}, dict.fromkeys(store.ids(), (1990,))))
        store.delete([f"photo-{n:03}" for n in range(10, 20)])
    return path


@pytest.fixture
def damaged(full_store: Path, tmp_path: Path) -> Callable[[Callable[[bytearray], None]], Path]:
    def copied(change: Callable[[bytearray], None]) -> Path:
        data = bytearray((full_store / "data.mdb").read_bytes())
        before = bytes(data)
        change(data)
        assert data != before
        (tmp_path / "s").mkdir(exist_ok=True)
        (tmp_path / "s" / "data.mdb").write_bytes(data)
        return tmp_path / "s"

    return copied


def everything(path: Path) -> object:
    with FeatureStore.open(path) as store:
        ids = store.ids()
        held = [(r.id, r.features.tobytes(), r.path) for r in store.read(ids)]
        table = store.metadata()
        assert table is not None
        return ids, store.infos(), held, table.rows, store.facts(), store.contents()


def pages_of(data: bytes, kind: int) -> list[int]:
    """Pages whose header says that they are this kind of page and have this number; some may be freed."""
    numbers = range(2, len(data) // PAGE)
    return [n for n in numbers if struct.unpack_from("<Q2xH", data, n * PAGE) == (n, kind)]


def test_a_changed_byte_is_told_or_changes_nothing(full_store: Path, damaged: Callable[..., Path]) -> None:
    wanted, told = everything(full_store), 0
    random = np.random.default_rng(5)
    size = (full_store / "data.mdb").stat().st_size

    def change(data: bytearray) -> None:
        page, near_ends = int(random.integers(size // PAGE)), random.integers(3)
        offset = [random.integers(PAGE), random.integers(80), PAGE - 1 - random.integers(400)][near_ends]
        data[page * PAGE + int(offset)] ^= int(random.integers(1, 256))

    for _ in range(60):
        try:
            assert everything(damaged(change)) == wanted
        except ShanError:
            told += 1
    assert told > 15


def nodes_with_pages(data: bytearray) -> list[tuple[int, int]]:
    """Leaf pages, and places of nodes in them, whose values have pages of their own; some may be freed."""
    found = []
    for page in pages_of(data, 2):
        lower = struct.unpack_from("<H", data, page * PAGE + 12)[0]
        for pointer in range(16, lower, 2):
            node = page * PAGE + struct.unpack_from("<H", data, page * PAGE + pointer)[0]
            if struct.unpack_from("<H", data, node + 4)[0] & 1:
                found.append((page, node))
    return found


def test_a_value_beyond_the_file_does_not_end_the_process(damaged: Callable[..., Path]) -> None:
    def change(data: bytearray) -> None:
        for _, node in nodes_with_pages(data):
            key = struct.unpack_from("<H", data, node + 6)[0]
            struct.pack_into("<Q", data, node + 8 + key, len(data) // PAGE - 1)

    path = damaged(change)
    for writing in (True, False):
        with pytest.raises(
            StoreError, match=r"is damaged \(one of its pages cannot be read\): run `shan-engine repair"
        ):
            FeatureStore.open(path, readonly=not writing)


def test_a_node_that_leaves_its_page_does_not_end_the_process(damaged: Callable[..., Path]) -> None:
    def change(data: bytearray) -> None:
        for page, _ in nodes_with_pages(data):
            struct.pack_into("<H", data, page * PAGE + 16, 0x7FFE)

    with pytest.raises(StoreError, match="one of its pages cannot be read"):
        FeatureStore.open(damaged(change))


def test_a_free_page_that_is_in_use_is_told_before_it_is_written_over(damaged: Callable[..., Path]) -> None:
    def change(data: bytearray) -> None:
        _, newest = max((struct.unpack_from("<Q", data, head * PAGE + 144)[0], head) for head in (0, 1))
        free = struct.unpack_from("<Q", data, newest * PAGE + 80)[0]
        node = free * PAGE + struct.unpack_from("<H", data, free * PAGE + 16)[0]
        assert struct.unpack_from("<Q", data, node + 16)[0] > 0  # the list's length, then its pages
        struct.pack_into("<Q", data, node + 24, free)

    with pytest.raises(StoreError, match="one of its pages cannot be read"):
        FeatureStore.open(damaged(change), readonly=False)


@pytest.mark.parametrize("table", [b"facts", b"files", b"metadata"])
def test_an_optional_table_under_another_name_is_not_simply_missing(damaged: Callable[..., Path], table: bytes) -> None:
    """The name of the table, and of the record of its columns, in every page that has them."""

    def change(data: bytearray) -> None:
        for page in pages_of(data, 2):
            part = data[page * PAGE : (page + 1) * PAGE]
            if b"records" in part or b"schema" in part:
                data[page * PAGE : (page + 1) * PAGE] = part.replace(table, table[:-1] + b"z")

    with pytest.raises(StoreError, match=f"it holds '{table.decode()[:-1]}z', which no version writes"):
        FeatureStore.open(damaged(change))


@pytest.mark.parametrize(
    ("old", "new", "read"),
    [(b"Nikon", b"Canon", FeatureStore.facts), (b"/x/photo-1", b"/y/photo-1", FeatureStore.contents)],
)
def test_a_changed_row_about_a_photo_is_told(
    damaged: Callable[..., Path], old: bytes, new: bytes, read: Callable[[FeatureStore], object]
) -> None:
    def change(data: bytearray) -> None:
        data[:] = data.replace(old, new)

    with (
        FeatureStore.open(damaged(change)) as store,
        pytest.raises(StoreError, match=r"damaged \(its checksum does not match\)"),
    ):
        read(store)


def test_rows_without_a_checksum_are_still_read(full_store: Path, damaged: Callable[..., Path]) -> None:
    """As earlier versions wrote them."""

    def change(data: bytearray) -> None:
        data[:] = data.replace(b', "check": "', b', "other": "')

    assert everything(damaged(change)) == everything(full_store)


@pytest.fixture
def misled(damaged: Callable[..., Path]) -> Path:
    """A store whose id of photo 5 leads to the record of photo 6."""

    def change(data: bytearray) -> None:
        row = struct.Struct(">Q")
        data[:] = data.replace(b"photo-005" + row.pack(5), b"photo-005" + row.pack(6))

    return damaged(change)


def test_an_id_that_leads_to_the_record_of_another_is_told(misled: Path) -> None:
    said = "it holds the record of 'photo-006'"
    with FeatureStore.open(misled) as store:
        with pytest.raises(StoreError, match=said):
            store.infos()
        with pytest.raises(StoreError, match=f"image 'photo-005' .* is damaged .{said}.* store delete"):
            store.regions(["photo-005"])


@pytest.mark.parametrize("replaced", [False, True])
def test_removing_an_image_whose_id_leads_to_another_leaves_that_one(misled: Path, replaced: bool) -> None:
    with FeatureStore.open(misled, readonly=False) as store:
        ids, other = store.ids(), store.read(["photo-006"])[0]
        if replaced:
            store.write([record("photo-005", 77)])
        else:
            store.delete(["photo-005"])
    with FeatureStore.open(misled) as store:  # which refuses a store with more records than ids
        assert sorted(store.ids()) == [id for id in ids if replaced or id != "photo-005"]
        assert_same(store.read(["photo-006"])[0], other)
        assert len(store.infos()) == len(ids) - (not replaced)
