"""Metadata in a feature store: a record for each image id in the table `metadata`, and the columns in `meta`.

A record is the JSON list of a row's values, in the order of the columns. A store without metadata has neither.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import lmdb

from shan_engine.base.errors import InputError, StoreError
from shan_engine.base.ids import decode_id, encode_id
from shan_engine.base.manifests import demand
from shan_engine.base.metadata import INTEGER, REAL, TEXT, Metadata

_TABLE, _COLUMNS = b"metadata", b"metadata"


def write_metadata(environment: lmdb.Environment, transaction: lmdb.Transaction, metadata: Metadata) -> None:
    """Replace a store's metadata in a write transaction."""
    meta = environment.open_db(b"meta", txn=transaction)
    table = environment.open_db(_TABLE, txn=transaction)
    transaction.drop(table, delete=False)
    for key, values in sorted((encode_id(id), values) for id, values in metadata.rows.items()):
        transaction.put(key, json.dumps(values, ensure_ascii=False).encode(), db=table, append=True)
    head = {"columns": metadata.columns, "stamp": metadata.stamp}
    transaction.put(_COLUMNS, json.dumps(head).encode(), db=meta)


def read_metadata(path: Path, environment: lmdb.Environment, transaction: lmdb.Transaction) -> Metadata | None:
    """Read the metadata of the store `path`, or None if it has none. Raises StoreError if they are damaged."""
    meta = environment.open_db(b"meta", txn=transaction, create=False)
    held = transaction.get(_COLUMNS, db=meta)
    if held is None:
        return None
    try:
        head = json.loads(bytes(held))
        columns = head["columns"]
        demand(set(columns.values()) <= {INTEGER, REAL, TEXT}, "a column is of another type")
        table = environment.open_db(_TABLE, txn=transaction, create=False)
        rows = {decode_id(bytes(key)): tuple(json.loads(bytes(value))) for key, value in transaction.cursor(table)}
        metadata = Metadata(columns, rows)
        demand(metadata.stamp == head["stamp"], "its rows are not those that were written")
    except (ValueError, LookupError, TypeError, AttributeError, lmdb.NotFoundError) as error:
        raise StoreError(
            f"the metadata of the store {path} are damaged ({error}): set them again with `shan-engine store metadata`"
        ) from error
    return metadata


@dataclass(frozen=True)
class Described:
    """How metadata fit a store's images: `described` of `images` have a row; `unknown` rows belong to no image."""

    images: int
    described: int
    unknown: int
    columns: tuple[str, ...]


def compare(path: Path, ids: Sequence[str], metadata: Metadata) -> Described:
    """Count how metadata fit the images `ids` of the store at `path`.

    Raises InputError if the metadata name none of them.
    """
    described = sum(id in metadata.rows for id in ids)
    if ids and not described:
        raise InputError(
            f"the store {path} has none of the {len(metadata.rows)} images that the metadata name, such as "
            f"'{next(iter(metadata.rows))}': its ids are like '{ids[0]}'"
        )
    return Described(len(ids), described, len(metadata.rows) - described, tuple(metadata.columns))
