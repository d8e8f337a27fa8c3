"""What all records of a feature store have in common, kept in its single schema record."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from shan_engine.base.choices import STORE_DTYPES, StoreDtype
from shan_engine.base.errors import InputError, StoreError
from shan_engine.base.ids import store_key
from shan_engine.base.manifests import Fields, Format, Size
from shan_engine.store.records import RegionRecord, check_record, encode_record

if TYPE_CHECKING:  # the GPU check runs where there is no lmdb
    import lmdb

SCHEMA_VERSION = 2
"""Version of stores whose records may hold the classes that photos were seen as; other stores keep version 1."""
METADATA = "metadata"
TABLES = frozenset({"meta", "ids", "records", METADATA, "facts", "files", "text"})
"""Names of all tables that a store of any version up to this one may have."""
HEADS = frozenset({b"schema", METADATA.encode()})
"""Names of all records that its table `meta` may have."""


class StoreSchema(Fields, frozen=True):
    """What every record of a store has in common.

    Raises InputError where `dtype` is neither 'float32' nor 'float16'.
    """

    feature_extractor: str
    feature_dim: Size
    max_regions: Size = 100
    dtype: StoreDtype = "float32"
    version: int = 1

    def __post_init__(self) -> None:
        if self.dtype not in STORE_DTYPES:
            raise InputError(f"a store cannot hold {self.dtype}: choose {' or '.join(STORE_DTYPES)}")

    def encode(self, records: Sequence[RegionRecord]) -> dict[bytes, bytes]:
        """Encode records to bytes, by the store's key. Of several records with one id, the last is kept.

        Raises InputError, naming the image, if a record does not fit the schema.
        """
        for record in records:
            if record.seen is not None and self.version < SCHEMA_VERSION:
                raise InputError(
                    f"image '{record.id}' tells what it is seen as, which this store was not made for: use a new store"
                )
            check_record(record, feature_dim=self.feature_dim, max_regions=self.max_regions)
        dtype = np.dtype(self.dtype)
        return {store_key(record.id): encode_record(record, dtype) for record in records}


FORMAT = Format(
    fields=StoreSchema,
    error=StoreError,
    holder="the store {place}",
    missing="there is no feature store at {place}",
    damaged="the schema record of {place} is damaged ({fault}): restore the store from a copy",
    remake="",
    version=SCHEMA_VERSION,
    oldest=1,
    signed=False,
)


def read_schema(path: Path, text: bytes) -> StoreSchema:
    """A schema record's content; raises StoreError where it is damaged or newer, naming the store `path`."""
    return FORMAT.parse(text, path, path)


def refuse_other_schema(path: Path, held: StoreSchema, wanted: StoreSchema) -> None:
    """Raise StoreError if the store at `path` has another extractor, feature size or dtype."""
    for name in ("feature_extractor", "feature_dim", "dtype"):
        there, asked = getattr(held, name), getattr(wanted, name)
        if there != asked:
            raise StoreError(f"the store {path} has {name.replace('_', ' ')} '{there}', not '{asked}': use a new store")


def write_schema(path: Path, environment: lmdb.Environment, schema: StoreSchema) -> None:
    """Make the tables and schema record of a store in the environment in folder `path`, if they are missing.

    Raises StoreError if the environment holds something else.
    """
    with environment.begin(write=True) as transaction:
        if transaction.stat()["entries"] and transaction.get(b"meta") is None:
            raise StoreError(f"{path} is an LMDB environment but not a feature store: name another folder")
        meta = environment.open_db(b"meta", txn=transaction)
        environment.open_db(b"ids", txn=transaction)
        environment.open_db(b"records", txn=transaction)
        if transaction.get(b"schema", db=meta) is None:
            transaction.put(b"schema", json.dumps(schema.as_dict()).encode(), db=meta)


def rewrite_schema(environment: lmdb.Environment, transaction: lmdb.Transaction) -> None:
    """Write a store's schema record again, unchanged."""
    meta = environment.open_db(b"meta", txn=transaction, create=False)
    transaction.put(b"schema", bytes(transaction.get(b"schema", b"", db=meta)), db=meta)
