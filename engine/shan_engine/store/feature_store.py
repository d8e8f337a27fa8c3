"""The feature store: region features of a photo collection in one LMDB environment.

Tables: `meta` (one schema record), `records` (row number, big-endian u64 -> record, in order of arrival),
`ids` (id -> row number) and, if the store has any, `metadata`, `facts`, `contents` and `texts` (modules of those
names). A batch is written in one transaction: a killed writer loses at most that batch. A second writer waits until the
first one's ends.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace as replace_fields
from functools import partial
from types import MappingProxyType

import lmdb
import numpy as np
from numpy.typing import NDArray

from shan_engine.base.errors import InputError, StoreError
from shan_engine.base.facts import COPIES
from shan_engine.base.ids import decode_id, is_shortened, spelt_out, store_key
from shan_engine.base.metadata import Metadata
from shan_engine.store.contents import Content, delete_contents, read_contents, write_contents
from shan_engine.store.facts import StoredFacts, delete_facts, read_facts, write_facts
from shan_engine.store.metadata import Described, fit, joined, read_metadata, rename_metadata, with_text, write_metadata
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
from shan_engine.store.texts import TextStore

_ROW = struct.Struct(">Q")
_BATCH = 512  # records that one transaction moves
NO_CONTENTS: Mapping[str, Content] = MappingProxyType({})


class FeatureStore(TextStore):
    """Region features by string id. Get one from `create` or `open`; use `with` to close it."""

    def __len__(self) -> int:
        return self._read(lambda transaction: int(transaction.stat(self._ids)["entries"]))

    def __contains__(self, id: str) -> bool:
        return self._read(lambda transaction: self._row(transaction, id)) is not None

    @property
    def feature_dim(self) -> int:
        """Size F of a region's feature vector."""
        return self.schema.feature_dim

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
                    _refuse_record_of_another(found[-1].id, key)
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

    def write(
        self, records: Sequence[RegionRecord], *, replace: bool = True, contents: Mapping[str, Content] = NO_CONTENTS
    ) -> None:
        """Add records, or replace those with the same id, in one transaction: all of them or none.

        `contents` tells the files of their photos. What was known of a replaced record's files and text is removed.

        Raises InputError if a record does not fit the schema or, unless `replace`, the store has its id.
        """
        # Of several records with one id, only the last is written. LMDB would never write a page to disk that one
        # transaction both writes and frees.
        values = self.schema.encode(records)

        def put(transaction: lmdb.Transaction) -> None:
            if not replace:
                self._refuse_held(transaction, [record.id for record in records])
            self._put(transaction, values)
            write_contents(self._environment, transaction, contents)

        self._write(put, room=sum(len(value) for value in values.values()))

    def delete(self, ids: Iterable[str]) -> None:
        """Remove images, all or none. Raises InputError for an unknown id."""
        wanted = list(dict.fromkeys(ids))
        self._write(lambda transaction: self._drop(transaction, wanted))

    def discard(self, ids: Iterable[str]) -> None:
        """Remove images, all or none; one that is no longer there is passed over."""
        wanted = list(dict.fromkeys(ids))
        self._write(
            lambda transaction: self._drop(transaction, [id for id in wanted if self._row(transaction, id) is not None])
        )

    def contents(self) -> dict[str, Content]:
        """The files of images, by id; nothing for images whose files were never compared."""
        return self._read(lambda transaction: read_contents(self.path, self._environment, transaction))

    def put_contents(self, contents: Mapping[str, Content]) -> None:
        """Add or replace what is known of images' files, by id. The id and path of an image's own file must stay."""
        self._write(lambda transaction: write_contents(self._environment, transaction, contents))

    def relocate(self, contents: Mapping[str, Content]) -> None:
        """Give images other files, by their present id.

        An image whose own file has another id or path gets these, with its text and its row of metadata. All ids change
        at once, so that they may be exchanged; facts of such images are removed, to be read again. An image that is no
        longer there is passed over. Raises StoreError for a damaged record.
        """
        renamed = [id for id, content in contents.items() if content.files[0].id != id]
        others = [id for id, content in contents.items() if content.files[0].id == id]
        for batch in (renamed, *(others[start : start + _BATCH] for start in range(0, len(others), _BATCH))):
            self._write(partial(self._relocate, contents={id: contents[id] for id in batch}))

    def _relocate(self, transaction: lmdb.Transaction, *, contents: Mapping[str, Content]) -> None:
        rows = {id: row for id in contents if (row := self._row(transaction, id)) is not None}
        renamed = {id: contents[id].files[0].id for id in rows if contents[id].files[0].id != id}
        for id in renamed:
            transaction.delete(store_key(id), db=self._ids)
        delete_facts(self._environment, transaction, renamed)
        delete_contents(self._environment, transaction, map(store_key, renamed))
        put_texts_back = self._take_texts(transaction, {id: contents[id].files[0].id for id in rows})
        for id, row in rows.items():
            record, own = self._decode(transaction, id, row), contents[id].files[0]
            if (record.id, record.path) != (own.id, own.path):
                transaction.delete(row, db=self._records)
                self._put(transaction, self.schema.encode([replace_fields(record, **vars(own))]))
        write_contents(self._environment, transaction, {contents[id].files[0].id: contents[id] for id in rows})
        rename_metadata(self.path, self._environment, transaction, renamed)
        put_texts_back()

    def metadata(self) -> Metadata | None:
        """The metadata last put into the store, also for images it does not have; None if there is none."""
        return self._read(lambda transaction: read_metadata(self.path, self._environment, transaction))

    def put_metadata(self, metadata: Metadata) -> Described:
        """Replace the store's metadata. Raises InputError if `metadata` names none of the store's images."""
        fitted, described = fit(self.path, self.infos(), metadata, self.facts())
        self._write(lambda transaction: write_metadata(self._environment, transaction, fitted))
        return described

    def facts(self) -> dict[str, StoredFacts]:
        """The photos' own metadata by id; nothing for images that were not extracted from photos."""
        return self._read(lambda transaction: read_facts(self.path, self._environment, transaction))

    def described(self) -> Metadata | None:
        """What is known about the images: the metadata of a table, facts, and the other places of their photos."""
        facts = self.facts()
        for id, content in self.contents().items():
            if len(content.files) > 1 and id in facts:
                places = "; ".join(spelt_out(file.path) for file in content.files[1:])
                facts[id] = StoredFacts(facts[id].stamp, {**facts[id].facts, COPIES: places})
        known = joined(self.infos(), facts, self.metadata())
        return with_text(known, ((id, [line.text for line in lines]) for id, lines in self.texts()))

    def put_facts(self, facts: Mapping[str, StoredFacts]) -> None:
        """Add or replace the photos' own metadata by id."""
        self._write(lambda transaction: write_facts(self._environment, transaction, facts))

    def entries(self) -> set[int]:
        """The numbers of ids and of records in their tables: one number, unless the store is damaged."""
        return self._read(lambda held: {int(held.stat(table)["entries"]) for table in (self._ids, self._records)})

    def _put(self, transaction: lmdb.Transaction, values: Mapping[bytes, bytes]) -> None:
        """Write encoded records by key, and forget the files and the text of those that they replace."""
        cursor = transaction.cursor(self._records)
        row = _ROW.unpack(bytes(cursor.key()))[0] + 1 if cursor.last() else 0
        for id, value in values.items():
            if transaction.get(id, db=self._ids) is not None:
                transaction.delete(self._own_row(transaction, id), db=self._records)
            key = _ROW.pack(row)
            transaction.put(key, value, db=self._records, append=True)
            transaction.put(id, key, db=self._ids)
            row += 1
        delete_contents(self._environment, transaction, values)
        self._delete_texts(transaction, values)

    def _drop(self, transaction: lmdb.Transaction, ids: Collection[str]) -> None:
        for id in ids:
            self._known_row(transaction, id)
            transaction.delete(self._own_row(transaction, store_key(id)), db=self._records)
            transaction.delete(store_key(id), db=self._ids)
        delete_facts(self._environment, transaction, ids)
        delete_contents(self._environment, transaction, map(store_key, ids))
        self._delete_texts(transaction, map(store_key, ids))

    def _decode(self, transaction: lmdb.Transaction, id: str, row: bytes | None = None) -> RegionRecord:
        value = transaction.get(row or self._known_row(transaction, id), db=self._records)
        try:
            if value is None:
                raise StoreError("its record is missing")
            record = decode_record(value, dtype=self._dtype, feature_dim=self.feature_dim)
            _refuse_record_of_another(record.id, store_key(id))
            return record
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

    def _own_row(self, transaction: lmdb.Transaction, key: bytes) -> bytes:
        """The row of an id's own record, by the store's key, also where damage has its entry point to another's."""
        row = bytes(transaction.get(key, db=self._ids) or b"")
        if _key_of(transaction.get(row, db=self._records)) in (key, None):
            return row
        records = {bytes(row): _key_of(value) for row, value in transaction.cursor(self._records)}
        taken = {bytes(row) for _, row in transaction.cursor(self._ids)}
        own = [row for row, held in records.items() if held == key]
        return next(iter(own or records.keys() - taken), row)

    def _known_row(self, transaction: lmdb.Transaction, id: str) -> bytes:
        if (row := self._row(transaction, id)) is None:
            raise InputError(f"there is no image '{id}' in the store {self.path}: check the id, or add that image")
        return row

    def _rows(self, transaction: lmdb.Transaction) -> list[tuple[bytes, bytes]]:
        return sorted((bytes(row), bytes(key)) for key, row in transaction.cursor(self._ids))


def _refuse_record_of_another(id: str, key: bytes) -> None:
    if store_key(id) != key:
        raise StoreError(f"it holds the record of '{id}'")


def _key_of(value: bytes | memoryview | None) -> bytes | None:
    """The key of the image that a record is of; None where that cannot be read, empty where there is no record."""
    try:
        return b"" if value is None else store_key(peek_record(value).id)
    except (StoreError, InputError, AttributeError):
        return None
