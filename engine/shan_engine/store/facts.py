"""What photos say about themselves, in a feature store: the table `facts`, a JSON object for each image id.

It has the facts by name, and a stamp that changes when they must be read again. An older store has no such table.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lmdb

from shan_engine.base.errors import StoreError
from shan_engine.base.facts import FACTS, Facts
from shan_engine.base.ids import decode_id, is_shortened, store_key

_TABLE = b"facts"


@dataclass(frozen=True)
class StoredFacts:
    """The facts of one image, and the stamp of the files that they were read from."""

    stamp: str
    facts: Facts


def write_facts(environment: lmdb.Environment, transaction: lmdb.Transaction, facts: Mapping[str, StoredFacts]) -> None:
    """Add or replace the facts of images, by id, in a write transaction."""
    table = environment.open_db(_TABLE, txn=transaction)
    for id, held in facts.items():
        key = store_key(id)
        row = {"stamp": held.stamp, "facts": held.facts, **({"id": id} if is_shortened(key) else {})}
        transaction.put(key, json.dumps(row, ensure_ascii=False).encode("utf-8", "surrogateescape"), db=table)


def delete_facts(environment: lmdb.Environment, transaction: lmdb.Transaction, ids: list[str]) -> None:
    """Remove the facts of images, if there are any, in a write transaction."""
    try:
        table = environment.open_db(_TABLE, txn=transaction, create=False)
    except lmdb.NotFoundError:
        return
    for id in ids:
        transaction.delete(store_key(id), db=table)


def read_facts(path: Path, environment: lmdb.Environment, transaction: lmdb.Transaction) -> dict[str, StoredFacts]:
    """The facts of all images of the store `path` that have some, by id. Raises StoreError if they are damaged."""
    try:
        table = environment.open_db(_TABLE, txn=transaction, create=False)
    except lmdb.NotFoundError:
        return {}
    try:
        return dict(_decoded(transaction, table))
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise StoreError(
            f"what the photos of the store {path} say about themselves is damaged ({error}): extract into a new store"
        ) from error


def _decoded(transaction: lmdb.Transaction, table: Any) -> Iterator[tuple[str, StoredFacts]]:
    for key, value in transaction.cursor(table):
        held = json.loads(bytes(value).decode("utf-8", "surrogateescape"))
        facts = {name: fact for name, fact in held["facts"].items() if name in FACTS}
        yield held.get("id", decode_id(bytes(key))), StoredFacts(str(held["stamp"]), facts)
