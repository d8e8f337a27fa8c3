"""A feature store's LMDB environment: made, opened, read and written, compacted."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from threading import RLock
from typing import Self, TypeVar

import lmdb
import numpy as np

from shan_engine.base.errors import StoreError
from shan_engine.base.files import sync_names
from shan_engine.store.lmdb import (
    begin_reading,
    clear_errors,
    compact_environment,
    damaged,
    fill_last_pages,
    inode_of,
    is_store,
    locked_for_compaction,
    making,
    open_checked,
    write_transaction,
)
from shan_engine.store.schema import (
    HEADS,
    METADATA,
    TABLES,
    StoreSchema,
    read_schema,
    refuse_other_schema,
    rewrite_schema,
    write_schema,
)

_T = TypeVar("_T")


class OpenStore:
    """An open store, with its schema and tables. Use `with` to close it.

    A store that is open for reading shows one state until it is closed, whatever other processes write meanwhile. They
    reuse no page of that state, so that the file may grow.
    """

    def __init__(
        self, path: Path, environment: lmdb.Environment, schema: StoreSchema, inode: int, *, readonly: bool
    ) -> None:
        self.path = path
        self.schema = schema
        self._environment = environment
        self._dtype: np.dtype[np.floating] = np.dtype(schema.dtype)
        self._ids = environment.open_db(b"ids", create=False)
        self._records = environment.open_db(b"records", create=False)
        self._inode = inode
        self._state = begin_reading(environment) if readonly else None
        self._turn = RLock()  # a transaction serves one thread at a time

    @classmethod
    def create(cls, path: Path, schema: StoreSchema) -> Self:
        """Make a store at `path`, or open the one there if its schema is the same.

        Raises StoreError if the store there has another extractor, feature size or dtype.
        """
        # clear_errors is innermost, to detect a full disk before the files that fill it are removed.
        made = not is_store(path)
        with making(path), clear_errors(path):
            environment, _, _ = open_checked(path, readonly=False)
            try:
                write_schema(path, environment, schema)
            finally:
                environment.close()
            if made:
                for folder in (path, path.parent):
                    sync_names(folder)
        store = cls.open(path, readonly=False)
        try:
            refuse_other_schema(path, store.schema, schema)
        except StoreError:
            store.close()
            raise
        return store

    @classmethod
    def open(cls, path: Path, *, readonly: bool = True) -> Self:
        """Open an existing store. Raises StoreError if it is missing, damaged or of a newer schema."""
        store = cls.open_if_made(path, readonly=readonly)
        if store is None:
            raise StoreError(f"there is no feature store at {path}: make one with `shan-engine extract` or `import`")
        return store

    @classmethod
    def open_if_made(cls, path: Path, *, readonly: bool = True) -> Self | None:
        """As `open`, but None if there is no store, or only one that another program has just begun to make."""
        if not is_store(path):
            return None
        with clear_errors(path):
            environment, tables, inode = open_checked(path, readonly=readonly)
            try:
                if not tables:  # the first transaction has not ended, or never will
                    environment.close()
                    return None
                meta = environment.open_db(b"meta", create=False)
                with environment.begin() as transaction:
                    held = {bytes(name): bytes(value) for name, value in transaction.cursor(meta)}
                schema = read_schema(path, held.get(b"schema", b""))
                _refuse_lost(path, tables, held)
                return cls(path, environment, schema, inode, readonly=readonly)
            except lmdb.NotFoundError as error:
                environment.close()
                raise StoreError(f"{path} is an LMDB environment but not a feature store: name another one") from error
            except BaseException:
                environment.close()
                raise

    def close(self) -> None:
        """Close the LMDB environment."""
        if self._state is not None:
            self._state.abort()
        self._environment.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @property
    def bytes_used(self) -> int:
        """Size of the data file on disk, in bytes."""
        return (self.path / "data.mdb").stat().st_size

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

    def _read(self, action: Callable[[lmdb.Transaction], _T]) -> _T:
        with clear_errors(self.path):
            if self._state is not None:
                with self._turn:
                    return action(self._state)
            with begin_reading(self._environment) as transaction:
                return action(transaction)

    def _write(self, action: Callable[[lmdb.Transaction], None], room: int = 0) -> None:
        def put(transaction: lmdb.Transaction) -> None:
            self._refuse_replaced()
            action(transaction)

        with clear_errors(self.path):
            write_transaction(self._environment, put, room)
            fill_last_pages(self.path, self._environment)

    def _refuse_replaced(self) -> None:
        if inode_of(self.path) != self._inode:
            raise StoreError(f"{self.path} was compacted by another process: run the command again")


def _refuse_lost(path: Path, tables: Mapping[str, int], held: Collection[bytes]) -> None:
    """Raise StoreError if a table or a record in `meta` has another name than any version gives it.

    Else a changed byte in the name of an optional table would look as if the store had none.
    """
    unknown = {*(name.encode() for name in tables if name not in TABLES), *(set(held) - HEADS)}
    if unknown:
        raise damaged(path, f"it holds {min(unknown).decode('ascii', 'replace')!r}, which no version writes")
    if METADATA in tables and METADATA.encode() not in held:
        raise damaged(path, "its metadata have lost their columns")
    if tables.get("ids") != tables.get("records"):
        raise damaged(path, f"{tables.get('ids')} ids were written for {tables.get('records')} records")
