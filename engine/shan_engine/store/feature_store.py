"""The feature store: region features of a photo collection in one LMDB environment.

Tables: `meta` (one schema record), `records` (row number, big-endian u64 -> record, in order of arrival),
`ids` (id -> row number) and, if the store has any, `metadata` and `facts` (modules of those names). A batch is written
in one transaction: a killed writer loses at most that batch. A second writer waits until the first one's ends.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import lmdb
import numpy as np
from numpy.typing import NDArray

from shan_engine.base.errors import InputError, StoreError
from shan_engine.base.ids import decode_id, is_shortened, store_key
from shan_engine.base.metadata import Metadata
from shan_engine.store.facts import StoredFacts, delete_facts, read_facts, write_facts
from shan_engine.store.lmdb import (
    clear_errors,
    compact_environment,
    fill_last_pages,
    is_store,
    locked_for_compaction,
    making,
    open_environment,
    read_transaction,
    refuse_truncated,
    write_transaction,
)
from shan_engine.store.metadata import Described, fit, read_metadata, write_metadata
from shan_engine.store.records import (
    RecordInfo,
    RegionRecord,
    SeenClasses,
    already_held,
    decode_record,
    how_to_replace,
    id_of,
    pad_regions,
    peek_record,
)
from shan_engine.store.schema import StoreSchema, read_schema, refuse_other_schema, rewrite_schema, write_schema

_ROW = struct.Struct(">Q")
_T = TypeVar("_T")


class FeatureStore:
    """Region features by string id. Get one from `create` or `open`; use `with` to close it."""

    def __init__(self, path: Path, environment: lmdb.Environment, schema: StoreSchema) -> None:
        self.path = path
        self.schema = schema
        self._environment = environment
        self._dtype: np.dtype[np.floating] = np.dtype(schema.dtype)
        self._ids = environment.open_db(b"ids", create=False)
        self._records = environment.open_db(b"records", create=False)
        self._inode = (path / "data.mdb").stat().st_ino

    @classmethod
    def create(cls, path: Path, schema: StoreSchema) -> FeatureStore:
        """Make a store at `path`, or open the one there if its schema is the same.

        Raises StoreError if the store there has another extractor, feature size or dtype.
        """
        # clear_errors is innermost, to detect a full disk before the files that fill it are removed.
        with making(path), clear_errors(path):
            environment = open_environment(path, readonly=False)
            try:
                refuse_truncated(path, environment)
                write_schema(path, environment, schema)
            finally:
                environment.close()
        store = cls.open(path, readonly=False)
        try:
            refuse_other_schema(path, store.schema, schema)
        except StoreError:
            store.close()
            raise
        return store

    @classmethod
    def open(cls, path: Path, *, readonly: bool = True) -> FeatureStore:
        """Open an existing store. Raises StoreError if it is missing, damaged or of a newer schema."""
        if not is_store(path):
            raise StoreError(f"there is no feature store at {path}: make one with `shan-engine extract` or `import`")
        with clear_errors(path):
            environment = open_environment(path, readonly=readonly)
            try:
                refuse_truncated(path, environment)
                meta = environment.open_db(b"meta", create=False)
                with environment.begin() as transaction:
                    text = transaction.get(b"schema", db=meta)
                schema = read_schema(path, bytes(text) if text is not None else b"")
                return cls(path, environment, schema)
            except lmdb.NotFoundError as error:
                environment.close()
                raise StoreError(f"{path} is an LMDB environment but not a feature store: name another one") from error
            except BaseException:
                environment.close()
                raise

    def close(self) -> None:
        """Close the LMDB environment."""
        self._environment.close()

    def __enter__(self) -> FeatureStore:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __len__(self) -> int:
        return self._read(lambda transaction: int(transaction.stat(self._ids)["entries"]))

    def __contains__(self, id: str) -> bool:
        return self._read(lambda transaction: self._row(transaction, id)) is not None

    @property
    def feature_dim(self) -> int:
        """Size F of a region's feature vector."""
        return self.schema.feature_dim

    @property
    def bytes_used(self) -> int:
        """Size of the data file on disk, in bytes."""
        return (self.path / "data.mdb").stat().st_size

    def ids(self) -> list[str]:
        """All ids, in the order their records arrived."""
        return self._read(lambda transaction: [self._id(transaction, *pair) for pair in self._rows(transaction)])

    def infos(self) -> list[RecordInfo]:
        """The metadata of each record, in order of arrival, without reading its arrays.

        Raises StoreError for a damaged record.
        """

        def walk(transaction: lmdb.Transaction) -> list[RecordInfo]:
            found = []
            for row, key in self._rows(transaction):
                value = transaction.get(row, db=self._records)
                try:
                    if value is None:
                        raise StoreError("its record is missing")
                    found.append(peek_record(value))
                except StoreError as error:
                    raise self._damaged(decode_id(key), error) from error
            return found

        return self._read(walk)

    def read(self, ids: Sequence[str]) -> list[RegionRecord]:
        """Read the records of `ids`, in that order.

        Raises InputError for an unknown id, StoreError for a damaged record.
        """
        return self._read(lambda transaction: [self._decode(transaction, id) for id in ids])

    def regions(self, ids: Sequence[str]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Features B x K x F (float32, zero-padded to the largest K) and mask B x K, true for real regions."""
        return pad_regions(self.read(ids))

    def seen(self, ids: Sequence[str]) -> list[SeenClasses | None]:
        """The classes that each photo was seen as, None where the store does not know. Raises as `read`."""
        return self._read(lambda transaction: [self._decode(transaction, id).seen for id in ids])

    def refuse_held(self, ids: Sequence[str]) -> None:
        """Raise InputError if the store has images with any of these ids, saying how many and naming one."""
        self._read(lambda transaction: self._refuse_held(transaction, ids))

    def write(self, records: Sequence[RegionRecord], *, replace: bool = True) -> None:
        """Add records, or replace those with the same id, in one transaction: all of them or none.

        Raises InputError if a record does not fit the schema or, unless `replace`, the store has its id.
        """
        # Of several records with one id, only the last is written. LMDB would never write a page to disk that one
        # transaction both writes and frees.
        values = self.schema.encode(records)

        def put(transaction: lmdb.Transaction) -> None:
            if not replace:
                self._refuse_held(transaction, [record.id for record in records])
            cursor = transaction.cursor(self._records)
            row = _ROW.unpack(bytes(cursor.key()))[0] + 1 if cursor.last() else 0
            for id, value in values.items():
                held = transaction.get(id, db=self._ids)
                if held is not None:
                    transaction.delete(bytes(held), db=self._records)
                key = _ROW.pack(row)
                transaction.put(key, value, db=self._records, append=True)
                transaction.put(id, key, db=self._ids)
                row += 1

        self._write(put, room=sum(len(value) for value in values.values()))

    def delete(self, ids: Iterable[str]) -> None:
        """Remove images, all or none. Raises InputError for an unknown id."""
        wanted = list(dict.fromkeys(ids))

        def drop(transaction: lmdb.Transaction) -> None:
            for id in wanted:
                transaction.delete(self._known_row(transaction, id), db=self._records)
                transaction.delete(store_key(id), db=self._ids)
            delete_facts(self._environment, transaction, wanted)

        self._write(drop)

    def metadata(self) -> Metadata | None:
        """The metadata last put into the store, also for images it does not have; None if there is none."""
        return self._read(lambda transaction: read_metadata(self.path, self._environment, transaction))

    def put_metadata(self, metadata: Metadata) -> Described:
        """Replace the store's metadata. Raises InputError if `metadata` names none of the store's images."""
        fitted, described = fit(self.path, self.infos(), metadata, self.facts())
        self._write(lambda transaction: write_metadata(self._environment, transaction, fitted))
        return described

    def facts(self) -> dict[str, StoredFacts]:
        """What photos say about themselves, by id; nothing for images that were not extracted from photos."""
        return self._read(lambda transaction: read_facts(self.path, self._environment, transaction))

    def put_facts(self, facts: Mapping[str, StoredFacts]) -> None:
        """Add or replace what photos say about themselves, by id."""
        self._write(lambda transaction: write_facts(self._environment, transaction, facts))

    def entries(self) -> set[int]:
        """The numbers of ids and of records in their tables: one number, unless the store is damaged."""
        return self._read(lambda held: {int(held.stat(table)["entries"]) for table in (self._ids, self._records)})

    def compact(self) -> tuple[int, int]:
        """Rewrite the data file without freed pages. Returns its size in bytes before and after.

        This closes the store. Raises StoreError if the disk is full, and keeps the old file.
        """
        before = self.bytes_used

        # The write lock keeps other writers out until the new file has replaced the old one.
        def rewrite(transaction: lmdb.Transaction) -> None:
            self._refuse_replaced()
            rewrite_schema(self._environment, transaction)

        with clear_errors(self.path), locked_for_compaction(self._environment, rewrite):
            self._refuse_replaced()
            compact_environment(self.path, self._environment)
        self.close()
        return before, self.bytes_used

    def _decode(self, transaction: lmdb.Transaction, id: str) -> RegionRecord:
        value = transaction.get(self._known_row(transaction, id), db=self._records)
        try:
            if value is None:
                raise StoreError("its record is missing")
            return decode_record(value, dtype=self._dtype, feature_dim=self.feature_dim)
        except StoreError as error:
            raise self._damaged(id, error) from error

    def _id(self, transaction: lmdb.Transaction, row: bytes, key: bytes) -> str:
        return id_of(key, transaction.get(row, db=self._records)) if is_shortened(key) else decode_id(key)

    def _damaged(self, id: str, error: StoreError) -> StoreError:
        return StoreError(f"image '{id}' in {self.path} is damaged ({error}): {how_to_replace(self.path, id)}")

    def _refuse_held(self, transaction: lmdb.Transaction, ids: Sequence[str]) -> None:
        if held := [id for id in ids if self._row(transaction, id) is not None]:
            raise already_held(self.path, held)

    def _row(self, transaction: lmdb.Transaction, id: str) -> bytes | None:
        held = transaction.get(key, db=self._ids) if (key := store_key(id)) else None
        return None if held is None else bytes(held)

    def _known_row(self, transaction: lmdb.Transaction, id: str) -> bytes:
        if (row := self._row(transaction, id)) is None:
            raise InputError(f"there is no image '{id}' in the store {self.path}: check the id, or add that image")
        return row

    def _rows(self, transaction: lmdb.Transaction) -> list[tuple[bytes, bytes]]:
        return sorted((bytes(row), bytes(key)) for key, row in transaction.cursor(self._ids))

    def _read(self, action: Callable[[lmdb.Transaction], _T]) -> _T:
        with clear_errors(self.path):
            return read_transaction(self._environment, action)

    def _write(self, action: Callable[[lmdb.Transaction], None], room: int = 0) -> None:
        def put(transaction: lmdb.Transaction) -> None:
            self._refuse_replaced()
            action(transaction)

        with clear_errors(self.path):
            write_transaction(self._environment, put, room)
            fill_last_pages(self.path, self._environment)

    def _refuse_replaced(self) -> None:
        if (self.path / "data.mdb").stat().st_ino != self._inode:
            raise StoreError(f"{self.path} was compacted by another process: run the command again")
