"""Metadata in a feature store: a record for each image id in the table `metadata`, and the columns in `meta`.

A record is the JSON list of a row's values, in the order of the columns. A store without metadata has neither.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import lmdb

from shan_engine.base.column_types import INTEGER, REAL, TEXT, Value, is_value
from shan_engine.base.errors import InputError, StoreError
from shan_engine.base.facts import FACTS
from shan_engine.base.ids import canonical, decode_id, forms, is_shortened, store_key
from shan_engine.base.json_text import decode_json
from shan_engine.base.manifests import demand
from shan_engine.base.metadata import WRITTEN, Metadata
from shan_engine.store.facts import StoredFacts
from shan_engine.store.records import RecordInfo
from shan_engine.text.written import clean_line

_TABLE, _COLUMNS = b"metadata", b"metadata"


def write_metadata(environment: lmdb.Environment, transaction: lmdb.Transaction, metadata: Metadata) -> None:
    """Replace a store's metadata in a write transaction."""
    meta = environment.open_db(b"meta", txn=transaction)
    table = environment.open_db(_TABLE, txn=transaction)
    transaction.drop(table, delete=False)
    for key, id in sorted((store_key(id), id) for id in metadata.rows):
        row = {"id": id, "values": metadata.rows[id]} if is_shortened(key) else metadata.rows[id]
        transaction.put(
            key, json.dumps(row, ensure_ascii=False).encode("utf-8", "surrogateescape"), db=table, append=True
        )
    head = {"columns": metadata.columns, "stamp": metadata.stamp}
    transaction.put(_COLUMNS, json.dumps(head).encode(), db=meta)


def read_metadata(path: Path, environment: lmdb.Environment, transaction: lmdb.Transaction) -> Metadata | None:
    """Read the metadata of the store `path`, or None if it has none. Raises StoreError if they are damaged."""
    meta = environment.open_db(b"meta", txn=transaction, create=False)
    held = transaction.get(_COLUMNS, db=meta)
    if held is None:
        return None
    try:
        head = decode_json(bytes(held))
        columns = head["columns"]
        demand(set(columns.values()) <= {INTEGER, REAL, TEXT}, "a column is of another type")
        table = environment.open_db(_TABLE, txn=transaction, create=False)
        rows = dict(_row(bytes(key), bytes(value)) for key, value in transaction.cursor(table))
        widths = {len(columns)} if rows else set()
        demand({len(row) for row in rows.values()} == widths, "a row has not a value for each column")
        demand(all(is_value(value) for row in rows.values() for value in row), "a value is none")
        metadata = Metadata(columns, rows)
        demand(metadata.stamp == head["stamp"], "its rows are not those that were written")
    except (ValueError, LookupError, TypeError, AttributeError, lmdb.NotFoundError) as error:
        raise StoreError(
            f"the metadata of the store {path} are damaged ({error}): set them again with `shan-engine store metadata`"
        ) from error
    return metadata


def rename_metadata(
    path: Path, environment: lmdb.Environment, transaction: lmdb.Transaction, renamed: Mapping[str, str]
) -> None:
    """Give rows to images that have other ids now, by their old ids, in a write transaction. Other rows stay.

    An image that has a row under its new id keeps that one.
    """
    held = read_metadata(path, environment, transaction) if renamed else None
    if held is None or held.rows.keys().isdisjoint(renamed):
        return
    moved = {renamed[id]: row for id, row in held.rows.items() if id in renamed}
    stay = {id: row for id, row in held.rows.items() if id not in renamed}
    write_metadata(environment, transaction, Metadata(held.columns, {**moved, **stay}))


def _row(key: bytes, value: bytes) -> tuple[str, tuple[Value, ...]]:
    row = decode_json(value.decode("utf-8", "surrogateescape"))
    return (str(row["id"]), tuple(row["values"])) if is_shortened(key) else (decode_id(key), tuple(row))


@dataclass(frozen=True)
class Described:
    """How metadata fit a store's images: `described` of `images` have a row; `unknown` rows belong to no image.

    `replaced` are those of the columns that hide the photos' own metadata.
    """

    images: int
    described: int
    unknown: int
    columns: tuple[str, ...]
    replaced: tuple[str, ...] = ()


def fit(
    path: Path, images: Sequence[RecordInfo], metadata: Metadata, facts: Container[str] = ()
) -> tuple[Metadata, Described]:
    """Metadata with the ids that the images of the store at `path` have, and how they fit.

    `facts` has the ids of images with facts. A path may be relative to the current folder. Raises InputError if the
    metadata name none of the images, one of them twice, or one id may mean two of them.
    """
    named = _images_of(images, metadata.rows, forms)
    if images and not named:
        raise InputError(
            f"the store {path} has none of the {len(metadata.rows)} images that the metadata name, such as "
            f"'{next(iter(metadata.rows))}': its ids are like '{images[0].id}'"
        )
    rows_by_image: dict[str, str] = {}
    for row, meant in named.items():
        if len(meant) > 1:
            one, other, *_ = meant
            raise InputError(
                f"the metadata's image '{row}' may be '{one}' or '{other}' of the store {path}: write the id as the "
                "store has it"
            )
        first = rows_by_image.setdefault(meant[0], row)
        if first != row:
            raise InputError(
                f"the metadata name the image '{meant[0]}' twice, as '{first}' and '{row}': keep one of them"
            )
    rows = {named[row][0] if row in named else row: values for row, values in metadata.rows.items()}
    hidden = FACTS if any(image.id in facts for image in images) else {}
    replaced = tuple(name for name in metadata.columns if name.lower() in hidden)
    unknown = len(metadata.rows) - len(named)
    described = Described(len(images), len(named), unknown, tuple(metadata.columns), replaced)
    return Metadata(metadata.columns, rows), described


def joined(images: Sequence[RecordInfo], facts: Mapping[str, StoredFacts], table: Metadata | None) -> Metadata | None:
    """What is known about images: the columns of a table, and beside them those of `facts`, if there are any.

    A table's column replaces the fact of its name. Rows of other images stay: a gallery may still have such images.
    None where nothing is known of any image.
    """
    if table is None and not facts:
        return None
    columns = {} if table is None else dict(table.columns)
    taken = {name.lower() for name in columns}
    own = {name: kind for name, kind in FACTS.items() if facts and name not in taken}
    found: dict[str, str] = {}
    for row, meant in _images_of(images, table.rows if table else (), lambda row: {canonical(row)}).items():
        found.setdefault(meant[0], row)
    nothing = (None,) * len(own)
    rows: dict[str, tuple[Value, ...]] = {}
    if table is not None:
        described = set(found.values())
        rows = {id: (*told, *nothing) for id, told in table.rows.items() if id not in described}
    for image in images:
        known = facts[image.id].facts if image.id in facts else {}
        told = table.rows[found[image.id]] if table is not None and image.id in found else (None,) * len(columns)
        if known or image.id in found:
            rows[image.id] = (*told, *(known.get(name) for name in own))
    return Metadata({**columns, **own}, rows)


def with_text(known: Metadata | None, texts: Iterable[tuple[str, Sequence[str]]]) -> Metadata | None:
    """What is known, with the column `text` for what is written in photos: by id, the lines of each.

    Unchanged where nothing is written, or a table has a column of that name.
    """
    lines = ((id, "\n".join(filter(None, map(clean_line, own)))) for id, own in texts)
    written = {id: text for id, text in lines if text}
    columns = {} if known is None else known.columns
    if not written or WRITTEN in map(str.lower, columns):
        return known
    held = {} if known is None else known.rows
    nothing = (None,) * len(columns)
    rows = {id: (*held.get(id, nothing), written.get(id)) for id in {**held, **written}}
    return Metadata({**columns, WRITTEN: TEXT}, rows)


def _images_of(
    images: Sequence[RecordInfo], rows: Collection[str], forms_of: Callable[[str], set[str]]
) -> dict[str, list[str]]:
    """The ids of the images that each row may mean: the one of this very id, else all that have one of its forms.

    A form is that of an image's id or of its photo's path. Rows of no image are left out.
    """
    ids = {image.id for image in images}
    found = {row: [row] for row in rows if row in ids}
    if len(found) == len(rows):
        return found
    by_form: dict[str, list[str]] = {}
    for image in images:
        for form in {canonical(image.id), canonical(image.path)} if image.path else {canonical(image.id)}:
            by_form.setdefault(form, []).append(image.id)
    for row in rows:
        if row not in found and (meant := sorted({id for form in forms_of(row) for id in by_form.get(form, ())})):
            found[row] = meant
    return found
