"""A table of a feature store with a JSON object for each image, by the store's key of its id."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import lmdb

from shan_engine.base.json_rows import decode_row

_CHECK = b', "check": "%08x"}'
_CHECK_BYTES = len(_CHECK % 0)


def put_rows(
    environment: lmdb.Environment, transaction: lmdb.Transaction, table: bytes, rows: Mapping[bytes, Mapping[str, Any]]
) -> None:
    """Add or replace rows, by key, in a write transaction; the table is made if the store has none."""
    opened = environment.open_db(table, txn=transaction)
    for key, row in rows.items():
        transaction.put(key, _checked(key, row), db=opened)


def delete_rows(
    environment: lmdb.Environment, transaction: lmdb.Transaction, table: bytes, keys: Iterable[bytes]
) -> None:
    """Remove rows, if there are any, in a write transaction."""
    try:
        opened = environment.open_db(table, txn=transaction, create=False)
    except lmdb.NotFoundError:
        return
    for key in keys:
        transaction.delete(key, db=opened)


def read_rows(
    environment: lmdb.Environment, transaction: lmdb.Transaction, table: bytes
) -> Iterator[tuple[bytes, Any]]:
    """All keys and rows, none where the store has no such table. Raises ValueError for a row that is damaged."""
    try:
        opened = environment.open_db(table, txn=transaction, create=False)
    except lmdb.NotFoundError:
        return
    for key, value in transaction.cursor(opened):
        yield bytes(key), checked_row(bytes(key), bytes(value))


def checked_row(key: bytes, value: bytes) -> Any:
    """The row that a value holds. Raises ValueError if it was written otherwise, or with another key."""
    text, check = value[:-_CHECK_BYTES], value[-_CHECK_BYTES:]
    if check.startswith(_CHECK[:10]) and check != _CHECK % _checksum(key, text):
        raise ValueError("its checksum does not match")
    return decode_row(value)


def _checked(key: bytes, row: Mapping[str, Any]) -> bytes:
    own = {name: value for name, value in row.items() if name != "check"}
    text = json.dumps(own, ensure_ascii=False).encode("utf-8", "surrogateescape")[:-1]
    return text + _CHECK % _checksum(key, text)


def _checksum(key: bytes, text: bytes) -> int:
    return zlib.crc32(text, zlib.crc32(key))
