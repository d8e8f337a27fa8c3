"""The feature store: region features of a photo collection in one LMDB environment.

Tables: `meta` (one schema record), `records` (row number, big-endian u64 -> record, in order of arrival),
`ids` (id -> row number) and, where there is some, `metadata` (store/metadata.py). A write batch is one transaction: a
killed writer loses at most that batch, and a second writer waits for the first one's transaction to end.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeVar

import lmdb
import numpy as np
from numpy.typing import NDArray

from shan_engine.base.errors import InputError, StoreError
from shan_engine.base.ids import MAX_ID_BYTES, decode_id, encode_id
from shan_engine.base.metadata import Metadata
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
from shan_engine.store.metadata import Described, compare, read_metadata, write_metadata
from shan_engine.store.records import RecordInfo, RegionRecord, decode_record, pad_regions, peek_record, replace_mend
from shan_engine.store.schema import StoreSchema, read_schema, rewrite_schema, write_schema

_ROW = struct.Struct(">Q")
_T = TypeVar("_T")


class FeatureStore:
    """Region features by string id. Make one with `create`, or use `open`; close it or use `with`."""

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
        """Make a store at `path`, or open the one that is there if its schema agrees.

        Raises StoreError where a store of another extractor, size or dtype is already there.
        """
        # Innermost, so that a full disk is seen before what fills it is removed.
        with making(path), clear_errors(path):
            environment = open_environment(path, readonly=False)
            try:
                refuse_truncated(path, environment)
                write_schema(path, environment, schema)
            finally:
                environment.close()
        store = cls.open(path, readonly=False)
        for name in ("feature_extractor", "feature_dim", "dtype"):
            held, wanted = getattr(store.schema, name), getattr(schema, name)
            if held != wanted:
                store.close()
                raise StoreError(
                    f"the store {path} has {name.replace('_', ' ')} '{held}', not '{wanted}': use a new store"
                )
        return store

    @classmethod
    def open(cls, path: Path, *, readonly: bool = True) -> FeatureStore:
        """Open an existing store. Raises StoreError where it is missing, damaged or of a newer schema."""
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
        """Release the environment."""
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
        """Size F of a region's feature."""
        return self.schema.feature_dim

    @property
    def bytes_used(self) -> int:
        """Bytes of the data file on disk."""
        return (self.path / "data.mdb").stat().st_size

    def ids(self) -> list[str]:
        """All ids, in the order their records arrived."""
        return self._read(lambda transaction: [decode_id(key) for _, key in self._rows(transaction)])

    def infos(self) -> list[RecordInfo]:
        """What every record says of itself, in order of arrival, arrays unread."""

        def walk(transaction: lmdb.Transaction) -> list[RecordInfo]:
            found = []
            for row, key in self._rows(transaction):
                value = transaction.get(row, db=self._records)
                try:
                    if value is None:
                        raise StoreError("its record is lost")
                    found.append(peek_record(value))
                except StoreError as error:
                    raise self._damaged(decode_id(key), error) from error
            return found

        return self._read(walk)

    def read(self, ids: Sequence[str]) -> list[RegionRecord]:
        """Records of `ids`, in that order.

        Raises InputError for an unknown id, StoreError for a damaged record.
        """

        def fetch(transaction: lmdb.Transaction) -> list[RegionRecord]:
            return [self._decode(transaction, id) for id in ids]

        return self._read(fetch)

    def regions(self, ids: Sequence[str]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Features B x K x F (float32, zero-padded to the largest K) and mask B x K, true where real."""
        return pad_regions(self.read(ids))

    def refuse_held(self, ids: Sequence[str]) -> None:
        """Raise InputError, naming one and how many, where images of these ids are in the store."""
        self._read(lambda transaction: self._refuse_held(transaction, ids))

    def write(self, records: Sequence[RegionRecord], *, replace: bool = True) -> None:
        """Add records, or replace those whose id is there, in one transaction: all of them or none.

        Raises InputError where a record does not fit or, unless `replace`, its id is there.
        """
        # By id, the last one winning: a page written and freed in one transaction would never reach the disk.
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
                transaction.delete(encode_id(id), db=self._ids)

        self._write(drop)

    def metadata(self) -> Metadata | None:
        """What was put in last, also of images that are not here; None where nothing was."""
        return self._read(lambda transaction: read_metadata(self.path, self._environment, transaction))

    def put_metadata(self, metadata: Metadata) -> Described:
        """Put it in the place of what was there. Raises InputError where it names none of the images."""
        described = compare(self.path, self.ids(), metadata)
        self._write(lambda transaction: write_metadata(self._environment, transaction, metadata))
        return described

    def entries(self) -> set[int]:
        """How many ids and how many records their tables count: the same number, unless damaged."""
        tables = (self._ids, self._records)
        return self._read(lambda transaction: {int(transaction.stat(table)["entries"]) for table in tables})

    def compact(self) -> tuple[int, int]:
        """Rewrite the data file without freed pages; returns its bytes before and after.

        The store is closed after it. Raises StoreError on a full disk, with the old file kept.
        """
        before = self.bytes_used

        # The write lock keeps other writers out until the new file stands in the old one's place.
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
                raise StoreError("its record is lost")
            return decode_record(value, dtype=self._dtype, feature_dim=self.feature_dim)
        except StoreError as error:
            raise self._damaged(id, error) from error

    def _damaged(self, id: str, error: StoreError) -> StoreError:
        return StoreError(f"image '{id}' in {self.path} is damaged ({error}): {replace_mend(self.path, id)}")

    def _refuse_held(self, transaction: lmdb.Transaction, ids: Sequence[str]) -> None:
        held = [id for id in ids if self._row(transaction, id) is not None]
        if held:
            images = f"the image '{held[0]}' is" if len(held) == 1 else f"{len(held)} images, such as '{held[0]}', are"
            raise InputError(
                f"{images} in the store {self.path} already: give these other ids (--ids for an .npy), use another "
                "store, or say --replace to put them in the place of those there"
            )

    def _row(self, transaction: lmdb.Transaction, id: str) -> bytes | None:
        key = encode_id(id)
        held = transaction.get(key, db=self._ids) if 0 < len(key) <= MAX_ID_BYTES else None
        return None if held is None else bytes(held)

    def _known_row(self, transaction: lmdb.Transaction, id: str) -> bytes:
        row = self._row(transaction, id)
        if row is None:
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
            raise StoreError(f"{self.path} was compacted meanwhile: run the command again")
