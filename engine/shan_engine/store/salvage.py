"""Read what is sound of a store that LMDB cannot read any more, and write it into a new data file.

Pages are read with plain reads and followed from the newest head that makes sense; a page that makes none is passed
over with everything below it. Where records are missing then, all pages of the file are searched for them. A record
counts if its checksum is right; one that the search found only if the table of ids, where that is whole, has its row.
"""

from __future__ import annotations

import json
import os
import shutil
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import lmdb
import numpy as np

from shan_engine.base.errors import ShanError, StoreError
from shan_engine.base.files import sync_file, sync_names
from shan_engine.base.ids import decode_id, store_key
from shan_engine.store.image_rows import checked_row
from shan_engine.store.pages import BRANCH, DB, HEADER, LEAF, MAGIC, META
from shan_engine.store.records import check_record, decode_record
from shan_engine.store.schema import METADATA, TABLES, StoreSchema, read_schema

_BIG = 1
_MOST_NODES = 1 << 15
_OPTIONAL = ("facts", "files", "text", METADATA)
Entries = dict[bytes, bytes]


@dataclass
class Salvaged:
    """What is sound in a store: its schema, records by key of their id in order of arrival, and rows of other tables.

    `lost` are ids whose record cannot be read. `damaged` are tables of which something is missing.
    """

    schema: StoreSchema
    records: Entries
    tables: dict[str, Entries]
    head: bytes | None
    lost: list[str] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)


class _File:
    """A data file's pages, read one by one; `missing` counts those that make no sense."""

    def __init__(self, descriptor: int, size: int) -> None:
        self._descriptor, self.size, self.missing = descriptor, size, 0
        self._seen: set[int] = set()

    def read(self, place: int, count: int) -> bytes:
        try:
            return os.pread(self._descriptor, count, place)
        except (OSError, OverflowError):
            return b""

    def walk(self, root: int) -> Iterator[tuple[bytes, int, bytes]]:
        """Key, flags and value of the entries of a tree, as far as its pages can be followed."""
        if root == 2**64 - 1:
            return
        page = self.read(root * self.size, self.size) if root < 2**40 and root not in self._seen else b""
        self._seen.add(root)
        if len(page) < self.size:
            self.missing += 1
            return
        number, kind = struct.unpack_from("<Q2xH", page)
        self.missing += number != root or kind not in (BRANCH, LEAF)
        # Where its kind has changed it is read as a leaf: what such a page holds is checked by itself.
        for key, flags, start, count in self.nodes(page):
            if kind & BRANCH and not kind & LEAF:
                yield from self.walk(count | flags << 32)
            elif (value := self.value(page, flags, start, count)) is not None:
                yield key, flags, value
            else:
                self.missing += 1

    def nodes(self, page: bytes) -> Iterator[tuple[bytes, int, int, int]]:
        """Key, flags, place of the value and its size of each node of a page that lies within it."""
        (lower,) = struct.unpack_from("<H", page, 12)
        for place in range(HEADER, min(lower, self.size - 1), 2):
            (at,) = struct.unpack_from("<H", page, place)
            if at + 8 > self.size:
                self.missing += 1
                continue
            low, high, flags, key_size = struct.unpack_from("<HHHH", page, at)
            yield page[at + 8 : at + 8 + key_size], flags, at + 8 + key_size, low | high << 16

    def value(self, page: bytes, flags: int, start: int, count: int) -> bytes | None:
        """A leaf node's value; None where its pages do not have it."""
        if not flags & _BIG:
            value = page[start : start + count]
        elif start + 8 <= len(page):
            value = self.read(struct.unpack_from("<Q", page, start)[0] * self.size + HEADER, count)
        else:
            value = b""
        return value if len(value) == count else None

    def search(self) -> Iterator[tuple[bytes, bytes]]:
        """Key and value of the entries of all pages that say that they are leaves."""
        number = 2
        while len(page := self.read(number * self.size, self.size)) == self.size:
            if struct.unpack_from("<H", page, 10)[0] & LEAF:
                for key, flags, start, count in self.nodes(page):
                    if (value := self.value(page, flags, start, count)) is not None:
                        yield key, value
            number += 1


def salvage(path: Path) -> Salvaged:
    """Everything that is sound in the store at `path`. Raises StoreError where not even its schema can be read."""
    descriptor = os.open(path / "data.mdb", os.O_RDONLY)
    try:
        for size, root in _roots(descriptor):
            file = _File(descriptor, size)
            tables = {_known(key): DB.unpack(value)[7] for key, _, value in file.walk(root) if len(value) == DB.size}
            meta = {key: value for key, _, value in file.walk(tables.get("meta", 2**64 - 1))}
            if b"schema" in meta:
                schema = read_schema(path, meta[b"schema"])
                return _sound(file, schema, tables, meta.get(METADATA.encode()))
    finally:
        os.close(descriptor)
    raise StoreError(
        f"nothing of the store {path} can be repaired (its schema is lost): restore it from a copy, or delete it and "
        "extract or import again"
    )


def _roots(descriptor: int) -> list[tuple[int, int]]:
    """Page size and main tree of both heads, the newer one first, one with a wrong magic number last."""
    sizes = [size for size in (4096, 8192, 16384, 32768, 65536, 512, 1024, 2048) if _is_head(descriptor, size)]
    size = sizes[0] if sizes else 4096
    found = []
    for number, place in enumerate((0, size)):
        head = os.pread(descriptor, META.size, place + HEADER)
        if len(head) == META.size:
            magic, _, _, main, _, transaction = META.unpack(head)
            found.append(((magic == MAGIC, transaction % 2 == number, transaction), (size, DB.unpack(main)[7])))
    return [root for _, root in sorted(found, reverse=True)]


def _is_head(descriptor: int, size: int) -> bool:
    """Whether the second head lies at a page of this size."""
    return os.pread(descriptor, 4, size + HEADER) == struct.pack("<I", MAGIC)


def _known(key: bytes) -> str:
    """The name of a table, also where one of its bytes has changed."""
    for name in TABLES:
        if len(name) == len(key) and sum(a != b for a, b in zip(name.encode(), key, strict=True)) <= 1:
            return name
    return key.decode("ascii", "replace")


def _sound(file: _File, schema: StoreSchema, roots: dict[str, int], head: bytes | None) -> Salvaged:
    file.missing = 0
    rows = {key: value for key, _, value in file.walk(roots.get("ids", 2**64 - 1))}
    whole_ids = "ids" in roots and not file.missing
    found: dict[bytes, tuple[bytes, bytes]] = {}  # by row: the key of the id, and the record

    def take(row: bytes, value: bytes, live: bool) -> None:
        if len(row) == 8 and row not in found and (id := _whole(value, schema)):
            key = store_key(id)
            if live or rows.get(key, b"" if whole_ids else row) == row:
                found[row] = key, value

    for row, _, value in file.walk(roots.get("records", 2**64 - 1)):
        take(row, value, live=True)
    if len(found) < len(rows) or file.missing:
        for row, value in file.search():
            take(row, value, live=False)
    records = {key: value for _, (key, value) in sorted(found.items())}
    lost = sorted(decode_id(key) for key in rows if key not in records)
    held = Salvaged(schema, records, {}, head, lost)
    for name in (name for name in _OPTIONAL if name in roots):
        file.missing = 0
        entries = {key: value for key, _, value in file.walk(roots[name]) if _is_row(name, key, value)}
        held.tables[name] = entries if name == METADATA else {key: entries[key] for key in entries if key in records}
        if file.missing:
            held.damaged.append(name)
    return held


def _whole(value: bytes, schema: StoreSchema) -> str:
    """The id of a record that is as it was written; empty for any other bytes."""
    try:
        record = decode_record(value, dtype=np.dtype(schema.dtype), feature_dim=schema.feature_dim)
        check_record(record, feature_dim=schema.feature_dim, max_regions=schema.max_regions)
    except (ShanError, ValueError, LookupError, TypeError):
        return ""
    return record.id


def _is_row(name: str, key: bytes, value: bytes) -> bool:
    if name == METADATA:
        return True  # checked together, see `write`
    try:
        row = checked_row(key, value) if name != "text" else json.loads(value)
        return isinstance(row, dict)
    except (ValueError, RecursionError):
        return False


def write(path: Path, held: Salvaged) -> None:
    """Replace the data file in `path` by one with what was salvaged; the damaged one stays as `data.mdb.damaged`.

    Raises StoreError where the disk is full; the store is then unchanged.
    """
    from shan_engine.store.feature_store import FeatureStore
    from shan_engine.store.lmdb import clear_errors

    fresh = path / "repair.tmp"
    shutil.rmtree(fresh, ignore_errors=True)
    try:
        with clear_errors(path):
            room = sum(map(len, held.records.values())) + sum(len(v) for t in held.tables.values() for v in t.values())
            with FeatureStore.create(fresh, held.schema):
                pass
            with lmdb.open(str(fresh), map_size=2 * room + (1 << 26), max_dbs=8) as environment:
                _fill(environment, held)
            _drop_unreadable(fresh, held)
            sync_file(fresh / "data.mdb")
            damaged = path / "data.mdb.damaged"
            damaged.unlink(missing_ok=True)
            os.link(path / "data.mdb", damaged)
            (fresh / "data.mdb").replace(path / "data.mdb")
            sync_names(path)
            (path / "lock.mdb").unlink(missing_ok=True)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _fill(environment: lmdb.Environment, held: Salvaged) -> None:
    with environment.begin(write=True) as transaction:
        records = environment.open_db(b"records", txn=transaction)
        ids = environment.open_db(b"ids", txn=transaction)
        for number, (key, value) in enumerate(held.records.items()):
            row = struct.pack(">Q", number)
            transaction.put(row, value, db=records, append=True)
            transaction.put(key, row, db=ids)
        for name, entries in held.tables.items():
            table = environment.open_db(name.encode(), txn=transaction)
            for key, value in entries.items():
                transaction.put(key, value, db=table)
        if METADATA in held.tables and held.head is not None:
            transaction.put(METADATA.encode(), held.head, db=environment.open_db(b"meta", txn=transaction))


def _drop_unreadable(fresh: Path, held: Salvaged) -> None:
    """Take tables out of a new store that cannot be read as a whole."""
    from shan_engine.store.feature_store import FeatureStore

    if METADATA in held.tables and held.head is None:
        _drop(fresh, METADATA)
    with FeatureStore.open(fresh) as store:
        unreadable = []
        for name, read in (("facts", store.facts), ("files", store.contents), (METADATA, store.metadata)):
            try:
                read()
            except ShanError:
                unreadable.append(name)
        try:
            for _ in store.texts():
                pass
        except ShanError:
            unreadable.append("text")
    for name in unreadable:
        _drop(fresh, name)


def _drop(folder: Path, name: str) -> None:
    with lmdb.open(str(folder), max_dbs=8) as environment, environment.begin(write=True) as transaction:
        transaction.drop(environment.open_db(name.encode(), txn=transaction), delete=True)
        if name == METADATA:
            transaction.delete(METADATA.encode(), db=environment.open_db(b"meta", txn=transaction))
