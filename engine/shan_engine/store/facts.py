"""The photos' own metadata in a feature store: the table `facts`, a JSON object for each image id.

It has the facts by name, and a stamp that changes when they must be read again. An older store has no such table.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import lmdb

from shan_engine.base.column_types import is_value
from shan_engine.base.errors import StoreError
from shan_engine.base.facts import FACTS, Facts
from shan_engine.base.ids import decode_id, is_shortened, store_key
from shan_engine.base.manifests import demand
from shan_engine.store.image_rows import delete_rows, put_rows, read_rows

_TABLE = b"facts"


@dataclass(frozen=True)
class StoredFacts:
    """The facts of one image, and the stamp of the files that they were read from."""

    stamp: str
    facts: Facts


def write_facts(environment: lmdb.Environment, transaction: lmdb.Transaction, facts: Mapping[str, StoredFacts]) -> None:
    """Add or replace the facts of images, by id, in a write transaction."""
    keys = {id: store_key(id) for id in facts}
    rows = {
        keys[id]: {"stamp": held.stamp, "facts": held.facts, **({"id": id} if is_shortened(keys[id]) else {})}
        for id, held in facts.items()
    }
    put_rows(environment, transaction, _TABLE, rows)


def delete_facts(environment: lmdb.Environment, transaction: lmdb.Transaction, ids: Iterable[str]) -> None:
    """Remove the facts of images, if there are any, in a write transaction."""
    delete_rows(environment, transaction, _TABLE, map(store_key, ids))


def read_facts(path: Path, environment: lmdb.Environment, transaction: lmdb.Transaction) -> dict[str, StoredFacts]:
    """The facts of all images of the store `path` that have some, by id. Raises StoreError if they are damaged."""
    found = {}
    try:
        for key, row in read_rows(environment, transaction, _TABLE):
            facts = {name: fact for name, fact in row["facts"].items() if name in FACTS}
            demand(all(map(is_value, facts.values())), "a fact is no value")
            found[str(row.get("id", decode_id(key)))] = StoredFacts(str(row["stamp"]), facts)
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise StoreError(
            f"the photos' own metadata in the store {path} is damaged ({error}): extract into a new store"
        ) from error
    return found
